"""Chroma on a server, by version 2 of its HTTP API. https://docs.trychroma.com/reference/chroma-reference

A server that one runs oneself is the same engine as in a process, with the same `where`.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator

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
from llamastack.egress import Egress
from llamastack.egress.failures import Refusal
from llamastack.egress.guard import confine
from llamastack.egress.network import RemoteConfig, opened, sent
from llamastack.errors import StackError, Unavailable, UpstreamError, UpstreamRejected
from llamastack.providers import Health, ProviderUnavailable

MOST_BYTES = 16 << 20  # of one request: a server takes 40 MB, if nobody has told it otherwise
MOST_RECORDS = 1000  # of one request
FIXED_BYTES = 1000  # of a record, beside its text and its vector
TEXT_BYTES = 3  # in a request, for each of a text: it is there once, and its words once more


class RemoteChromaConfig(RemoteConfig):
    other_names = {"kvstore": "persistence"}

    url: str | None = Field(None, description="Where Chroma is, such as http://localhost:8000")
    token: SecretStr | None = Field(
        None, description="Sent as X-Chroma-Token. One that is sent as Authorization is set by network.headers"
    )
    tenant: str = Field("default_tenant", min_length=1, description="Chroma's own tenant, for all stores")
    database: str = Field("default_database", min_length=1, description="The database there")
    persistence: dict[str, Any] | None = Field(
        None, description="Where Llama Stack keeps what it knows of a store. Here that is Chroma itself."
    )

    @field_validator("url")
    @classmethod
    def an_address(cls, value: str | None) -> str | None:
        """The text is not repeated: it may hold a password."""
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("this is no address of a server: write http://host:8000")
        return value.rstrip("/") if value else None

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"url": "http://localhost:8000"}


class RemoteChroma(StoresInChroma):
    config_class = RemoteChromaConfig
    egress: Egress | None = None

    @property
    def refuses(self) -> bool:
        return self.egress is not None and self.egress.breaker.refuses

    async def start(self) -> None:
        config: RemoteChromaConfig = self.config
        if config.url is None:
            raise ProviderUnavailable("Nobody has said where Chroma is: set `url`.")
        await self.stop()
        network = await opened(config.network)
        timeouts = config.network.timeouts() if config.network else None
        own = {"X-Chroma-Token": config.token.get_secret_value()} if config.token else {}
        self.egress = Egress(config.url, f"Provider '{self.provider_id}'", sent(network, own), timeouts, network)
        if self.confined:
            confine(self.egress, network, None)
        self.open(Server(self.egress, config.tenant, config.database))

    async def stop(self) -> None:
        if self.egress is not None:
            await self.egress.close()

    async def health(self) -> Health:
        assert self.egress is not None
        try:
            await self.egress.get("api/v2/heartbeat")
        except StackError as error:
            return Health(False, error.message)
        return Health(True)


class CollectionAnswer(BaseModel):
    id: str
    name: str
    metadata: dict[str, Any] | None = None


class GetAnswer(BaseModel):
    ids: list[str]
    metadatas: list[dict[str, Any] | None] | None = None
    documents: list[str | None] | None = None
    embeddings: list[list[float]] | None = None


class QueryAnswer(BaseModel):
    ids: list[list[str]]
    distances: list[list[float | None]] | None = None


class Server:
    """Satisfies `Engine`."""

    def __init__(self, egress: Egress, tenant: str, database: str) -> None:
        self._egress = egress
        self._collections = f"api/v2/tenants/{quote(tenant, '')}/databases/{quote(database, '')}/collections"

    async def most(self) -> int:
        return MOST_RECORDS

    async def collection(self, name: str) -> Collection:
        return self._found(await self._asked("GET", f"/{name}"))

    async def create(self, name: str, metadata: Mapping[str, Any]) -> Collection:
        body = {"name": name, "metadata": metadata, "configuration": {"hnsw": INDEX}, "get_or_create": True}
        try:
            return self._found(await self._asked("POST", "", body))
        except Missing as error:
            raise UpstreamError("Chroma has no such tenant or database: set `tenant` and `database`.") from error

    def _found(self, answer: Any) -> Collection:
        read = self._read(CollectionAnswer, answer)
        return engine.found(read.id, read.name, read.metadata)

    async def drop(self, collection: Collection) -> None:
        await self._asked("DELETE", f"/{collection.name}")

    async def upsert(self, collection: Collection, records: Records) -> None:
        for some in _batches(records):
            body = {
                "ids": records.ids[some],
                "embeddings": [_packed(vector) for vector in records.vectors[some]],
                "metadatas": records.metadatas[some],
                "documents": records.documents[some],
            }
            await self._asked("POST", f"/{collection.id}/upsert", body)

    async def update(self, collection: Collection, ids: list[str], metadatas: list[Metadata]) -> None:
        if ids:
            await self._asked("POST", f"/{collection.id}/update", {"ids": ids, "metadatas": metadatas})

    async def delete(self, collection: Collection, ids: list[str]) -> None:
        if ids:
            await self._asked("POST", f"/{collection.id}/delete", {"ids": ids})

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
        body = {"ids": ids, "where": where, "limit": limit, "offset": offset, "include": list(include)}
        answer = self._read(GetAnswer, await self._asked("POST", f"/{collection.id}/get", body))
        metadatas = [metadata or {} for metadata in answer.metadatas or []]
        return Found(answer.ids, metadatas, answer.documents or [], answer.embeddings or [])

    async def nearest(
        self, collection: Collection, vector: Vector, limit: int, where: Where | None
    ) -> list[tuple[str, float]]:
        body = {"query_embeddings": [vector.tolist()], "n_results": limit, "where": where, "include": ["distances"]}
        answer = self._read(QueryAnswer, await self._asked("POST", f"/{collection.id}/query", body))
        every = zip(answer.ids[0], (answer.distances or [[]])[0], strict=True)
        return [(id, 1.0 if distance is None else distance) for id, distance in every]

    async def count(self, collection: Collection) -> int:
        count: int = await self._asked("GET", f"/{collection.id}/count")
        return count

    async def _asked(self, method: str, path: str, body: Any = None) -> Any:
        try:
            if method == "POST":
                return await self._egress.post(self._collections + path, body)
            if method == "GET":
                return await self._egress.get(self._collections + path)
            return await self._egress.whole(method, self._collections + path, None, {})
        except UpstreamRejected as error:
            if error.status == 404:
                raise Missing from error
            raise
        except UpstreamError as error:
            failed = isinstance(error.__cause__, Refusal) and error.__cause__.status == 500
            raise (Unsettled if failed else Unavailable)(error.message, retry_after=error.retry_after) from error

    def _read(self, kind: type[Any], answer: Any) -> Any:
        try:
            return kind.model_validate(answer)
        except ValidationError as error:
            raise UpstreamError(f"{self._egress.upstream} answered with something that is not Chroma's.") from error


def _packed(vector: Vector) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _batches(records: Records) -> Iterator[slice]:
    """Requests, none of which is too large for a server."""
    start = size = 0
    for place, document in enumerate(records.documents):
        own = FIXED_BYTES + TEXT_BYTES * len(document.encode()) + 6 * records.vectors.shape[1]
        if size and size + own > MOST_BYTES:
            yield slice(start, place)
            start, size = place, 0
        size += own
    if start < len(records.ids):
        yield slice(start, len(records.ids))
