"""A provider whose stores are Chroma's collections: everything but how Chroma is reached."""

import asyncio
import contextlib
import hashlib
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from apps.vector_io import checks
from apps.vector_io.filters import Attributes
from apps.vector_io.protocol import Chunk, Hit, Place, Query, Size, Store, Vector
from apps.vector_io.providers.chroma import records
from apps.vector_io.providers.chroma.engine import (
    DIMENSION,
    Collection,
    Engine,
    Field,
    Found,
    Missing,
    Records,
    Unsettled,
    Where,
)
from apps.vector_io.providers.chroma.gate import Gate
from apps.vector_io.providers.chroma.keywords import Keywords
from apps.vector_io.providers.chroma.where import joined, where
from llamastack.call import Call
from llamastack.errors import BadRequest, Conflict
from llamastack.providers import Provider

PAGE = 500  # records read at once, where all are read
WIDER = 4
FIRST = "llamastack:first"  # the id of a record that makes Chroma make its index, and is gone at once
TRIES, PAUSE = 4, 0.05  # seconds, of a search while another process changes the collection
MOST_KNOWN = 1000  # collections
T = TypeVar("T")


class StoresInChroma(Provider):
    """`start` sets `engine`. Changes of one store are made one after the other: each reads first what is there."""

    engine: Engine

    def open(self, engine: Engine) -> None:
        self.engine = engine
        self._keywords = Keywords(engine)
        self._collections: OrderedDict[tuple[str, str], Collection] = OrderedDict()
        self._gates: defaultdict[str, Gate] = defaultdict(Gate)

    async def create_store(self, call: Call, store: Store) -> None:
        name = collection_name(store)
        try:
            found = await self.engine.collection(name)
        except Missing:
            metadata = {"tenant": store.tenant, "vector_store": store.key, DIMENSION: store.dimension}
            found = await self.engine.create(name, metadata)
        if found.dimension != store.dimension:
            raise Conflict(f"The vector store '{store.key}' has vectors of {found.dimension} numbers.")
        await self._index(found)

    async def _index(self, collection: Collection) -> None:
        """Have the index made: while Chroma makes it, for its first vector, every search fails."""
        chunks = await self.engine.count(collection)
        if chunks == 0:
            await self.engine.upsert(collection, first(collection.dimension))
        if chunks <= 1:  # a crash may have left it
            await self.engine.delete(collection, [FIRST])

    async def drop_store(self, call: Call, store: Store) -> None:
        self._collections.pop((store.tenant, store.key), None)
        with contextlib.suppress(Missing):
            found = await self.engine.collection(collection_name(store))
            async with self._gates[found.id].alone():
                await self._empty(found)
                await self.engine.drop(found)
            self._gates.pop(found.id, None)

    async def _empty(self, collection: Collection) -> None:
        """Of a collection that is dropped Chroma would keep all texts and words, and give them to other records."""
        most = await self.engine.most()
        while ids := (await self.engine.get(collection, limit=most)).ids:
            await self.engine.delete(collection, ids)

    async def insert(self, call: Call, store: Store, chunks: Sequence[Chunk]) -> None:
        vectors = checks.vectors(store, chunks)
        await self._of(store, lambda collection: self._insert(collection, chunks, vectors))

    async def _insert(self, collection: Collection, chunks: Sequence[Chunk], vectors: Vector) -> None:
        last = {chunk.id: place for place, chunk in enumerate(chunks)}
        places, most = list(last.values()), await self.engine.most()
        for start in range(0, len(places), most):
            some = places[start : start + most]
            new = await asyncio.to_thread(records.records, [chunks[place] for place in some], vectors[some])
            async with self._gates[collection.id].alone():
                old = await self.engine.get(collection, ids=new.ids, include=["metadatas"])
                there = dict(zip(old.ids, old.metadatas, strict=True))
                for place, id in enumerate(new.ids):
                    if id in there:
                        new.metadatas[place] = records.instead(new.metadatas[place], there[id])
                await self.engine.upsert(collection, new)

    async def delete(
        self, call: Call, store: Store, *, chunk_ids: Sequence[str] = (), file_id: str | None = None
    ) -> int:
        return await self._of(store, lambda collection: self._delete(collection, chunk_ids, file_id))

    async def _delete(self, collection: Collection, chunk_ids: Sequence[str], file_id: str | None) -> int:
        most = await self.engine.most()
        async with self._gates[collection.id].alone():
            gone: dict[str, None] = {}
            for start in range(0, len(chunk_ids), most):
                found = await self.engine.get(collection, ids=list(chunk_ids[start : start + most]))
                gone |= dict.fromkeys(found.ids)
            if file_id is not None:
                gone |= dict.fromkeys((await self.engine.get(collection, where=_of_file(file_id))).ids)
            for start in range(0, len(gone), most):
                await self.engine.delete(collection, list(gone)[start : start + most])
        return len(gone)

    async def query(self, call: Call, store: Store, query: Query) -> list[Hit]:
        vector = checks.query(store, query)
        return await self._of(store, lambda collection: self._searched(collection, query, vector))

    async def _searched(self, collection: Collection, query: Query, vector: Vector | None) -> list[Hit]:
        """Without a filter Chroma mostly answers while it applies a change, too, which may take seconds."""
        if query.filter is None:
            with contextlib.suppress(Unsettled):
                return await self._query(collection, query, vector)
        async with self._gates[collection.id].together():
            return await settled(lambda: self._query(collection, query, vector))

    async def _query(self, collection: Collection, query: Query, vector: Vector | None) -> list[Hit]:
        several = query.candidates
        kept = None if query.filter is None else where(query.filter)
        near = {} if vector is None else await self._nearest(collection, vector, several, kept)
        worded = {}
        if query.mode != "vector":
            worded = await self._keywords.search(collection, query.text or "", several, kept)
        best = query.best(near, worded)
        chunks = await self._read(collection, [id for id, _ in best], query.embeddings)
        return [Hit(chunks[id], score) for id, score in best if id in chunks]

    async def _nearest(
        self, collection: Collection, vector: Vector, limit: int, kept: Where | None
    ) -> dict[str, float]:
        """Where there are few to be found, all are: HNSW may lose the way to a vector, as when another has moved."""
        found = await self.engine.nearest(collection, vector, limit, kept)
        near = {id: 1.0 - distance for id, distance in found}
        if len(near) < limit:
            every = await self.engine.get(collection, where=kept)
            near |= await self._compared(collection, vector, [id for id in every.ids if id not in near])
        return near

    async def _compared(self, collection: Collection, vector: Vector, ids: list[str]) -> dict[str, float]:
        """Their cosines, one by one."""
        import numpy

        near: dict[str, float] = {}
        most = await self.engine.most()
        for start in range(0, len(ids), most):
            found = await self.engine.get(collection, ids=ids[start : start + most], include=["embeddings"])
            vectors = numpy.asarray(found.embeddings, dtype=numpy.float32).reshape(-1, collection.dimension)
            cosines = vectors @ vector
            near |= zip(found.ids, cosines.tolist(), strict=True)
        return near

    async def _read(self, collection: Collection, ids: list[str], embeddings: bool) -> dict[str, Chunk]:
        read: dict[str, Chunk] = {}
        fields = _fields(embeddings)
        most = await self.engine.most()
        for start in range(0, len(ids), most):
            found = await self.engine.get(collection, ids=ids[start : start + most], include=fields)
            read |= {chunk.id: chunk for chunk in records.chunks(found)}
        return read

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
        async def read(collection: Collection) -> list[Chunk]:
            async with self._gates[collection.id].together():
                return await settled(lambda: self._listed(collection, file_id, after, limit, embeddings))

        return await self._of(store, read)

    async def _listed(
        self, collection: Collection, file_id: str, after: Place | None, limit: int, embeddings: bool
    ) -> list[Chunk]:
        """Chroma sorts by nothing of ours: it is asked for some positions, and for more while that gives too few."""
        fields = _fields(embeddings)
        listed: list[Chunk] = []
        start = None if after is None else after[0]
        end, width = (start or 0) + limit, limit
        while True:
            positions = _of_file(file_id, start, end)
            found = await self.engine.get(collection, where=positions, include=fields)
            listed += [chunk for chunk in records.chunks(found) if after is None or chunk.place > after]
            if (
                len(listed) >= limit
                or not (await self.engine.get(collection, where=_of_file(file_id, end), limit=1)).ids
            ):
                return sorted(listed, key=lambda chunk: chunk.place)[:limit]
            width *= WIDER
            start, end = end, end + width

    async def set_attributes(self, call: Call, store: Store, file_id: str, attributes: Attributes) -> None:
        checks.attributes(attributes)
        await self._of(store, lambda collection: self._set_attributes(collection, file_id, attributes))

    async def _set_attributes(self, collection: Collection, file_id: str, attributes: Attributes) -> None:
        """Page by page: a record is read with all its words."""
        new, place, last = records.described(attributes), 0, False
        async with self._gates[collection.id].alone():
            while not last:
                found = await self.engine.get(
                    collection, where=_of_file(file_id), limit=PAGE, offset=place, include=["metadatas"]
                )
                changed = [records.instead(new, records.attributes_of(old)) for old in found.metadatas]
                await self.engine.update(collection, found.ids, changed)
                place, last = place + PAGE, len(found.ids) < PAGE

    async def size(self, call: Call, store: Store) -> Size:
        return await self._of(store, self._size)

    async def _size(self, collection: Collection) -> Size:
        """Chroma adds nothing up: all texts are read."""
        chunks = size = 0
        page: Found | None = None
        while page is None or page.ids:
            page = await self.engine.get(collection, limit=PAGE, offset=chunks, include=["documents"])
            chunks += len(page.ids)
            size += sum(len((text or "").encode()) for text in page.documents)
        return Size(chunks, size + chunks * collection.dimension * 4)

    async def _of(self, store: Store, work: Callable[[Collection], Awaitable[T]]) -> T:
        """What `work` makes of the store's collection, asked again where that is another one than it was."""
        try:
            return await work(await self._known(store))
        except Missing:
            self._collections.pop((store.tenant, store.key), None)
        try:
            return await work(await self._known(store))
        except Missing:
            raise checks.missing(store) from None

    async def _known(self, store: Store) -> Collection:
        key = (store.tenant, store.key)
        found = self._collections.get(key) or await self.engine.collection(collection_name(store))
        self._collections[key] = found
        self._collections.move_to_end(key)
        while len(self._collections) > MOST_KNOWN:
            self._gates.pop(self._collections.popitem(last=False)[1].id, None)
        if found.dimension != store.dimension:
            raise BadRequest(f"This vector store has vectors of {found.dimension} numbers.", param="dimension")
        return found


def collection_name(store: Store) -> str:
    """Of letters that Chroma allows: a name of a tenant may hold anything, and be long."""
    digest = hashlib.sha256(f"{store.tenant}\0{store.key}".encode()).hexdigest()
    return f"llamastack-{digest[:40]}"


def first(dimension: int) -> Records:
    import numpy

    return Records([FIRST], numpy.eye(1, dimension, dtype=numpy.float32), [{"position": 0}], [""])


async def settled(work: Callable[[], Awaitable[T]]) -> T:
    """Another process may be changing the collection, which the gate here knows nothing of."""
    for tried in range(1, TRIES):
        try:
            return await work()
        except Unsettled:
            await asyncio.sleep(PAUSE * tried)
    return await work()


def _of_file(file_id: str, start: int | None = None, end: int | None = None) -> Where:
    tests: list[Where] = [{"file_id": {"$eq": file_id}}]
    if start is not None:
        tests.append({"position": {"$gte": start}})
    if end is not None:
        tests.append({"position": {"$lt": end}})
    return joined("$and", *tests)


def _fields(embeddings: bool) -> list[Field]:
    return ["metadatas", "documents", "embeddings"] if embeddings else ["metadatas", "documents"]
