"""The chunks of one store: what is asked of its partition, over one connection."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from apps.vector_io.filters import Attributes, Filter
from apps.vector_io.protocol import Chunk, Place, Size, Vector
from apps.vector_io.providers.remote.pgvector.connections import Connection
from apps.vector_io.providers.remote.pgvector.tables import LANGUAGE, Table
from apps.vector_io.providers.remote.pgvector.where import condition
from apps.vector_io.providers.words import COMMON, distinct
from apps.vector_io.ranking import squashed

COLUMNS = "store, id, file_id, filename, page, position, bytes, content, metadata, attributes, embedding"
TYPES = ("int4", "text", "text", "text", "int4", "int4", "int4", "text", "text", "jsonb")
FIELDS = "id, content, file_id, filename, page, position, attributes::text, metadata"
EMBEDDING = ", embedding::real[]"
WRITING = 8_322  # an advisory lock of who inserts, with the number of the store
FEW = 5000  # chunks that a filter keeps: they are compared one by one, and none is lost
RANKED = 100  # chunks that have any of the words, ranked by each of them
RARE = 0.001  # the share of the chunks that have a word of which PostgreSQL knows nothing
SAFE_DIGITS = 15  # of a whole number, which is read as a float past them
Scores = dict[str, float]


@dataclass(frozen=True, slots=True)
class Rows:
    connection: Connection
    table: Table

    async def one_writer(self) -> None:
        """Others that call this wait until the transaction ends."""
        await self.connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", [WRITING, self.table.number])

    async def insert(self, chunks: Sequence[Chunk], vectors: Vector) -> None:
        """Of several with one id the last is kept. Raises UniqueViolation where another inserts the same ones."""
        last = {chunk.id: place for place, chunk in enumerate(chunks)}
        await self.connection.execute(f"DELETE FROM {self.table.name} WHERE id = ANY(%s)", [list(last)])
        copying = f"COPY {self.table.name} ({COLUMNS}) FROM STDIN (FORMAT BINARY)"
        async with self.connection.cursor() as cursor, cursor.copy(copying) as copy:
            copy.set_types([*TYPES, self.table.type])
            for place in last.values():
                await copy.write_row(self._row(chunks[place], vectors[place]))

    def _row(self, chunk: Chunk, vector: Vector) -> tuple[Any, ...]:
        from pgvector import HalfVector, Vector

        embedding = HalfVector(vector) if self.table.type == "halfvec" else Vector(vector)
        size = len(chunk.content.encode())
        where = (chunk.id, chunk.file_id, chunk.filename, chunk.page, chunk.position)
        metadata = json.dumps(chunk.metadata)
        return (self.table.number, *where, size, chunk.content, metadata, Jsonb(dict(chunk.attributes)), embedding)

    async def size_on_disk(self) -> int:
        found = await self.connection.execute("SELECT pg_relation_size(%s::regclass)", [self.table.name])
        [(size,)] = await found.fetchall()
        return int(size)

    async def delete(self, chunk_ids: Sequence[str], file_id: str | None) -> int:
        gone = await self.connection.execute(
            f"DELETE FROM {self.table.name} WHERE id = ANY(%s) OR file_id = %s", [list(chunk_ids), file_id]
        )
        return gone.rowcount

    async def set_attributes(self, file_id: str, attributes: Attributes) -> None:
        await self.connection.execute(
            f"UPDATE {self.table.name} SET attributes = %s WHERE file_id = %s", [Jsonb(dict(attributes)), file_id]
        )

    async def size(self) -> Size:
        found = await self.connection.execute(f"SELECT count(*), coalesce(sum(bytes), 0) FROM {self.table.name}")
        [(count, size)] = await found.fetchall()
        return Size(count, size + count * self.table.dimension * 4)

    async def nearest(self, vector: Vector, limit: int, filter: Filter | None) -> Scores:
        """Vectors have length 1: their inner product is the cosine, which pgvector tells with the sign changed."""
        from pgvector import Vector

        kept, values = condition(filter)
        distance = f"embedding <#> %s::{self.table.type}"
        if filter is not None and await self._keeps_few(kept, values):
            distance = f"({distance}) + 0"  # which no index answers
        found = await self.connection.execute(
            f"SELECT id, {distance} AS distance FROM {self.table.name} WHERE {kept} ORDER BY distance LIMIT %s",
            [Vector(vector), *values, limit],
        )
        return {id: -distance for id, distance in await found.fetchall()}

    async def _keeps_few(self, kept: str, values: list[Any]) -> bool:
        found = await self.connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM {self.table.name} WHERE {kept} LIMIT %s) AS few", [*values, FEW + 1]
        )
        [(count,)] = await found.fetchall()
        return int(count) <= FEW

    async def worded(self, text: str, limit: int, filter: Filter | None) -> Scores:
        """The chunks that have most of a text's words, those first that have its rare ones.

        PostgreSQL's rank knows nothing of rare words: it picks some, which are then ranked by each word and its weight.
        """
        weights = await self._telling(text)
        kept, values = condition(filter)
        # The planner does not count that to read each row's words is to fetch them from elsewhere.
        await self.connection.execute("SET LOCAL enable_seqscan = off")
        found = await self.connection.execute(
            f"""
            WITH asked AS (
                SELECT string_agg(quote_literal(word), ' | ')::tsquery AS any_word FROM unnest(%s::text[]) AS word
            ),
            best AS (
                SELECT id, words FROM {self.table.name}, asked WHERE words @@ any_word AND {kept}
                ORDER BY ts_rank(words, any_word, 1) DESC, id LIMIT %s
            )
            SELECT id, (
                SELECT sum(weight * ts_rank(words, quote_literal(word)::tsquery, 1))
                FROM unnest(%s::text[], %s::float8[]) AS each(word, weight)
            ) AS rank
            FROM best ORDER BY rank DESC, id LIMIT %s
            """,
            [list(weights), *values, max(2 * limit, RANKED), list(weights), list(weights.values()), limit],
        )
        return {id: squashed(rank) for id, rank in await found.fetchall()}

    async def _telling(self, text: str) -> dict[str, float]:
        """The words that few chunks have, by what PostgreSQL knows of the column; all where there is none.

        Each has the weight that BM25 gives to words as rare.
        """
        found = await self.connection.execute(
            """
            SELECT word, share FROM unnest(tsvector_to_array(to_tsvector(%s, %s))) AS word LEFT JOIN (
                SELECT known.word, known.share FROM pg_stats, unnest(
                    most_common_elems::text::text[], most_common_elem_freqs
                ) AS known(word, share) WHERE (schemaname, tablename, attname) = (%s, %s, 'words')
            ) AS known USING (word)
            """,
            [LANGUAGE, " ".join(distinct(text)), *self.table.name.split(".")],
        )
        known: dict[str, float | None] = dict(await found.fetchall())
        # PostgreSQL may know none of them: all are rare, or the store is so new that it has not been looked at.
        shares = {word: share or RARE for word, share in known.items()} if any(known.values()) else {}
        shares = shares or await self._counted(list(known))
        telling = {word: share for word, share in shares.items() if share <= COMMON}
        return {word: math.log(1 + 1 / share) for word, share in (telling or shares).items()}

    async def _counted(self, words: Sequence[str]) -> dict[str, float]:
        """The share of the chunks that have each of these words, none of which is 0."""
        found = await self.connection.execute(
            f"""
            SELECT word, (SELECT count(*) FROM {self.table.name} WHERE words @@ quote_literal(word)::tsquery), (
                SELECT CASE WHEN reltuples > 0 THEN reltuples ELSE (SELECT count(*) FROM {self.table.name}) END
                FROM pg_class WHERE oid = %s::regclass
            ) FROM unnest(%s::text[]) AS word
            """,
            [self.table.name, list(words)],
        )
        return {word: max(having, 1) / max(having, chunks, 1) for word, having, chunks in await found.fetchall()}

    async def read(self, ids: Sequence[str], embeddings: bool) -> dict[str, Chunk]:
        fields = FIELDS + (EMBEDDING if embeddings else "")
        found = await self.connection.execute(f"SELECT {fields} FROM {self.table.name} WHERE id = ANY(%s)", [list(ids)])
        return {row[0]: _chunk(row) for row in await found.fetchall()}

    async def of_file(self, file_id: str, after: Place | None, limit: int, embeddings: bool) -> list[Chunk]:
        behind = "" if after is None else " AND (position, id) > (%s, %s)"
        fields = FIELDS + (EMBEDDING if embeddings else "")
        found = await self.connection.execute(
            f"SELECT {fields} FROM {self.table.name} WHERE file_id = %s{behind} ORDER BY position, id LIMIT %s",
            [file_id, *(after or ()), limit],
        )
        return [_chunk(row) for row in await found.fetchall()]


def _chunk(row: Sequence[Any]) -> Chunk:
    """A row of FIELDS, with or without an embedding behind them."""
    id, content, file_id, filename, page, position, attributes, metadata, *rest = row
    return Chunk(
        id,
        content,
        file_id,
        filename,
        page,
        position,
        json.loads(attributes, parse_int=_whole),
        json.loads(metadata),
        _vector(rest[0]) if rest else None,
    )


def _whole(digits: str) -> float:
    """jsonb writes 1e300 as three hundred digits."""
    return int(digits) if len(digits) <= SAFE_DIGITS else float(digits)


def _vector(numbers: Sequence[float]) -> Vector:
    import numpy

    return numpy.asarray(numbers, dtype=numpy.float32)
