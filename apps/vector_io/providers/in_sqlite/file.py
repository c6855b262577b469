"""One store in one SQLite file: what is in it, and how it is changed. Used by one thread at a time."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from apps.vector_io import checks
from apps.vector_io.filters import Attributes, Filter
from apps.vector_io.protocol import Chunk, Place, Size, Store, Vector
from apps.vector_io.providers import words
from apps.vector_io.providers.in_sqlite.schema import SCHEMA
from apps.vector_io.providers.in_sqlite.where import condition
from apps.vector_io.ranking import squashed
from llamastack.errors import Conflict

BUSY_SECONDS = 30.0
KEPT = (100_000,)  # changes: who has missed more reads the whole store anew
FEW = 1000  # chunks, among which every word is searched
FIELDS = "number, id, content, file_id, filename, page, position, metadata, attributes"
CHUNKS = "chunks JOIN attribute_sets ON attribute_sets.number = attribute_set"
ADD = """
INSERT INTO chunks (id, file_id, filename, page, position, metadata, attribute_set, bytes, content)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number
"""
Scored = list[tuple[int, float]]  # chunks' numbers, each with its score


class Vectors(Protocol):
    """Where a kind of file keeps its vectors, each under its chunk's number."""

    def schema(self, dimension: int) -> str: ...

    def add(self, connection: sqlite3.Connection, numbers: Sequence[int], vectors: Vector) -> None: ...

    def remove(self, connection: sqlite3.Connection, numbers: Sequence[int]) -> None: ...

    def read(self, connection: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, Vector]: ...


