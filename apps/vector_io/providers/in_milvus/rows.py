"""A chunk as a row of a Milvus collection, and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from apps.vector_io.protocol import Chunk, Vector
from apps.vector_io.providers.in_milvus.values import digest, encoded
from apps.vector_io.providers.stems import stems
from llamastack.errors import BadRequest

MOST_BYTES = 65_535  # of a VARCHAR, and of all dynamic fields: https://milvus.io/docs/limitations.md
KEPT = ["name", "position", "content", "record"]  # what a chunk is made of
ROW_BYTES = 1000  # of what is always as long, and the fields' names
Row = dict[str, Any]


def rows(chunks: Sequence[Chunk], vectors: Vector) -> list[Row]:
    """Of several with one id the last is kept. Raises BadRequest for a chunk that is too long."""
    last = {chunk.id: place for place, chunk in enumerate(chunks)}
    return [row(chunks[place], vectors[place], f"chunks[{place}].") for place in last.values()]


def row(chunk: Chunk, vector: Vector, within: str = "") -> Row:
    """`within` begins the name of the field that is too long."""
    described = {
        "file_id": chunk.file_id,
        "filename": chunk.filename,
        "page": chunk.page,
        "attributes": dict(chunk.attributes),
        "metadata": dict(chunk.metadata),
    }
    attributes = encoded(chunk.attributes)
    sizes = {
        "id": len(chunk.id.encode()),
        "content": len(chunk.content.encode()),
        "attributes": len(json.dumps(attributes)),
        "metadata": len(record := json.dumps(described)),
    }
    if long := next((name for name, size in sizes.items() if size > MOST_BYTES), None):
        message = f"Milvus keeps at most {MOST_BYTES:,} bytes of a chunk's {long}: {sizes[long]:,} are too many."
        raise BadRequest(message, param=f"{within}{long}")
    texts = {"name": chunk.id, "content": chunk.content, "stems": stemmed(chunk.content), "record": record}
    place = {"key": digest(chunk.id), "file": digest(chunk.file_id), "position": chunk.position}
    return {**texts, **place, **attributes, "bytes": sizes["content"], "embedding": vector}


def stemmed(text: str) -> str:
    """The words that it is found by: as many as a field holds."""
    words = " ".join(stems(text)).encode()
    return words[:MOST_BYTES].decode(errors="ignore")


def weight(row: Row) -> int:
    """About how many bytes it is, when it is sent."""
    size: int = 2 * row["bytes"] + 3 * len(row["record"]) + row["embedding"].nbytes
    return size + ROW_BYTES


def chunk(row: Mapping[str, Any]) -> Chunk:
    """With its embedding, where the row has one."""
    read = Chunk(row["name"], row["content"], position=row["position"], **json.loads(row["record"]))
    return read if "embedding" not in row else replace(read, embedding=_vector(row["embedding"]))


def _vector(numbers: Sequence[float]) -> Vector:
    import numpy

    return numpy.asarray(numbers, dtype=numpy.float32)
