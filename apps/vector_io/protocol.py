"""What a provider that keeps vectors must do: chunks of text with their vectors, in stores apart from each other.

Rows (names, owners, files, states) are the service's, in the database. A provider knows a store by its public id and
its tenant, and keeps what is searched: nothing of one store, or of one tenant, is ever found in another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from apps.vector_io.filters import Attributes, Filter
from apps.vector_io.ranking import RRF, Ranking, Scores, best, candidates, joined
from llamastack.call import Call

if TYPE_CHECKING:
    import numpy

    Vector: TypeAlias = numpy.ndarray[Any, numpy.dtype[numpy.float32]]
else:
    Vector = object  # what lists the providers needs no numpy
Metric = Literal["cosine"]
Mode = Literal["vector", "keyword", "hybrid"]
Place = tuple[int, str]  # of a chunk in its file: its position, then its id


@dataclass(frozen=True, slots=True)
class Store:
    """`key` is the public id (`vs_…`). The dimension never changes: another model's vectors are another store."""

    key: str
    tenant: str
    dimension: int
    metric: Metric = "cosine"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a file, or of no file (`file_id` is then what the caller groups by, which may be empty).

    `page` counts from 1, None where the file has none. `attributes` are the file's, which filters read; `metadata`
    is any JSON, which nothing reads. `embedding` has one dimension, and any length: it is kept at length 1, and None in
    what is read back, unless it was asked for.
    """

    id: str
    content: str
    file_id: str = ""
    filename: str = ""
    page: int | None = None
    position: int = 0
    attributes: Attributes = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    embedding: Vector | None = field(default=None, compare=False, repr=False)

    @property
    def place(self) -> Place:
        return self.position, self.id


@dataclass(frozen=True, slots=True)
class Query:
    """`text` is what keywords are searched by, `vector` what vectors are; `hybrid` needs both, joined by `ranking`.

    `score_threshold` leaves out hits that score less. With `embeddings` each hit's chunk has its vector.
    """

    text: str | None = None
    vector: Vector | None = field(default=None, compare=False, repr=False)
    mode: Mode = "vector"
    limit: int = 10
    filter: Filter | None = None
    score_threshold: float | None = None
    ranking: Ranking = RRF
    embeddings: bool = False

    @property
    def candidates(self) -> int:
        """How many hits of each search are asked for."""
        return candidates(self.limit) if self.mode == "hybrid" else self.limit

    def best(self, near: Scores, worded: Scores) -> list[tuple[str, float]]:
        """The ids and scores of the hits to answer with, of what vectors found and what keywords did."""
        scores = joined(self.ranking, near, worded) if self.mode == "hybrid" else {**near, **worded}
        return best(scores, self.limit, self.score_threshold)


@dataclass(frozen=True, slots=True)
class Hit:
    """`score` is at most 1, and more is nearer: the cosine of a vector search; for keywords and hybrid from 0."""

    chunk: Chunk
    score: float


@dataclass(frozen=True, slots=True)
class Size:
    """What a store holds: chunks, and the bytes of their texts and vectors."""

    chunks: int = 0
    bytes: int = 0


class VectorIO(Protocol):
    """A provider. What has been answered survives a crash; what raises has changed nothing, but for the chunks of an
    insertion that the caller repeats.

    Each method but `create_store` and `drop_store` raises NotFound for a store that was never created here, and
    BadRequest for a vector of another dimension, or that is not finite.
    """

    async def create_store(self, call: Call, store: Store) -> None:
        """Harmless to repeat. Raises Conflict where it is there with another dimension."""
        ...

    async def drop_store(self, call: Call, store: Store) -> None:
        """Everything of the store. Harmless to repeat, and where there is none."""
        ...

    async def insert(self, call: Call, store: Store, chunks: Sequence[Chunk]) -> None:
        """Keep these chunks, each with its embedding. One whose id the store has replaces that."""
        ...

    async def delete(
        self, call: Call, store: Store, *, chunk_ids: Sequence[str] = (), file_id: str | None = None
    ) -> int:
        """Forget the chunks of these ids and of this file. Returns how many there were."""
        ...

    async def query(self, call: Call, store: Store, query: Query) -> list[Hit]:
        """The best hits first, at most `limit`, of those that the filter keeps."""
        ...

    async def chunks(
        self,
        call: Call,
        store: Store,
        file_id: str,
        *,
        after: Place | None = None,
        limit: int = 100,
        embeddings: bool = False,
    ) -> list[Chunk]:
        """A file's chunks in the order of their places, from the one behind `after`."""
        ...

    async def set_attributes(self, call: Call, store: Store, file_id: str, attributes: Attributes) -> None:
        """These attributes for each chunk of the file, instead of what it has."""
        ...

    async def size(self, call: Call, store: Store) -> Size: ...
