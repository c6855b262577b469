"""The chunks of one store: what is asked of its tables, over one connection."""

import array
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from apps.vector_io.filters import Attributes, Filter
from apps.vector_io.protocol import Chunk, Place, Size, Vector
from apps.vector_io.providers.remote.oci.tables import LONGEST, Table
from apps.vector_io.providers.remote.oci.where import Bind, Where, digest, ordered
from apps.vector_io.providers.stems import WORD
from apps.vector_io.providers.words import distinct
from apps.vector_io.ranking import squashed
from llamastack.errors import BadRequest

FIELDS = "c.chunk_id, c.content, c.file_id, c.filename, c.page, c.position, c.attributes, c.metadata"
EMBEDDING = ", c.embedding"
# Long texts are the last: Oracle takes nothing behind them (ORA-24816).
SHORT = ("chunk_key", "chunk_id", "file_key", "file_id", "filename", "page", "position", "bytes")
COLUMNS = (*SHORT, "embedding", "attributes", "metadata", "content")
FEW = 5000  # chunks that a filter keeps: they are compared one by one, and none is lost
MOST_READ = 500  # chunks of one answer
LONGEST_WORD = 64  # characters, of a word in Oracle Text's index
LONGEST_WORDS = 3800  # bytes of a search
Scores = dict[str, float]


@dataclass(frozen=True, slots=True)
class Rows:
    """Nothing is committed here."""

    connection: Any
    table: Table

    async def _asked(self, statement: str, binds: dict[str, Any]) -> list[Any]:
        """Long texts as they are, not as places to read them from."""
        found: list[Any] = await self.connection.fetchall(statement, binds, arraysize=MOST_READ, fetch_lobs=False)
        return found

    async def _told(self, statement: str, binds: Sequence[dict[str, Any]]) -> int:
        """How many rows it was about."""
        if not binds:
            return 0
        with self.connection.cursor() as cursor:
            await cursor.executemany(statement, list(binds))
            return int(cursor.rowcount)

    async def one_writer(self) -> None:
        """Others that call this wait until the transaction ends."""
        statement = "SELECT store_id FROM llamastack_stores WHERE store_id = :store_id FOR UPDATE"
        await self._asked(statement, {"store_id": self.table.store_id})

    async def insert(self, chunks: Sequence[Chunk], vectors: Vector) -> None:
        """Of several with one id the last is kept. All write in one order, so that none waits for one who waits."""
        last = {digest(chunk.id): place for place, chunk in enumerate(chunks)}
        keys = sorted(last)
        await self._forget(keys)
        rows = [_row(key, chunks[last[key]], vectors[last[key]]) for key in keys]
        values = ", ".join(f":{column}" for column in COLUMNS)
        await self._told(f"INSERT INTO {self.table.name} ({', '.join(COLUMNS)}) VALUES ({values})", rows)
        terms = [{"chunk_key": key, **term} for key in keys for term in _terms(chunks[last[key]].attributes)]
        await self._told(
            f"INSERT INTO {self.table.attributes} (chunk_key, attribute_key, ordered) "
            "VALUES (:chunk_key, :attribute_key, :ordered)",
            terms,
        )

    async def _forget(self, keys: Sequence[bytes]) -> int:
        binds = [{"chunk_key": key} for key in keys]
        return await self._told(f"DELETE FROM {self.table.name} WHERE chunk_key = :chunk_key", binds)

    async def delete(self, chunk_ids: Sequence[str], file_id: str | None) -> int:
        """Their attributes go with them."""
        gone = await self._forget(sorted(set(map(digest, chunk_ids))))
        files = [] if file_id is None else [{"file_key": digest(file_id)}]
        return gone + await self._told(f"DELETE FROM {self.table.name} WHERE file_key = :file_key", files)

    async def set_attributes(self, file_id: str, attributes: Attributes) -> None:
        table = self.table
        file: dict[str, Bind] = {"file_key": digest(file_id)}
        terms = [file | term for term in _terms(attributes)]
        changed = file | {"attributes": json.dumps(dict(attributes))}
        await self._told(f"UPDATE {table.name} SET attributes = :attributes WHERE file_key = :file_key", [changed])
        await self._told(
            f"DELETE FROM {table.attributes} WHERE chunk_key IN "
            f"(SELECT chunk_key FROM {table.name} WHERE file_key = :file_key)",
            [file],
        )
        await self._told(
            f"INSERT INTO {table.attributes} (chunk_key, attribute_key, ordered) "
            f"SELECT chunk_key, :attribute_key, :ordered FROM {table.name} WHERE file_key = :file_key",
            terms,
        )

    async def size(self) -> Size:
        [(count, size)] = await self._asked(f"SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM {self.table.name}", {})
        return Size(int(count), int(size) + int(count) * self.table.dimension * 4)

    async def nearest(self, vector: Vector, limit: int, filter: Filter | None) -> Scores:
        """Vectors have length 1: their inner product is the cosine, and Oracle's DOT has its sign changed.

        Where an index finds fewer than there may be, all are compared.
        """
        where = Where(self.table.attributes)
        kept = where.condition(filter)
        if filter is None or not await self._keeps_few(kept, where.binds):
            found = await self._near("APPROX", vector, limit, kept, where.binds)
            if len(found) >= limit:
                return found
        return await self._near("EXACT", vector, limit, kept, where.binds)

    async def _near(self, how: str, vector: Vector, limit: int, kept: str, binds: dict[str, Bind]) -> Scores:
        found = await self._asked(
            f"SELECT c.chunk_id, VECTOR_DISTANCE(c.embedding, :vector, DOT) AS distance FROM {self.table.name} c "
            f"WHERE {kept} ORDER BY distance FETCH {how} FIRST {limit:d} ROWS ONLY",
            {"vector": _bound(vector), **binds},
        )
        return {id: min(1.0, -distance) for id, distance in found}

    async def _keeps_few(self, kept: str, binds: dict[str, Bind]) -> bool:
        [(count,)] = await self._asked(
            f"SELECT COUNT(*) FROM (SELECT c.chunk_key FROM {self.table.name} c WHERE {kept} "
            f"FETCH FIRST {FEW + 1} ROWS ONLY)",
            dict(binds),
        )
        return int(count) <= FEW

    async def worded(self, text: str, limit: int, filter: Filter | None) -> Scores:
        """The chunks that have most of a text's words, and its rare ones."""
        words = any_of(text)
        if not words:
            return {}
        where = Where(self.table.attributes)
        found = await self._asked(
            f"SELECT c.chunk_id, SCORE(1) AS relevance FROM {self.table.name} c "
            f"WHERE CONTAINS(c.content, :words, 1) > 0 AND {where.condition(filter)} "
            f"ORDER BY relevance DESC, c.chunk_id FETCH FIRST {limit:d} ROWS ONLY",
            {"words": words, **where.binds},
        )
        return {id: squashed(score) for id, score in found}

    async def read(self, ids: Sequence[str], embeddings: bool) -> dict[str, Chunk]:
        return {chunk.id: chunk for part in _parts(ids) for chunk in await self._read(part, embeddings)}

    async def _read(self, ids: Sequence[str], embeddings: bool) -> list[Chunk]:
        binds = {f"k{place}": digest(id) for place, id in enumerate(ids)}
        names = ", ".join(f":{name}" for name in binds)
        fields = FIELDS + (EMBEDDING if embeddings else "")
        found = await self._asked(f"SELECT {fields} FROM {self.table.name} c WHERE c.chunk_key IN ({names})", binds)
        return [_chunk(row) for row in found]

    async def of_file(self, file_id: str, after: Place | None, limit: int, embeddings: bool) -> list[Chunk]:
        binds: dict[str, Any] = {"file_key": digest(file_id)}
        behind = ""
        if after is not None:
            behind = " AND (c.position > :place OR (c.position = :place AND c.chunk_id > :id))"
            binds |= {"place": after[0], "id": after[1]}
        fields = FIELDS + (EMBEDDING if embeddings else "")
        found = await self._asked(
            f"SELECT {fields} FROM {self.table.name} c WHERE c.file_key = :file_key{behind} "
            f"ORDER BY c.position, c.chunk_id FETCH FIRST {limit:d} ROWS ONLY",
            binds,
        )
        return [_chunk(row) for row in found]


