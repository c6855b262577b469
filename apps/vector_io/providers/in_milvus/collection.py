"""One store's collection, and what is asked of it. Every method blocks, and may be called by several threads."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from apps.vector_io.filters import Attributes, Filter
from apps.vector_io.protocol import Chunk, Place, Size, Vector
from apps.vector_io.providers import words
from apps.vector_io.providers.in_milvus import rows
from apps.vector_io.providers.in_milvus.rows import KEPT, Row
from apps.vector_io.providers.in_milvus.schema import METRIC
from apps.vector_io.providers.in_milvus.values import digest
from apps.vector_io.providers.in_milvus.where import condition, one_of
from apps.vector_io.ranking import squashed

MOST_HITS = 16_384  # https://milvus.io/docs/limitations.md
MOST_READ = 1000  # rows of one answer
REQUEST_BYTES = 32 << 20  # half of what a server takes
LEAST_SEEN = 200  # rows of HNSW's graph that a search keeps in sight
ALL = "bytes >= 0"
Scores = dict[str, float]


@dataclass(frozen=True, slots=True)
class Collection:
    """`lite` is what milvus-lite serves: there an insertion replaces the rows of its keys, and `upsert` merges them."""

    client: Any
    name: str
    dimension: int
    lite: bool
    consistency: str
    seconds: float

    def insert(self, given: Sequence[Row]) -> None:
        """As few requests as may be: each is there as a whole, or not at all."""
        write = self.client.insert if self.lite else self.client.upsert
        for batch in _batches(given):
            write(self.name, batch, timeout=self.seconds)

    def delete(self, chunk_ids: Sequence[str], file_id: str | None) -> int:
        keys = {row["key"] for row in self._with_keys(map(digest, chunk_ids), ["key"])}
        if file_id is not None:
            keys |= {row["key"] for row in self._rows(_of_file(file_id), ["key"])}
        if keys:
            self.client.delete(self.name, ids=sorted(keys), timeout=self.seconds)
        return len(keys)

    def set_attributes(self, file_id: str, attributes: Attributes) -> None:
        """The rows are written anew, some at a time: Milvus changes no part of one, and tells so much at once."""
        keys = [row["key"] for row in self._rows(_of_file(file_id), ["key"])]
        for wanted in _parts(keys):
            found = [rows.chunk(row) for row in self._with_keys(wanted, [*KEPT, "embedding"])]
            changed = [replace(chunk, attributes=attributes) for chunk in found]
            self.insert([rows.row(chunk, cast(Vector, chunk.embedding)) for chunk in changed])

    def nearest(self, vector: Vector, limit: int, filter: Filter | None) -> Scores:
        sight = {} if self.lite else {"params": {"ef": max(LEAST_SEEN, min(limit, MOST_HITS))}}
        return self._searched("embedding", vector.tolist(), limit, filter, {"metric_type": METRIC, **sight})

    def worded(self, text: str, limit: int, filter: Filter | None) -> Scores:
        """The chunks that have most of a text's words, and its rare ones. milvus-lite tells the scores below zero."""
        asked = rows.stemmed(" ".join(words.distinct(text)))
        if not asked:
            return {}
        found = self._searched("words", asked, limit, filter, {"metric_type": "BM25"})
        return {name: squashed(abs(score)) for name, score in found.items()}

    def _searched(self, field: str, data: Any, limit: int, filter: Filter | None, parameters: Row) -> Scores:
        [hits] = self.client.search(
            self.name,
            data=[data],
            anns_field=field,
            filter=condition(filter),
            limit=min(limit, MOST_HITS),
            output_fields=["name"],
            search_params=parameters,
            consistency_level=self.consistency,
            timeout=self.seconds,
        )
        return {hit["entity"]["name"]: hit["distance"] for hit in hits}

    def read(self, ids: Iterable[str], embeddings: bool) -> dict[str, Chunk]:
        """Those of the chunks that are there."""
        fields = [*KEPT, "embedding"] if embeddings else KEPT
        return {row["name"]: rows.chunk(row) for row in self._with_keys(map(digest, ids), fields)}

    def of_file(self, file_id: str, after: Place | None, limit: int, embeddings: bool) -> list[Chunk]:
        """Milvus tells rows in no order: first all places of the file, then those chunks that are wanted."""
        behind = "" if after is None else f" and position >= {after[0]}"
        found = self._rows(_of_file(file_id) + behind, ["position", "name"])
        places = sorted((row["position"], row["name"]) for row in found)
        wanted = [name for position, name in places if after is None or (position, name) > after][:limit]
        fields = [*KEPT, "embedding"] if embeddings else KEPT
        read = (rows.chunk(row) for row in self._with_keys(map(digest, wanted), fields))
        return sorted(read, key=lambda chunk: chunk.place)

    def size(self) -> Size:
        sizes = [row["bytes"] for row in self._rows(ALL, ["bytes"])]
        return Size(len(sizes), sum(sizes) + len(sizes) * self.dimension * 4)

    def _with_keys(self, keys: Iterable[str], fields: Sequence[str]) -> Iterator[Row]:
        for wanted in _parts(list(keys)):
            yield from self._rows(one_of("key", wanted), fields)

    def _rows(self, kept: str, fields: Sequence[str]) -> list[Row]:
        found: list[Row] = self.client.query(
            self.name, filter=kept, output_fields=list(fields), consistency_level=self.consistency, timeout=self.seconds
        )
        return found


def _of_file(file_id: str) -> str:
    return f'file == "{digest(file_id)}"'


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[start : start + MOST_READ] for start in range(0, len(keys), MOST_READ))


def _batches(given: Sequence[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in given:
        if batch and size + rows.weight(row) > REQUEST_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += rows.weight(row)
    if batch:
        yield batch
