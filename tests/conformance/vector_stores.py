"""A vector_io provider that starts anew on what it has kept, and chunks to give it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy

from apps.vector_io.protocol import Chunk, Store, Vector, VectorIO
from llamastack.apis import Api
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.ids import new_id
from llamastack.providers import Provider, load, specs
from tests.oracle.provider import OnStandIn

CALL = Call(ANONYMOUS_ADMIN)
DIMENSION = 16
STAND_INS: dict[str, type[Provider]] = {"remote::oci": OnStandIn}  # whose server can neither be run nor scripted here


@dataclass
class Kept:
    """A provider's type and config: each start finds what the one before it has kept."""

    provider_type: str
    config: dict[str, Any]

    def made(self) -> Provider:
        kind = STAND_INS.get(self.provider_type) or load(specs(Api.vector_io)[self.provider_type])
        return kind("vectors", kind.config_class.model_validate(self.config))

    @asynccontextmanager
    async def started(self) -> AsyncIterator[VectorIO]:
        provider = self.made()
        await provider.start()
        try:
            yield cast(VectorIO, provider)
        finally:
            await provider.stop()


def new_store(tenant: str = "default", dimension: int = DIMENSION) -> Store:
    return Store(new_id("vs_"), tenant, dimension)


def vector(*numbers: float, dimension: int = DIMENSION) -> Vector:
    """These numbers first, and zeros behind."""
    made: Vector = numpy.zeros(dimension, dtype=numpy.float32)
    made[: len(numbers)] = numbers
    return made


def random_vectors(count: int, dimension: int = DIMENSION, seed: int = 0) -> Vector:
    made: Vector = numpy.random.default_rng(seed).standard_normal((count, dimension)).astype(numpy.float32)
    return made


def chunk(id: str, *numbers: float, content: str = "text", **fields: Any) -> Chunk:
    return Chunk(id, content, embedding=vector(*(numbers or (1.0,))), **fields)


def many(count: int, file_id: str = "file-1", seed: int = 0, **fields: Any) -> list[Chunk]:
    one = Chunk("", "text", file_id=file_id, **fields)
    vectors = random_vectors(count, seed=seed)
    return [replace(one, id=f"{file_id}-{n}", position=n, embedding=vectors[n]) for n in range(count)]


def unit(made: Vector) -> Vector:
    scaled: Vector = made / numpy.linalg.norm(made)
    return scaled


def exact(chunks: Sequence[Chunk], wanted: Vector, limit: int) -> list[str]:
    """The ids of the nearest, compared one by one."""
    scores = {chunk.id: float(unit(wanted) @ unit(cast(Vector, chunk.embedding))) for chunk in chunks}
    return sorted(scores, key=lambda id: -scores[id])[:limit]
