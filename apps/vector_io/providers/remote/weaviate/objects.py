"""Chunks as Weaviate's objects, and back."""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from apps.vector_io.filters import Attributes
from apps.vector_io.protocol import Chunk, Place, Vector
from apps.vector_io.providers.remote.weaviate import tokens
from apps.vector_io.providers.remote.weaviate.where import WORDS

IDS = uuid.UUID("3f0c6a4e-8f6b-5d0b-9a53-6b1f0f4d2c11")  # a name space of our own: a tenant has a chunk's id once
FIRST_POSITION = 1 << 62
READ = ("content", "about", "attributes")


def object_id(chunk_id: str) -> str:
    return str(uuid.uuid5(IDS, chunk_id))


def file_word(file_id: str) -> str:
    """Weaviate trims what it compares, and takes an empty text for none."""
    return hashlib.sha256(file_id.encode()).hexdigest()[:32]


def place_word(place: Place) -> str:
    """Sorted as places are: Weaviate's order folds case, and trims."""
    position, id = place
    return f"{FIRST_POSITION + position:016x}.{id.encode().hex()}"


def made(chunk: Chunk, vector: Vector, collection: str, tenant: str) -> dict[str, Any]:
    about = {"id": chunk.id, "file_id": chunk.file_id, "filename": chunk.filename, "page": chunk.page}
    properties = {
        "content": chunk.content,
        "about": json.dumps(about | {"position": chunk.position, "metadata": chunk.metadata}),
        "file": file_word(chunk.file_id),
        "place": place_word(chunk.place),
        "bytes": len(chunk.content.encode()),
        **attributes_of(chunk.attributes),
    }
    head = {"class": collection, "tenant": tenant, "id": object_id(chunk.id)}
    return {**head, "properties": properties, "vector": vector.tolist()}


def attributes_of(attributes: Attributes) -> dict[str, Any]:
    """The properties that change with them. A list is never empty: Weaviate takes that for none, too."""
    return {"attributes": json.dumps(dict(attributes)), WORDS: [tokens.ANY, *tokens.words(attributes)]}


def chunk(found: Mapping[str, Any], vector: Sequence[float] | None = None) -> Chunk:
    about = json.loads(found["about"])
    return Chunk(
        about["id"],
        found["content"] or "",
        about["file_id"],
        about["filename"],
        about["page"],
        about["position"],
        json.loads(found["attributes"]),
        about["metadata"],
        None if vector is None else _vector(vector),
    )


def _vector(numbers: Sequence[float]) -> Vector:
    import numpy

    return numpy.asarray(numbers, dtype=numpy.float32)
