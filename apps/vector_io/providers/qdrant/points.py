"""A chunk as a point of Qdrant's, and back; and what is asked of a store's points."""

import json
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from apps.vector_io.filters import Attributes
from apps.vector_io.protocol import Chunk, Store, Vector
from apps.vector_io.providers.qdrant import sparse
from apps.vector_io.providers.qdrant.fields import EMBEDDING, WORDS, Condition, Payload, Point
from apps.vector_io.providers.qdrant.where import MATCHED, indexed


class Points(Protocol):
    """Those of one store, and no others. Conditions and points are what Qdrant's REST API has under these names."""

    async def upsert(self, points: Sequence[Point]) -> None: ...

    async def search(
        self, using: str, vector: Any, limit: int, condition: Condition | None
    ) -> list[tuple[Payload, float]]:
        """The best first, each with what FIELDS says of it."""
        ...

    async def read(self, condition: Condition, fields: Sequence[str], vectors: bool = False) -> list[Point]:
        """All for which it is true, in no order."""
        ...

    async def count(self, condition: Condition) -> int: ...

    async def sizes(self) -> list[tuple[int, int]]:
        """How many points have how many bytes of text: bytes, then points."""
        ...

    async def delete(self, condition: Condition) -> None: ...

    async def describe(self, condition: Condition, payload: Payload) -> None:
        """Set these fields of the points for which it is true."""
        ...


def partition(store: Store) -> str:
    """A name for a tenant's store of which no other has the same: theirs may hold anything, and be long."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, json.dumps([store.tenant, store.key])))


def point_id(partition: str, chunk_id: str) -> str:
    """Qdrant's ids are UUIDs. A chunk's is made of its own id, so that it replaces itself."""
    return str(uuid.uuid5(uuid.UUID(partition), chunk_id))


def any_of(partition: str, chunk_ids: Sequence[str]) -> Condition:
    return {"has_id": [point_id(partition, id) for id in chunk_ids]}


def of_file(file_id: str) -> Condition:
    return {"key": "file_id", "match": {"value": file_id}}


def points(partition: str, chunks: Sequence[Chunk], vectors: Vector) -> list[Point]:
    """Of several with one id the last. `vectors` has a row for each chunk."""
    last = {chunk.id: place for place, chunk in enumerate(chunks)}
    return [_point(partition, chunks[place], vectors[place]) for place in last.values()]


def described(attributes: Attributes) -> dict[str, Any]:
    """As a text, in which numbers stay what they are."""
    return {"attributes": json.dumps(dict(attributes), ensure_ascii=False), MATCHED: indexed(attributes)}


def _point(partition: str, chunk: Chunk, vector: Vector) -> Point:
    words = sparse.of_chunk(chunk.content)
    vectors: dict[str, Any] = {EMBEDDING: vector.tolist()} | ({WORDS: words} if words["indices"] else {})
    payload = {
        "id": chunk.id,
        "content": chunk.content,
        "file_id": chunk.file_id,
        "filename": chunk.filename,
        "page": chunk.page,
        "position": chunk.position,
        "bytes": len(chunk.content.encode()),
        "metadata": json.dumps(chunk.metadata),
        **described(chunk.attributes),
    }
    return {"id": point_id(partition, chunk.id), "vector": vectors, "payload": payload}


def chunk(payload: Payload, vector: Sequence[float] | None = None) -> Chunk:
    return Chunk(
        payload["id"],
        payload["content"],
        payload["file_id"],
        payload["filename"],
        payload["page"],
        payload["position"],
        json.loads(payload["attributes"]),
        json.loads(payload["metadata"]),
        None if vector is None else _vector(vector),
    )


def _vector(numbers: Sequence[float]) -> Vector:
    import numpy

    return numpy.asarray(numbers, dtype=numpy.float32)
