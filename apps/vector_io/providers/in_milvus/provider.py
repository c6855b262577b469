"""A provider whose stores are collections of Milvus: everything but where Milvus is."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from apps.vector_io import checks
from apps.vector_io.filters import Attributes
from apps.vector_io.protocol import Chunk, Hit, Place, Query, Size, Store, Vector
from apps.vector_io.providers.in_milvus import rows
from apps.vector_io.providers.in_milvus.client import translated
from apps.vector_io.providers.in_milvus.collection import Collection
from apps.vector_io.providers.in_milvus.schema import MOST_NUMBERS
from apps.vector_io.providers.in_milvus.stores import Stores
from llamastack.call import Call
from llamastack.errors import BadRequest, StackError, UpstreamError
from llamastack.providers import Health, Provider, ProviderConfig

READERS, WRITERS = 8, 4
HEALTH_SECONDS = 2.0
T = TypeVar("T")


class StoresInMilvus(Provider):
    """The client waits for its answers: all is done in threads of its own, and none on the loop.

    Writers of one store wait for each other; they have threads apart, so that no reader waits for them.
    """

    def __init__(self, provider_id: str, config: ProviderConfig) -> None:
        super().__init__(provider_id, config)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix=f"milvus-{provider_id}")
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix=f"milvus-{provider_id}-writing")
        self._stores: Stores | None = None

    def opened(self) -> Stores:
        """Connects, in a thread. Raises ProviderUnavailable where there is no Milvus."""
        raise NotImplementedError

    def closed(self, stores: Stores) -> None:
        """Releases what `opened` took."""
        stores.client.close()

    def meant(self, error: UpstreamError) -> StackError:
        """What an error of Milvus' tells a caller."""
        return error

    @property
    def stores(self) -> Stores:
        assert self._stores is not None
        return self._stores

    async def start(self) -> None:
        if self._stores is None:
            self._stores = await asyncio.to_thread(self.opened)

    async def stop(self) -> None:
        for threads in (self._readers, self._writers):
            await asyncio.to_thread(threads.shutdown)
        if self._stores is not None:
            stores, self._stores = self._stores, None
            await asyncio.to_thread(self.closed, stores)

    async def health(self) -> Health:
        try:
            await asyncio.to_thread(self._asked)
        except StackError as error:
            return Health(False, error.message)
        return Health(True)

    def _asked(self) -> None:
        with translated():
            self.stores.client.get_server_version(timeout=HEALTH_SECONDS)

    async def create_store(self, call: Call, store: Store) -> None:
        if store.dimension > MOST_NUMBERS:
            raise BadRequest(f"Milvus keeps vectors of at most {MOST_NUMBERS:,} numbers.", param="embedding_dimension")
        await self._in(self._writers, lambda: self.stores.create(store))

    async def drop_store(self, call: Call, store: Store) -> None:
        await self._in(self._writers, lambda: self.stores.drop(store))

    async def insert(self, call: Call, store: Store, chunks: Sequence[Chunk]) -> None:
        await self._in(self._writers, lambda: self._insert(store, chunks))

    def _insert(self, store: Store, chunks: Sequence[Chunk]) -> None:
        given = rows.rows(chunks, checks.vectors(store, chunks))
        self.stores.write(store, lambda collection: collection.insert(given))

    async def delete(
        self, call: Call, store: Store, *, chunk_ids: Sequence[str] = (), file_id: str | None = None
    ) -> int:
        return await self._writing(store, lambda collection: collection.delete(chunk_ids, file_id))

    async def query(self, call: Call, store: Store, query: Query) -> list[Hit]:
        vector = checks.query(store, query)
        return await self._reading(store, lambda collection: _queried(collection, query, vector))

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
        return await self._reading(store, lambda collection: collection.of_file(file_id, after, limit, embeddings))

    async def set_attributes(self, call: Call, store: Store, file_id: str, attributes: Attributes) -> None:
        checks.attributes(attributes)
        await self._writing(store, lambda collection: collection.set_attributes(file_id, attributes))

    async def size(self, call: Call, store: Store) -> Size:
        return await self._reading(store, lambda collection: collection.size())

    async def _reading(self, store: Store, work: Callable[[Collection], T]) -> T:
        return await self._in(self._readers, lambda: self.stores.read(store, work))

    async def _writing(self, store: Store, work: Callable[[Collection], T]) -> T:
        return await self._in(self._writers, lambda: self.stores.write(store, work))

    async def _in(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, work)
        except UpstreamError as error:
            raise self.meant(error) from error


def _queried(collection: Collection, query: Query, vector: Vector | None) -> list[Hit]:
    several = query.candidates
    near = {} if vector is None else collection.nearest(vector, several, query.filter)
    worded = {} if query.mode == "vector" else collection.worded(query.text or "", several, query.filter)
    best = query.best(near, worded)
    chunks = collection.read((id for id, _ in best), query.embeddings)
    return [Hit(chunks[id], score) for id, score in best if id in chunks]