def check(chunks: Sequence[Chunk]) -> None:
    """Raises BadRequest for what no column has room for."""
    for place, chunk in enumerate(chunks):
        if not chunk.id:
            raise BadRequest("A chunk has an id.", param=f"chunks[{place}].id")
        for name, text in (("id", chunk.id), ("file_id", chunk.file_id), ("filename", chunk.filename)):
            if len(text.encode()) > LONGEST:
                raise BadRequest(
                    f"Oracle's database keeps names of at most {LONGEST} bytes.", param=f"chunks[{place}].{name}"
                )
        for value in chunk.attributes.values():
            ordered(value, f"chunks[{place}].attributes")


def any_of(text: str) -> str:
    """A query of Oracle Text: the forms of each word, as an operator of none. ACCUM adds what each is worth.

    https://docs.oracle.com/en/database/oracle/oracle-database/23/ccref/oracle-text-CONTAINS-query-operators.html
    """
    found = [word for word in WORD.findall(" ".join(distinct(text))) if len(word) <= LONGEST_WORD]
    asked, size = [], 0
    for word in dict.fromkeys(found):
        size += len(word.encode()) + len("${} ACCUM ")
        if size <= LONGEST_WORDS:
            asked.append(f"${{{word}}}")
    return " ACCUM ".join(asked)


def _row(key: bytes, chunk: Chunk, vector: Vector) -> dict[str, Any]:
    return {
        "chunk_key": key,
        "chunk_id": chunk.id,
        "file_key": digest(chunk.file_id),
        "file_id": chunk.file_id,
        "filename": chunk.filename,
        "page": chunk.page,
        "position": chunk.position,
        "bytes": len(chunk.content.encode()),
        "embedding": _bound(vector),
        "attributes": json.dumps(dict(chunk.attributes)),
        "metadata": json.dumps(chunk.metadata),
        "content": chunk.content,
    }


def _terms(attributes: Attributes) -> list[dict[str, Bind]]:
    return [
        {"attribute_key": digest(key), "ordered": ordered(value, "attributes")} for key, value in attributes.items()
    ]


def _bound(vector: Vector) -> "array.array[float]":
    """As the driver takes a VECTOR; the database makes of it what its column has."""
    return array.array("f", vector.tobytes())


def _chunk(row: Sequence[Any]) -> Chunk:
    """A row of FIELDS, with or without an embedding behind them."""
    id, content, file_id, filename, page, position, attributes, metadata, *rest = row
    return Chunk(
        id,
        content or "",
        file_id or "",
        filename or "",
        page,
        position,
        json.loads(attributes),
        json.loads(metadata),
        _vector(rest[0]) if rest else None,
    )


def _vector(numbers: Sequence[float]) -> Vector:
    import numpy

    return numpy.asarray(numbers, dtype=numpy.float32)


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + MOST_READ] for start in range(0, len(ids), MOST_READ))
