"""The fake of the vectors' protocol: everything in memory, compared one by one. What it finds is exact."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from apps.vector_io import checks, ranking
from apps.vector_io.filters import Attributes, matches
from apps.vector_io.protocol import Chunk, Hit, Place, Query, Size, Store
from llamastack.call import Call
from llamastack.errors import Conflict


class FakeVectorIO:
    """Keywords are words of both texts, whatever their order. `failing` is raised by every call while it is set."""

    def __init__(self) -> None:
        self.stores: dict[tuple[str, str], tuple[Store, dict[str, Chunk]]] = {}
        self.failing: Exception | None = None

    async def create_store(self, call: Call, store: Store) -> None:
        await self._passed()
        there, _ = self.stores.setdefault((store.tenant, store.key), (store, {}))
        if there.dimension != store.dimension:
            raise Conflict(f"The store has vectors of {there.dimension} numbers, not {store.dimension}.")

    async def drop_store(self, call: Call, store: Store) -> None:
        await self._passed()
        self.stores.pop((store.tenant, store.key), None)

    async def insert(self, call: Call, store: Store, chunks: Sequence[Chunk]) -> None:
        kept = await self._kept(store)
        checks.vectors(store, chunks)
        kept.update({chunk.id: chunk for chunk in chunks})

    async def delete(
        self, call: Call, store: Store, *, chunk_ids: Sequence[str] = (), file_id: str | None = None
    ) -> int:
        kept = await self._kept(store)
        gone = [id for id, chunk in kept.items() if id in chunk_ids or chunk.file_id == file_id]
        for id in gone:
            del kept[id]
        return len(gone)

    async def query(self, call: Call, store: Store, query: Query) -> list[Hit]:
        kept = await self._kept(store)
        checks.query(store, query)
        found = {id: chunk for id, chunk in kept.items() if matches(query.filter, chunk.attributes)}
        near = {id: _cosine(query, chunk) for id, chunk in found.items()} if query.mode != "keyword" else {}
        texts = found if query.mode != "vector" else {}
        worded = {id: score for id, chunk in texts.items() if (score := _worded(query, chunk))}
        best = query.best(near, worded)
        if query.embeddings:
            return [Hit(found[id], score) for id, score in best]
        return [Hit(replace(found[id], embedding=None), score) for id, score in best]

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
        kept = (await self._kept(store)).values()
        behind = [chunk for chunk in kept if chunk.file_id == file_id and (after is None or chunk.place > after)]
        listed = sorted(behind, key=lambda chunk: chunk.place)[:limit]
        return listed if embeddings else [replace(chunk, embedding=None) for chunk in listed]

    async def set_attributes(self, call: Call, store: Store, file_id: str, attributes: Attributes) -> None:
        kept = await self._kept(store)
        kept.update({id: replace(c, attributes=attributes) for id, c in kept.items() if c.file_id == file_id})

    async def size(self, call: Call, store: Store) -> Size:
        kept = await self._kept(store)
        texts = sum(len(chunk.content.encode()) for chunk in kept.values())
        return Size(len(kept), texts + len(kept) * store.dimension * 4)

    async def _kept(self, store: Store) -> dict[str, Chunk]:
        await self._passed()
        if (store.tenant, store.key) not in self.stores:
            raise checks.missing(store)
        return self.stores[store.tenant, store.key][1]

    async def _passed(self) -> None:
        await asyncio.sleep(0)  # as a real one would let others run
        if self.failing is not None:
            raise self.failing


def _cosine(query: Query, chunk: Chunk) -> float:
    assert query.vector is not None
    assert chunk.embedding is not None
    return float(checks.unit(query.vector) @ checks.unit(chunk.embedding))


def _worded(query: Query, chunk: Chunk) -> float:
    words = set((query.text or "").lower().split())
    return ranking.squashed(float(len(words & set(chunk.content.lower().split()))))
