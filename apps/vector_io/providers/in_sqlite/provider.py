"""A provider whose stores are SQLite files: everything but where the vectors are and how they are searched."""

import asyncio
import functools
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import ParamSpec, TypeVar

from apps.vector_io import checks
from apps.vector_io.filters import Attributes
from apps.vector_io.protocol import Chunk, Hit, Place, Query, Size, Store, Vector
from apps.vector_io.providers.in_sqlite.file import Scored, StoreFile, Vectors, opened
from apps.vector_io.providers.in_sqlite.opened import OpenStore, OpenStores
from llamastack.call import Call
from llamastack.errors import DiskFull, Unavailable
from llamastack.providers import Health, Provider, ProviderConfig, ProviderUnavailable

THREADS = 8
T = TypeVar("T")
P = ParamSpec("P")


class StoresInSQLite(Provider):
    """All work is done in threads of its own, and none on the loop."""

    vectors: Vectors
    opens: type[OpenStore]
    sqlite: ModuleType = sqlite3
    most_open = 100

    def __init__(self, provider_id: str, config: ProviderConfig, folder: Path) -> None:
        super().__init__(provider_id, config)
        self.folder = folder
        self._stores = OpenStores(folder, self.file, self.opens, self.most_open)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"vectors-{provider_id}")

    def file(self, path: Path) -> StoreFile:
        return StoreFile(opened(path, self.sqlite), self.vectors)

    async def start(self) -> None:
        try:
            await asyncio.to_thread(self.folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ProviderUnavailable(f"The folder {self.folder} cannot be made: {error.strerror}.") from error

    async def stop(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._stores.close)

    async def health(self) -> Health:
        usable = await asyncio.to_thread(os.access, self.folder, os.R_OK | os.W_OK | os.X_OK)
        return Health(usable, "" if usable else f"The folder {self.folder} cannot be used.")

    def check(self, store: Store) -> None:
        """Raises BadRequest for a store that this kind of file cannot hold."""

    async def create_store(self, call: Call, store: Store) -> None:
        self.check(store)
        await self._run(self._stores.create, store)

    async def drop_store(self, call: Call, store: Store) -> None:
        await self._run(self._stores.drop, store)

    async def insert(self, call: Call, store: Store, chunks: Sequence[Chunk]) -> None:
        await self._run(self._insert, store, chunks)

    def _insert(self, store: Store, chunks: Sequence[Chunk]) -> None:
        vectors = checks.vectors(store, chunks)
        with self._stores.using(store) as found, found.writing() as file:
            file.insert(chunks, vectors)

    async def delete(
        self, call: Call, store: Store, *, chunk_ids: Sequence[str] = (), file_id: str | None = None
    ) -> int:
        return await self._run(self._delete, store, chunk_ids, file_id)

    def _delete(self, store: Store, chunk_ids: Sequence[str], file_id: str | None) -> int:
        with self._stores.using(store) as found, found.writing() as file:
            return file.delete(chunk_ids, file_id)

    async def query(self, call: Call, store: Store, query: Query) -> list[Hit]:
        return await self._run(self._query, store, query)

    def _query(self, store: Store, query: Query) -> list[Hit]:
        vector = checks.query(store, query)
        with self._stores.using(store) as found:
            best = _best(found, query, vector)
            with found.reading() as file:
                chunks = file.read([number for number, _ in best], query.embeddings)
        return [Hit(chunks[number], score) for number, score in best if number in chunks]

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
        return await self._run(self._of_file, store, file_id, after, limit, embeddings)

    def _of_file(self, store: Store, file_id: str, after: Place | None, limit: int, embeddings: bool) -> list[Chunk]:
        with self._stores.using(store) as found, found.reading() as file:
            return file.of_file(file_id, after, limit, embeddings)

    async def set_attributes(self, call: Call, store: Store, file_id: str, attributes: Attributes) -> None:
        await self._run(self._set_attributes, store, file_id, attributes)

    def _set_attributes(self, store: Store, file_id: str, attributes: Attributes) -> None:
        checks.attributes(attributes)
        with self._stores.using(store) as found, found.writing() as file:
            file.set_attributes(file_id, attributes)

    async def size(self, call: Call, store: Store) -> Size:
        return await self._run(self._size, store)

    def _size(self, store: Store) -> Size:
        with self._stores.using(store) as found, found.reading() as file:
            return file.size(store.dimension)

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        run = functools.partial(self._guarded, work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    def _guarded(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What SQLite raises, as the errors that callers know."""
        try:
            return work(*args, **kwargs)
        except self.sqlite.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise DiskFull("There is no room for these chunks on the server's disk.") from error
            raise Unavailable(f"The vector store's file cannot be used: {error}.") from error
        except self.sqlite.DatabaseError as error:
            raise Unavailable(f"The vector store's file is damaged: {error}.") from error


def _best(found: OpenStore, query: Query, vector: Vector | None) -> Scored:
    """The chunks to answer with, the best first."""
    several = query.candidates
    near = {} if vector is None else _named(found.nearest(vector, several, query.filter))
    worded = {} if query.mode == "vector" else _named(_worded(found, query, several))
    return [(int(name), score) for name, score in query.best(near, worded)]


def _worded(found: OpenStore, query: Query, limit: int) -> Scored:
    assert query.text is not None
    with found.reading() as file:
        return file.worded(query.text, limit, query.filter)


def _named(scored: Scored) -> dict[str, float]:
    """By numbers of one length: of equal scores the older chunk is first."""
    return {f"{number:020}": score for number, score in scored}
