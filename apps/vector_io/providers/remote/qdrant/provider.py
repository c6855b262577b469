"""Vectors in a server of Qdrant's.

Stores of one dimension share a collection, as Qdrant advises: each collection costs memory and files of its own, and a
server has room for some hundreds. In it each store is a partition by the field `store`, whose index says `is_tenant`:
its points lie together, and have a graph of their own (`payload_m`), and none with others (`m: 0`). Which stores there
are stands in a collection apart, a point each.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from apps.vector_io import checks
from apps.vector_io.protocol import Store
from apps.vector_io.providers.qdrant.fields import EMBEDDING, INDEXES, WORDS
from apps.vector_io.providers.qdrant.points import Points, partition
from apps.vector_io.providers.qdrant.provider import StoresInQdrant, checked
from apps.vector_io.providers.remote.over_http import OverHTTP
from apps.vector_io.providers.remote.qdrant.config import QdrantConfig
from apps.vector_io.providers.remote.qdrant.server import KEPT, STORE, RemotePoints, Server, Version
from llamastack.call import Call
from llamastack.egress import Timeouts
from llamastack.errors import BadRequest, Conflict, NotFound, UpstreamRejected
from llamastack.providers import ProviderUnavailable

OLDEST = (1, 12)  # counts by value (`facet`) came with it
OWN_IDF = (1, 19)  # how rare a word is within a condition
SHAPE = {"sparse_vectors": {WORDS: {"modifier": "idf"}}, "hnsw_config": {"m": 0, "payload_m": 16}}
TENANTS = {STORE: {"type": "keyword", "is_tenant": True}}


class Qdrant(OverHTTP, StoresInQdrant):
    config_class = QdrantConfig
    _version: Version = (0, 0)

    def __init__(self, provider_id: str, config: QdrantConfig) -> None:
        super().__init__(provider_id, config)
        self._stores = f"{config.collection_prefix}_stores"
        self._making = asyncio.Lock()

    def address(self) -> str:
        address: str = self.config.address
        return address

    def credentials(self) -> dict[str, str]:
        key = self.config.api_key
        return {"api-key": key.get_secret_value()} if key else {}

    def timeouts(self) -> Timeouts | None:
        seconds, network = self.config.timeout, self.config.network
        if seconds is None or (network and network.timeout):
            return super().timeouts()
        return Timeouts(first_byte=seconds, total=seconds)

    async def greet(self) -> None:
        """Its first page needs no key, and the second does."""
        self._version = await self.server.version()
        if self._version < OLDEST:
            raise ProviderUnavailable("This Qdrant is too old: version 1.12 or later is needed.")
        await self.server.get(f"collections/{self._stores}/exists")

    @property
    def server(self) -> Server:
        return Server(self.egress)

    async def create_store(self, call: Call, store: Store) -> None:
        checked(store)
        async with self._making:
            dimension = await self._dimension(store)
            if dimension is None:
                await self._make(store)
            elif dimension != store.dimension:
                raise Conflict(f"The vector store '{store.key}' has vectors of {dimension} numbers.")

    async def _make(self, store: Store) -> None:
        """What an insertion left that met the store's end goes before it begins."""
        await self._collect(self._stores, {"vectors": {}}, {})
        vectors = {EMBEDDING: {"size": store.dimension, "distance": "Dot"}}
        await self._collect(self._collection(store.dimension), {"vectors": vectors, **SHAPE}, {**TENANTS, **INDEXES})
        await self._points(store, store.dimension).delete(None)
        known = {"tenant": store.tenant, "key": store.key, "dimension": store.dimension}
        point = {"id": partition(store), "vector": {}, "payload": known}
        await self.server.put(f"collections/{self._stores}/points{KEPT}", {"points": [point]})

    async def _collect(self, name: str, shape: dict[str, Any], indexes: dict[str, dict[str, Any]]) -> None:
        """The collection, with what a creation that never ended has left out. Who makes it first may be another."""
        found = await self._found(name)
        if found is None:
            try:
                await self.server.put(f"collections/{name}", shape)
            except UpstreamRejected as error:
                if error.status not in (400, 409) or await self._found(name) is None:
                    raise
        elif not _is_like(found["config"]["params"].get("vectors", {}), shape["vectors"]):
            raise Conflict(f"Qdrant has a collection '{name}' of another shape: set another collection_prefix.")
        known = found["payload_schema"] if found else {}
        for field, schema in indexes.items():
            if field not in known:
                body = {"field_name": field, "field_schema": schema}
                await self.server.put(f"collections/{name}/index{KEPT}", body)

    async def _found(self, name: str) -> Any:
        try:
            return await self.server.get(f"collections/{name}")
        except UpstreamRejected as error:
            if error.status != 404:
                raise
            return None

    async def drop_store(self, call: Call, store: Store) -> None:
        """The store first: an insertion that comes meanwhile finds it gone, and takes back what it has inserted."""
        async with self._making:
            dimension = await self._dimension(store)
            if dimension is not None:
                await self.server.post(
                    f"collections/{self._stores}/points/delete{KEPT}", {"points": [partition(store)]}
                )
            try:
                await self._points(store, dimension or store.dimension).delete(None)
            except NotFound:  # of that dimension there has been no store
                return

    async def points(self, store: Store) -> Points:
        await self._check(store)
        return self._points(store, store.dimension)

    async def _check(self, store: Store) -> None:
        dimension = await self._dimension(store)
        if dimension is None:
            raise checks.missing(store)
        if dimension != store.dimension:
            raise BadRequest(f"This vector store has vectors of {dimension} numbers.", param="dimension")

    async def _dimension(self, store: Store) -> int | None:
        """None where there is no such store."""
        body = {"ids": [partition(store)], "with_payload": True}
        try:
            found = await self.server.post(f"collections/{self._stores}/points", body)
        except UpstreamRejected as error:
            if error.status != 404:
                raise
            return None
        return int(found[0]["payload"]["dimension"]) if found else None

    def _points(self, store: Store, dimension: int) -> RemotePoints:
        own_idf = self._version >= OWN_IDF
        name = self._collection(dimension)
        return RemotePoints(self.server, name, partition(store), lambda: self._check(store), own_idf)

    def _collection(self, dimension: int) -> str:
        return f"{self.config.collection_prefix}_{dimension}"


def _is_like(found: Any, wanted: Mapping[str, Any]) -> bool:
    """Whether a collection has vectors of these names, each of its size and compared in its way."""
    return found.keys() == wanted.keys() and all(found[name].items() >= own.items() for name, own in wanted.items())
