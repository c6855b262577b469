"""What is asked of Chroma, whether it runs in this process or is a server. Both have the same rules for a `where`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from apps.vector_io.protocol import Vector
from llamastack.errors import Conflict, Unavailable

Where: TypeAlias = dict[str, Any]
Metadata: TypeAlias = dict[str, Any]
Field: TypeAlias = Literal["metadatas", "documents", "embeddings"]

FIELDS: tuple[Field, ...] = ("metadatas", "documents", "embeddings")
DIMENSION = "dimension"  # in a collection's metadata: Chroma itself learns it from the first vector
# A kill while Chroma writes its index of vectors loses them: it writes over its files, and takes from its log what they
# hold (https://github.com/chroma-core/chroma/issues/5925). So it never writes it, and makes it of the log at a start.
NEVER = 1_000_000_000  # changes, before it is written
# https://docs.trychroma.com/docs/collections/configure
INDEX = {"space": "cosine", "ef_construction": 200, "ef_search": 200, "max_neighbors": 32, "sync_threshold": NEVER}


class Missing(Exception):
    """There is no such collection, or it is gone."""


class Unsettled(Unavailable):
    """Chroma failed, as it does in a moment in which a collection is being changed."""


@dataclass(frozen=True, slots=True)
class Collection:
    id: str
    name: str
    dimension: int


def found(id: str, name: str, metadata: Mapping[str, Any] | None) -> Collection:
    """A collection as Chroma tells of it."""
    dimension = (metadata or {}).get(DIMENSION)
    if not isinstance(dimension, int):
        raise Conflict(f"Chroma's collection {name} was not made by this server: rename it there, or drop it.")
    return Collection(id, name, dimension)


@dataclass(frozen=True, slots=True)
class Records:
    """Chunks as Chroma keeps them, one place in each list for each."""

    ids: list[str]
    vectors: Vector
    metadatas: list[Metadata]
    documents: list[str]


@dataclass(frozen=True, slots=True)
class Found:
    """`metadatas`, `documents` and `embeddings` are as long as `ids` where they were asked for, and empty else."""

    ids: list[str]
    metadatas: list[Metadata] = field(default_factory=list)
    documents: list[str | None] = field(default_factory=list)
    embeddings: Sequence[Any] = ()


class Engine(Protocol):
    """Each method raises Missing where the collection is not there; an upsertion of `most` records is all or nothing.

    `get` and `nearest` raise Unsettled where the same may be answered in a moment.

    A record that is updated, or upserted again, keeps what it had of metadata, but for keys that are None now.
    """

    async def most(self) -> int:
        """How many records may be changed at once."""
        ...

    async def collection(self, name: str) -> Collection: ...

    async def create(self, name: str, metadata: Mapping[str, Any]) -> Collection:
        """Harmless to repeat: what is there stays as it is."""
        ...

    async def drop(self, collection: Collection) -> None: ...

    async def upsert(self, collection: Collection, records: Records) -> None: ...

    async def update(self, collection: Collection, ids: list[str], metadatas: list[Metadata]) -> None: ...

    async def delete(self, collection: Collection, ids: list[str]) -> None: ...

    async def get(
        self,
        collection: Collection,
        *,
        ids: list[str] | None = None,
        where: Where | None = None,
        limit: int | None = None,
        offset: int = 0,
        include: Sequence[Field] = (),
    ) -> Found:
        """Records in the order in which they were first inserted."""
        ...

    async def nearest(
        self, collection: Collection, vector: Vector, limit: int, where: Where | None
    ) -> list[tuple[str, float]]:
        """The ids of the nearest, each with its distance: 1 less the cosine."""
        ...

    async def count(self, collection: Collection) -> int: ...
