"""A chunk as a record of Chroma's, and back. Its text is the record's document, so that others can read it there."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apps.vector_io.filters import Attributes
from apps.vector_io.protocol import Chunk, Vector
from apps.vector_io.providers.chroma.engine import Found, Metadata, Records
from apps.vector_io.providers.chroma.where import is_key, keys
from apps.vector_io.providers.stems import stems

WORDS = "words"  # each that is in the text, without its ending
OFTEN = "often"  # those of them that are there several times
SEVERAL = 3


def counted(text: str) -> Counter[str]:
    return Counter(stems(text))


def records(chunks: Sequence[Chunk], vectors: Vector) -> Records:
    return Records(
        [chunk.id for chunk in chunks], vectors, [_metadata(chunk) for chunk in chunks], [c.content for c in chunks]
    )


def _metadata(chunk: Chunk) -> Metadata:
    """Chroma keeps no empty list."""
    words = counted(chunk.content)
    lists = {WORDS: sorted(words), OFTEN: sorted(word for word, times in words.items() if times >= SEVERAL)}
    return {
        "file_id": chunk.file_id,
        "filename": chunk.filename,
        "position": chunk.position,
        "metadata": json.dumps(chunk.metadata),
        **({} if chunk.page is None else {"page": chunk.page}),
        **{name: found for name, found in lists.items() if found},
        **described(chunk.attributes),
    }


def described(attributes: Attributes) -> Metadata:
    """What a record has of a file's attributes: themselves, and the keys that filters ask for."""
    return {"attributes": json.dumps(dict(attributes)), **keys(attributes)}


def instead(new: Metadata, old: Mapping[str, Any]) -> Metadata:
    """`new`, with a None for each key of `old` that it has not: else Chroma keeps that."""
    return dict.fromkeys((name for name in old if name not in new), None) | new


def attributes_of(old: Mapping[str, Any]) -> Metadata:
    return {name: value for name, value in old.items() if is_key(name)}


def chunks(found: Found) -> list[Chunk]:
    """Of records that were read with their metadata and documents, and maybe with their embeddings."""
    embeddings: Iterable[Any] = found.embeddings if len(found.embeddings) else [None] * len(found.ids)
    every = zip(found.ids, found.metadatas, found.documents, embeddings, strict=True)
    return [_chunk(id, metadata, document, embedding) for id, metadata, document, embedding in every]


def _chunk(id: str, metadata: Metadata, document: str | None, embedding: Any) -> Chunk:
    import numpy

    return Chunk(
        id,
        document or "",
        metadata["file_id"],
        metadata["filename"],
        metadata.get("page"),
        metadata["position"],
        json.loads(metadata["attributes"]),
        json.loads(metadata["metadata"]),
        None if embedding is None else numpy.asarray(embedding, dtype=numpy.float32),
    )
