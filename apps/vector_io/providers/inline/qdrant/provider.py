"""Stores in Qdrant's own engine, on this machine: each a shard, in a folder of its own, and nothing in common.

Qdrant's client has a local mode as well, which Llama Stack uses; it keeps its points pickled, and reads them as such.
The engine (qdrant-edge-py) is the server's: its storage, its write-ahead log, its indexes of payloads. It holds Python
still while it works, so it works in a process of its own (serving.py).
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from apps.vector_io import checks
from apps.vector_io.protocol import Store
from apps.vector_io.providers.inline.qdrant.engine import ENGINES, LOCK_SECONDS, Engine
from apps.vector_io.providers.inline.qdrant.framed import Missing, OtherDimension
from apps.vector_io.providers.qdrant.fields import Condition, Payload, Point
from apps.vector_io.providers.qdrant.points import Points, partition
from apps.vector_io.providers.qdrant.provider import StoresInQdrant, checked
from llamastack.call import Call
from llamastack.errors import BadRequest, Conflict, StackError
from llamastack.home import home
from llamastack.providers import Health, ProviderConfig, ProviderUnavailable


class QdrantConfig(ProviderConfig):
    path: str | None = Field(
        None,
        description="The folder, made where it is missing. By default one of the provider's name, under `vector_io` "
        "in LLAMA_STACK_HOME. What Llama Stack has kept in its own is not read.",
    )
    persistence: dict[str, Any] | None = Field(
        None,
        description="Where Llama Stack keeps what it knows of a store. Here that stands beside its points.",
    )

    @property
    def of_the_server(self) -> Mapping[str, Any]:
        return {"path": self.path or ""}

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"path": "~/.llama/vector_io/qdrant"}


class Qdrant(StoresInQdrant):
    config_class = QdrantConfig
    engine: Engine | None = None
    lock_seconds = LOCK_SECONDS

    def __init__(self, provider_id: str, config: QdrantConfig) -> None:
        super().__init__(provider_id, config)
        folder = Path(config.path).expanduser() if config.path else home() / "vector_io" / provider_id
        self.folder = folder.absolute()

    async def start(self) -> None:
        import qdrant_edge  # noqa: F401 -- where it is missing, the provider does not start, and says so

        self.engine = ENGINES.take(self.folder)
        try:
            await self.engine.start(self.lock_seconds)
        except OSError as error:
            await self.stop()
            raise ProviderUnavailable(f"The folder {self.folder} cannot be used: {error.strerror}.") from error
        except StackError as error:
            await self.stop()
            raise ProviderUnavailable(error.message) from error

    async def stop(self) -> None:
        engine, self.engine = self.engine, None
        if engine is not None and ENGINES.give_back(engine):
            await engine.stop()

    async def health(self) -> Health:
        usable = await asyncio.to_thread(os.access, self.folder, os.R_OK | os.W_OK | os.X_OK)
        return Health(usable, "" if usable else f"The folder {self.folder} cannot be used.")

    async def create_store(self, call: Call, store: Store) -> None:
        checked(store)
        known = {"tenant": store.tenant, "key": store.key}
        try:
            await self._running.ask("create", name=partition(store), dimension=store.dimension, known=known)
        except OtherDimension as error:
            raise Conflict(f"The vector store '{store.key}' has vectors of {error} numbers.") from error

    async def drop_store(self, call: Call, store: Store) -> None:
        await self._running.ask("drop", name=partition(store))

    async def points(self, store: Store) -> Points:
        points = ShardPoints(self._running, store)
        await points.ask("check")
        return points

    @property
    def _running(self) -> Engine:
        assert self.engine is not None
        return self.engine


class ShardPoints:
    """Satisfies `Points`: those of one shard, whose name is the store's and its tenant's."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine = engine
        self._store = store

    async def ask(self, do: str, **given: Any) -> Any:
        store = self._store
        try:
            return await self._engine.ask(do, name=partition(store), dimension=store.dimension, **given)
        except Missing as error:
            raise checks.missing(store) from error
        except OtherDimension as error:
            raise BadRequest(f"This vector store has vectors of {error} numbers.", param="dimension") from error

    async def upsert(self, points: Sequence[Point]) -> None:
        await self.ask("upsert", points=points)

    async def search(
        self, using: str, vector: Any, limit: int, condition: Condition | None
    ) -> list[tuple[Payload, float]]:
        found = await self.ask("search", using=using, vector=vector, limit=limit, condition=condition)
        return [(payload, score) for payload, score in found]

    async def read(self, condition: Condition, fields: Sequence[str], vectors: bool = False) -> list[Point]:
        found: list[Point] = await self.ask("read", condition=condition, fields=fields, vectors=vectors)
        return found

    async def count(self, condition: Condition) -> int:
        found: int = await self.ask("count", condition=condition)
        return found

    async def sizes(self) -> list[tuple[int, int]]:
        return [(size, count) for size, count in await self.ask("sizes")]

    async def delete(self, condition: Condition) -> None:
        await self.ask("delete", condition=condition)

    async def describe(self, condition: Condition, payload: Payload) -> None:
        await self.ask("describe", condition=condition, payload=payload)
