"""What every provider refuses alike, and the length it gives to vectors."""

import math
from collections.abc import Sequence
from typing import Any

from apps.vector_io.filters import Attributes, kind, storable
from apps.vector_io.protocol import Chunk, Query, Store, Vector
from llamastack.errors import BadRequest, NotFound


def vectors(store: Store, chunks: Sequence[Chunk]) -> Vector:
    """The chunks' embeddings, one a row, each of length 1. Raises BadRequest for a chunk that nothing could hold."""
    import numpy

    for place, chunk in enumerate(chunks):
        for name, text in (("id", chunk.id), ("content", chunk.content), ("filename", chunk.filename)):
            storable(text, f"chunks[{place}].{name}")
        attributes(chunk.attributes, f"chunks[{place}].attributes")
    rows = [_checked(store, chunk.embedding, f"chunks[{place}].embedding") for place, chunk in enumerate(chunks)]
    matrix = numpy.asarray(rows, dtype=numpy.float32).reshape(len(rows), store.dimension)
    return unit(matrix)


def query(store: Store, query: Query) -> Vector | None:
    """The query's vector, of length 1; None where keywords alone are searched."""
    if query.limit < 1:
        raise BadRequest("At least one result must be asked for.", param="max_num_results")
    if query.mode != "vector" and query.text is None:
        raise BadRequest("A search by keywords needs a text.", param="query")
    return None if query.mode == "keyword" else unit(_checked(store, query.vector, "query"))


def attributes(given: Attributes, param: str = "attributes") -> None:
    """Raises BadRequest for what no filter could compare."""
    for key, value in given.items():
        storable(key, param)
        if kind(value) == "other" or (kind(value) == "number" and not abs(float(value)) < math.inf):
            raise BadRequest(f"The attribute '{key}' is no text, number or boolean.", param=param)
        if isinstance(value, str):
            storable(value, param)


def missing(store: Store) -> NotFound:
    """The error of every provider that has no such store."""
    return NotFound(f"There is no vector store '{store.key}' here.", param="vector_store_id")


def unit(vector: Vector) -> Vector:
    """Each vector at length 1; one of zeros stays as it is, and is near to nothing."""
    import numpy

    lengths = numpy.linalg.norm(vector.astype(numpy.float64), axis=-1, keepdims=True)
    scaled: Vector = (vector / numpy.where(lengths > 0, lengths, 1.0)).astype(numpy.float32)
    return scaled


def _checked(store: Store, vector: Vector | None, param: str) -> Any:
    import numpy

    if vector is None:
        raise BadRequest("There is no vector.", param=param)
    if vector.shape != (store.dimension,):
        given = vector.shape[0] if vector.ndim == 1 else vector.shape
        raise BadRequest(
            f"The vector has {given} numbers, and those of this vector store have {store.dimension}. "
            "Use the embedding model that the store was made with.",
            param=param,
        )
    if not numpy.isfinite(vector).all():
        raise BadRequest("The vector has a number that is not finite.", param=param)
    return vector
