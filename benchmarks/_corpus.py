"""Chunks with vectors and attributes, what is searched for among them, and what is right to find."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from apps.vector_io.protocol import Chunk
from benchmarks._embedded import Vectors, embedded
from benchmarks._texts import clustered, composed, texts

PARTS = 100


@dataclass
class Corpus:
    chunks: list[Chunk]
    vectors: Vectors  # of the chunks, at length 1
    asked: list[str]
    wanted: Vectors

    def right(self, search: int, limit: int, among: Sequence[int] | None = None) -> set[str]:
        """The ids of the nearest, of all or of those places."""
        places = numpy.arange(len(self.chunks)) if among is None else numpy.asarray(among)
        scores = self.vectors[places] @ self.wanted[search]
        return {self.chunks[places[place]].id for place in numpy.argsort(-scores)[:limit]}


def corpus(count: int, searches: int, synthetic: bool) -> Corpus:
    found = composed(count + searches) if synthetic else texts(count + searches)
    vectors = clustered(len(found)) if synthetic else embedded(found)
    vectors = vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)
    topics = numpy.argsort(vectors[:count] @ vectors[0])  # how near each is to one of them
    topic = {int(place): rank * PARTS // count for rank, place in enumerate(topics)}
    chunks = [
        Chunk(
            f"chunk-{n}",
            found[n],
            file_id=f"file-{n // 50}",
            position=n % 50,
            attributes={"part": n % PARTS, "topic": topic[n]},
            embedding=vectors[n],
        )
        for n in range(count)
    ]
    return Corpus(chunks, vectors[:count], found[count:], vectors[count:])
