"""Chroma in this process: its files are in a folder, which no other process may use at the same time."""

import asyncio
import functools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pydantic import Field

from apps.vector_io.protocol import Vector
from apps.vector_io.providers.chroma import engine
from apps.vector_io.providers.chroma.engine import (
    INDEX,
    Collection,
    Found,
    Metadata,
    Missing,
    Records,
    Unsettled,
    Where,
)
from apps.vector_io.providers.chroma.provider import StoresInChroma
from llamastack.errors import DiskFull
from llamastack.home import home
from llamastack.providers import Health, ProviderConfig, ProviderUnavailable

THREADS = 8
LEAST_ROOM = 32 << 20  # bytes of the disk: with fewer left, what fails has failed for that
T = TypeVar("T")
P = ParamSpec("P")


class InlineChromaConfig(ProviderConfig):
    other_names = {"kvstore": "persistence"}

    db_path: str | None = Field(
        None,
        description="The folder of Chroma's files, made where it is missing. By default one of the provider's name, "
        "under `vector_io` in LLAMA_STACK_HOME.",
    )
    persistence: dict[str, Any] | None = Field(
        None, description="Where Llama Stack keeps what it knows of a store. Here that is Chroma's folder."
    )

    @property
    def of_the_server(self) -> Mapping[str, Any]:
        return {"db_path": self.db_path or ""}

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"db_path": "~/.llama/vector_io/chromadb"}


class InlineChroma(StoresInChroma):
    config_class = InlineChromaConfig
    running: "InProcess | None" = None

    def __init__(self, provider_id: str, config: InlineChromaConfig) -> None:
        super().__init__(provider_id, config)
        folder = Path(config.db_path).expanduser() if config.db_path else home() / "vector_io" / provider_id
        self.folder = folder.absolute()

    async def start(self) -> None:
        await self.stop()
        opened = InProcess(self.folder)
        await asyncio.to_thread(opened.open)
        self.open(opened)
        self.running = opened

    async def stop(self) -> None:
        opened, self.running = self.running, None
        if opened is not None:
            await asyncio.to_thread(opened.close)

    async def health(self) -> Health:
        usable = await asyncio.to_thread(os.access, self.folder, os.R_OK | os.W_OK | os.X_OK)
        return Health(usable, "" if usable else f"The folder {self.folder} cannot be used.")


class InProcess:
    """Satisfies `Engine`. Chroma's calls block, so each is made in a thread.

    Its clients of one folder share what is behind them, so that two of them see what the other does.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="chroma")
        self._opened: dict[str, Any] = {}

    def open(self) -> None:
        import chromadb
        from chromadb.config import Settings
        from chromadb.errors import ChromaError, NotFoundError

        self._missing, self._error = NotFoundError, ChromaError
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._client = chromadb.PersistentClient(str(self._folder), Settings(anonymized_telemetry=False))
        except OSError as error:
            raise ProviderUnavailable(f"The folder {self._folder} cannot be made: {error.strerror}.") from error
        except ChromaError as error:
            raise ProviderUnavailable(f"Chroma cannot use the folder {self._folder}: {error}") from error
        self._most: int = self._client.get_max_batch_size()

    def close(self) -> None:
        self._threads.shutdown()
        self._client.close()

    async def most(self) -> int:
        return self._most

    async def collection(self, name: str) -> Collection:
        return await self._run(lambda: self._found(self._client.get_collection(name, embedding_function=None)))

    async def create(self, name: str, metadata: Mapping[str, Any]) -> Collection:
        configuration: Any = {"hnsw": INDEX}
        return await self._run(
            lambda: self._found(
                self._client.create_collection(
                    name, None, configuration, dict(metadata), embedding_function=None, get_or_create=True
                )
            )
        )

    def _found(self, opened: Any) -> Collection:
        found = engine.found(str(opened.id), opened.name, opened.metadata)
        self._opened[found.id] = opened
        return found

    async def drop(self, collection: Collection) -> None:
        await self._run(self._client.delete_collection, collection.name)
        self._opened.pop(collection.id, None)

    async def upsert(self, collection: Collection, records: Records) -> None:
        if records.ids:
            upsert = self._opened[collection.id].upsert
            await self._run(upsert, records.ids, records.vectors, records.metadatas, records.documents)

    async def update(self, collection: Collection, ids: list[str], metadatas: list[Metadata]) -> None:
        if ids:
            await self._run(self._opened[collection.id].update, ids, None, metadatas)

    async def delete(self, collection: Collection, ids: list[str]) -> None:
        if ids:
            await self._run(self._opened[collection.id].delete, ids)

    async def get(
        self,
        collection: Collection,
        *,
        ids: list[str] | None = None,
        where: Where | None = None,
        limit: int | None = None,
        offset: int = 0,
        include: Sequence[engine.Field] = (),
    ) -> Found:
        if ids == []:
            return Found([])
        opened = self._opened[collection.id]
        got = await self._run(opened.get, ids, where, limit, offset, include=list(include))
        return Found(got["ids"], *(got[name] if name in include else [] for name in engine.FIELDS))

    async def nearest(
        self, collection: Collection, vector: Vector, limit: int, where: Where | None
    ) -> list[tuple[str, float]]:
        opened = self._opened[collection.id]
        got = await self._run(
            opened.query, query_embeddings=[vector], n_results=limit, where=where, include=["distances"]
        )
        return list(zip(got["ids"][0], got["distances"][0], strict=True))

    async def count(self, collection: Collection) -> int:
        count: int = await self._run(self._opened[collection.id].count)
        return count

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        run = functools.partial(self._guarded, work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    def _guarded(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What Chroma raises, as the errors that callers know."""
        try:
            return work(*args, **kwargs)
        except self._missing as error:
            raise Missing from error
        except self._error as error:
            if shutil.disk_usage(self._folder).free < LEAST_ROOM:
                raise DiskFull("There is no room for these chunks on the server's disk.") from error
            raise Unsettled(f"Chroma cannot do this: {error}") from error
