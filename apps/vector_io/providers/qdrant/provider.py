"""A provider whose stores are Qdrant's: everything but where Qdrant is and how it is spoken to."""

import asyncio
from collections.abc import Sequence
from typing import Any

from apps.vector_io import checks
from apps.vector_io.filters import Attributes, Filter
from apps.vector_io.protocol import Chunk, Hit, Place, Query, Size, Store, Vector
from apps.vector_io.providers.qdrant import points as made
from apps.vector_io.providers.qdrant import sparse, where
from apps.vector_io.providers.qdrant.fields import EMBEDDING, FIELDS, PLACE, WORDS, Condition, Payload, Point
from apps.vector_io.providers.qdrant.points import Points
from apps.vector_io.ranking import squashed
from llamastack.call import Call
from llamastack.errors import BadRequest
from llamastack.providers import Provider

MOST_NUMBERS = 65_536  # https://qdrant.tech/documentation/concepts/vectors/
Found = list[tuple[Payload, float]]


class StoresInQdrant(Provider):
    async def points(self, store: Store) -> Points:
        """Raises NotFound where there is no such store, and BadRequest where its vectors have another dimension."""
        raise NotImplementedError

    async def insert(self, call: Call, store: Store, chunks: Sequence[Chunk]) -> None:
        vectors = checks.vectors(store, chunks)
        points = await self.points(store)
        if chunks:
            given = await asyncio.to_thread(made.points, made.partition(store), chunks, vectors)
            await points.upsert(given)

    async def delete(
        self, call: Call, store: Store, *, chunk_ids: Sequence[str] = (), file_id: str | None = None
    ) -> int:
        points = await self.points(store)
        chosen = [made.any_of(made.partition(store), chunk_ids)] if chunk_ids else []
        if file_id is not None:
            chosen.append(made.of_file(file_id))
        if not chosen:
            return 0
        gone = await points.count({"should": chosen})
        if gone:
            await points.delete({"should": chosen})
        return gone

    async def query(self, call: Call, store: Store, query: Query) -> list[Hit]:
        vector = checks.query(store, query)
        points = await self.points(store)
        several = query.candidates
        near, worded = await asyncio.gather(
            _near(points, vector, several, query.filter),
            _worded(points, None if query.mode == "vector" else query.text, several, query.filter),
        )
        payloads = {payload["id"]: payload for payload, _ in (*near, *worded)}
        scores = [{payload["id"]: score for payload, score in found} for found in (near, worded)]
        best = query.best(*scores)
        vectors = await _vectors(points, store, [id for id, _ in best]) if query.embeddings else {}
        return [Hit(made.chunk(payloads[id], vectors.get(id)), score) for id, score in best]

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
        """Qdrant orders by one number, and not by an id behind it: the places are ordered here, and one page read."""
        points = await self.points(store)
        behind = [{"key": "position", "range": {"gte": after[0]}}] if after else []
        listed = await points.read({"must": [made.of_file(file_id), *behind]}, PLACE)
        places = sorted((point["payload"]["position"], point["payload"]["id"]) for point in listed)
        page = [id for position, id in places if after is None or (position, id) > after][:limit]
        if not page:
            return []
        found = await points.read(made.any_of(made.partition(store), page), FIELDS, vectors=embeddings)
        read = [made.chunk(point["payload"], _embedding(point) if embeddings else None) for point in found]
        return sorted(read, key=lambda chunk: chunk.place)

    async def set_attributes(self, call: Call, store: Store, file_id: str, attributes: Attributes) -> None:
        checks.attributes(attributes)
        points = await self.points(store)
        await points.describe(made.of_file(file_id), made.described(attributes))

    async def size(self, call: Call, store: Store) -> Size:
        points = await self.points(store)
        sizes = await points.sizes()
        count = sum(several for _, several in sizes)
        return Size(count, sum(size * several for size, several in sizes) + count * store.dimension * 4)


def checked(store: Store) -> None:
    if store.dimension > MOST_NUMBERS:
        raise BadRequest(f"Qdrant keeps vectors of at most {MOST_NUMBERS} numbers.", param="embedding_dimension")


async def _vectors(points: Points, store: Store, ids: list[str]) -> dict[str, Any]:
    if not ids:
        return {}
    found = await points.read(made.any_of(made.partition(store), ids), ["id"], vectors=True)
    return {point["payload"]["id"]: _embedding(point) for point in found}


async def _near(points: Points, vector: Vector | None, limit: int, filter: Filter | None) -> Found:
    if vector is None:
        return []
    return await points.search(EMBEDDING, vector.tolist(), limit, _condition(filter))


async def _worded(points: Points, text: str | None, limit: int, filter: Filter | None) -> Found:
    asked = sparse.of_query(text or "")
    if not asked["indices"]:
        return []
    found = await points.search(WORDS, asked, limit, _condition(filter))
    return [(payload, squashed(score)) for payload, score in found]


def _condition(filter: Filter | None) -> Condition | None:
    return None if filter is None else where.condition(filter)


def _embedding(point: Point) -> Any:
    return point["vector"][EMBEDDING]