class StoreFile:
    """`connection` is in autocommit: a change is made within `transaction`, and is on the disk when that ends."""

    def __init__(self, connection: sqlite3.Connection, vectors: Vectors) -> None:
        self.connection = connection
        self.vectors = vectors

    def create(self, store: Store) -> None:
        with self.transaction():
            if not self._is_made():
                for statement in _statements(SCHEMA + self.vectors.schema(store.dimension)):
                    self.connection.execute(statement)
                row = (store.tenant, store.key, store.dimension)
                self.connection.execute("INSERT INTO store (tenant, key, dimension) VALUES (?, ?, ?)", row)
        self.check(store)

    def check(self, store: Store) -> None:
        """That it is this store's file. Raises NotFound where its creation never ended."""
        if not self._is_made():
            raise checks.missing(store)
        tenant, key, dimension = self.connection.execute("SELECT tenant, key, dimension FROM store").fetchone()
        assert (tenant, key) == (store.tenant, store.key)
        if dimension != store.dimension:
            raise Conflict(f"The vector store '{key}' has vectors of {dimension} numbers, not {store.dimension}.")

    def _is_made(self) -> bool:
        found = self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'store'").fetchone()
        return found is not None

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self.connection.in_transaction:  # a full disk may have ended it already
                self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def insert(self, chunks: Sequence[Chunk], vectors: Vector) -> None:
        """Of several with one id the last is kept."""
        last = {chunk.id: place for place, chunk in enumerate(chunks)}
        with self.transaction():
            self._remove("id IN (SELECT value FROM json_each(?))", [json.dumps(list(last))])
            sets: dict[str, int] = {}
            numbers = [self._add(chunks[place], sets) for place in last.values()]
            self.vectors.add(self.connection, numbers, vectors[list(last.values())])

    def _add(self, chunk: Chunk, sets: dict[str, int]) -> int:
        attributes = dumped(chunk.attributes)
        if attributes not in sets:
            sets[attributes] = self._attribute_set(attributes)
        row = (chunk.id, chunk.file_id, chunk.filename, chunk.page, chunk.position, dumped(chunk.metadata))
        size = len(chunk.content.encode())
        number: int = self.connection.execute(ADD, (*row, sets[attributes], size, chunk.content)).fetchone()[0]
        return number

    def _attribute_set(self, attributes: str) -> int:
        self.connection.execute("INSERT OR IGNORE INTO attribute_sets (attributes) VALUES (?)", [attributes])
        found = self.connection.execute("SELECT number FROM attribute_sets WHERE attributes = ?", [attributes])
        number: int = found.fetchone()[0]
        return number

    def delete(self, chunk_ids: Sequence[str], file_id: str | None) -> int:
        with self.transaction():
            gone = self._remove("id IN (SELECT value FROM json_each(?))", [json.dumps(list(chunk_ids))])
            if file_id is not None:
                gone += self._remove("file_id = ?", [file_id])
            self._forget_attributes()
        return gone

    def _remove(self, which: str, values: list[Any]) -> int:
        rows = self.connection.execute(f"SELECT number FROM chunks WHERE {which}", values).fetchall()
        numbers = [number for (number,) in rows]
        if numbers:
            self.connection.execute(f"DELETE FROM chunks WHERE {which}", values)
            self.connection.execute("DELETE FROM changes WHERE version <= (SELECT max(version) FROM changes) - ?", KEPT)
            self.vectors.remove(self.connection, numbers)
        return len(numbers)

    def set_attributes(self, file_id: str, attributes: Attributes) -> None:
        with self.transaction():
            number = self._attribute_set(dumped(attributes))
            self.connection.execute("UPDATE chunks SET attribute_set = ? WHERE file_id = ?", (number, file_id))
            self._forget_attributes()

    def _forget_attributes(self) -> None:
        """Sets that no chunk has any more."""
        self.connection.execute(
            "DELETE FROM attribute_sets AS one WHERE NOT EXISTS (SELECT 1 FROM chunks WHERE attribute_set = one.number)"
        )

    def size(self, dimension: int) -> Size:
        count, size = self.connection.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM chunks").fetchone()
        return Size(count, size + count * dimension * 4)

    def worded(self, text: str, limit: int, filter: Filter | None) -> Scored:
        """The chunks that have most of a text's words, and its rare ones."""
        asked = self._telling(words.distinct(text))
        if not asked:
            return []
        kept, values = self.kept(filter)
        rows = self.connection.execute(
            f"SELECT rowid, rank FROM words WHERE words MATCH ?{kept} ORDER BY rank LIMIT ?",
            [words.any_of(asked), *values, limit],
        )
        return [(number, squashed(-rank)) for number, rank in rows]  # FTS5's better scores are lower

    def _telling(self, asked: list[str]) -> list[str]:
        """Those words that few chunks have; all where there is none, or where there are few chunks."""
        (count,) = self.connection.execute("SELECT count(*) FROM chunks").fetchone()
        if count < FEW:
            return asked
        return [word for word in asked if self._having(word) <= words.COMMON * count] or asked

    def _having(self, word: str) -> int:
        found = self.connection.execute("SELECT count(*) FROM words WHERE words MATCH ?", [words.any_of([word])])
        count: int = found.fetchone()[0]
        return count

    def kept(self, filter: Filter | None) -> tuple[str, list[Any]]:
        """What a query adds to its conditions on `rowid`, so that it finds chunks that the filter keeps."""
        if filter is None:
            return "", []
        sql, values = condition(filter)
        chosen = f"SELECT number FROM attribute_sets WHERE {sql}"
        return f" AND rowid IN (SELECT number FROM chunks WHERE attribute_set IN ({chosen}))", values

    def read(self, numbers: Sequence[int], embeddings: bool) -> dict[int, Chunk]:
        """Those of the chunks that are there."""
        wanted = json.dumps(numbers)
        rows = self.connection.execute(
            f"SELECT chunks.{FIELDS} FROM {CHUNKS} WHERE chunks.number IN (SELECT value FROM json_each(?))", [wanted]
        )
        found = self.vectors.read(self.connection, numbers) if embeddings else {}
        return {row[0]: _chunk(row, found.get(row[0])) for row in rows}

    def of_file(self, file_id: str, after: Place | None, limit: int, embeddings: bool) -> list[Chunk]:
        behind, values = ("", []) if after is None else (" AND (position, id) > (?, ?)", list(after))
        rows = self.connection.execute(
            f"SELECT chunks.{FIELDS} FROM {CHUNKS} WHERE file_id = ?{behind} ORDER BY position, id LIMIT ?",
            [file_id, *values, limit],
        ).fetchall()
        found = self.vectors.read(self.connection, [row[0] for row in rows]) if embeddings else {}
        return [_chunk(row, found.get(row[0])) for row in rows]


def dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def opened(path: Path, sqlite: ModuleType) -> sqlite3.Connection:
    """WAL with each commit synced: what has been answered outlives the machine, too."""
    connection: sqlite3.Connection = sqlite.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _statements(script: str) -> Iterator[str]:
    """One by one, since `executescript` would end the transaction. A trigger has several."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if statement.strip() and sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _chunk(row: Sequence[Any], embedding: Vector | None = None) -> Chunk:
    _, id, content, file_id, filename, page, position, metadata, attributes = row
    return Chunk(
        id, content, file_id, filename, page, position, json.loads(attributes), json.loads(metadata), embedding
    )
