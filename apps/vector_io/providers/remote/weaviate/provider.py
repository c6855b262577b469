"""Vectors in Weaviate, over HTTP alone: no SDK, and so no lock for its protobuf."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from apps.vector_io import checks, ranking
from apps.vector_io.filters import Attributes
from apps.vector_io.protocol import Chunk, Hit, Place, Query, Size, Store, Vector
from apps.vector_io.providers.remote.weaviate import collections, objects, where
from apps.vector_io.providers.remote.weaviate.config import WeaviateConfig
from apps.vector_io.providers.remote.weaviate.server import WAYS, Server, has_tenants
from apps.vector_io.providers.words import distinct
from llamastack.call import Call
from llamastack.egress import Egress
from llamastack.egress.guard import confine
from llamastack.egress.network import opened, sent
from llamastack.errors import BadRequest, Conflict, StackError, Unavailable, UpstreamError, UpstreamRejected
from llamastack.provider_data import ApiKey
from llamastack.providers import Health, Provider

KEY = "weaviate_api_key"
MOST_FOUND = 10_000  # of one search: QUERY_MAXIMUM_RESULTS, where nobody has set it
MOST_LISTED = 1000
BATCH_OBJECTS, BATCH_BYTES = 256, 4_000_000
CHANGED_AT_ONCE = 8
T = TypeVar("T")


class Weaviate(Provider):
    """`_known` are the stores that were there when they were last asked for. Others may have dropped one since."""

    config: WeaviateConfig
    config_class = WeaviateConfig

    def __init__(self, provider_id: str, config: WeaviateConfig) -> None:
        super().__init__(provider_id, config)
        self.egress: Egress | None = None
        self._known: set[Store] = set()
        self._ways = list(WAYS)

    @classmethod
    def reads(cls) -> Mapping[str, Any]:
        return {KEY: ApiKey}

    @property
    def refuses(self) -> bool:
        return self.egress is not None and self.egress.breaker.refuses

    async def start(self) -> None:
        section, key = self.config.network, self.config.weaviate_api_key
        network = await opened(section)
        own = _authorization(key.get_secret_value()) if key else {}
        timeouts = section.timeouts() if section else None
        name = f"Provider '{self.provider_id}'"
        self.egress = Egress(self.config.weaviate_cluster_url, name, sent(network, own), timeouts, network)
        if self.confined:
            confine(self.egress, network, None)

    async def stop(self) -> None:
        if self.egress is not None:
            await self.egress.close()

    async def health(self) -> Health:
        """With a configured key, whether that is taken, too: without, callers may bring theirs."""
        assert self.egress is not None
        path = "v1/meta" if self.config.weaviate_api_key else "v1/.well-known/ready"
        try:
            await self.egress.whole("GET", path, None, {})
        except StackError as error:
            return Health(False, error.message)
        return Health(True)

    def _server(self, call: Call) -> Server:
        assert self.egress is not None
        key = call.provider_data.read(KEY, ApiKey)
        return Server(self.egress, _authorization(key.get_secret_value()) if key else {}, self._ways)

    async def create_store(self, call: Call, store: Store) -> None:
        if store.dimension > collections.MOST_NUMBERS:
            most = collections.MOST_NUMBERS
            raise BadRequest(f"Weaviate keeps vectors of at most {most} numbers.", param="embedding_dimension")
        server = self._server(call)
        there = await _dimension(server, store)
        if there not in (None, store.dimension):
            raise Conflict(f"The vector store '{store.key}' has vectors of {there} numbers.")
        if there is None:
            await _collected(server, store.dimension)
            await _tenanted(server, store)
        self._known.add(store)

    async def drop_store(self, call: Call, store: Store) -> None:
        server = self._server(call)
        self._known.discard(store)
        if (there := await _dimension(server, store)) is not None:
            await server.delete_tenant(collections.collection(there), collections.tenant(store))

    async def insert(self, call: Call, store: Store, chunks: Sequence[Chunk]) -> None:
        vectors = checks.vectors(store, chunks)
        last = {chunk.id: place for place, chunk in enumerate(chunks)}
        names = collections.names(store)

        async def work(server: Server) -> None:
            made = (objects.made(chunks[place], vectors[place], *names) for place in last.values())
            for batch in _batches(made):
                await server.put(batch)

        await self._asked(call, store, work)

    async def delete(
        self, call: Call, store: Store, *, chunk_ids: Sequence[str] = (), file_id: str | None = None
    ) -> int:
        ids = [objects.object_id(id) for id in dict.fromkeys(chunk_ids)]
        parts = [{"path": ["id"], "operator": "ContainsAny", "valueTextArray": ids}] if ids else []
        if file_id is not None:
            parts.append(where.compared("file", "Equal", objects.file_word(file_id)))

        async def work(server: Server) -> int:
            return await server.delete(*collections.names(store), where.joined("Or", parts)) if parts else 0

        return await self._asked(call, store, work)

    async def query(self, call: Call, store: Store, query: Query) -> list[Hit]:
        vector = checks.query(store, query)
        return await self._asked(call, store, lambda server: _queried(server, store, query, vector))

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
        additional = ("vector",) if embeddings else ("id",)
        page = min(limit, BATCH_OBJECTS if embeddings else MOST_LISTED)

        async def work(server: Server) -> list[Chunk]:
            first = None if after is None else objects.place_word(after)
            async with aclosing(_listed(server, store, file_id, objects.READ, additional, page, first)) as pages:
                listed: list[Chunk] = []
                async for some in pages:
                    listed += [objects.chunk(each, _vector(each)) for each in some]
                    if len(listed) >= limit:
                        break
            return listed[:limit]

        return await self._asked(call, store, work)

    async def set_attributes(self, call: Call, store: Store, file_id: str, attributes: Attributes) -> None:
        checks.attributes(attributes)
        properties = objects.attributes_of(attributes)

        async def work(server: Server) -> None:
            async with aclosing(_listed(server, store, file_id, (), ("id",), MOST_LISTED)) as pages:
                async for some in pages:
                    await _changed(server, store, [each["_additional"]["id"] for each in some], properties)

        await self._asked(call, store, work)

    async def size(self, call: Call, store: Store) -> Size:
        async def work(server: Server) -> Size:
            count, texts = await server.size(*collections.names(store), "bytes")
            return Size(count, texts + count * store.dimension * 4)

        return await self._asked(call, store, work)

    async def _asked(self, call: Call, store: Store, work: Callable[[Server], Awaitable[T]]) -> T:
        """What Weaviate answers of a store that there is.

        It says in words alone that there is none: who is refused looks. And it is never asked to insert into a
        collection that is not there, which it would make up (AUTOSCHEMA_ENABLED).
        """
        server = self._server(call)
        if store not in self._known:
            await self._must_be(server, store)
        try:
            return await work(server)
        except UpstreamError as error:
            if error.status in (401, 403):
                raise
            self._known.discard(store)
            await self._must_be(server, store)
            raise

    async def _must_be(self, server: Server, store: Store) -> None:
        there = await _dimension(server, store)
        if there is None:
            raise checks.missing(store)
        if there != store.dimension:
            raise BadRequest(f"This vector store has vectors of {there} numbers.")
        self._known.add(store)


async def _queried(server: Server, store: Store, query: Query, vector: Vector | None) -> list[Hit]:
    several = min(query.candidates, MOST_FOUND)
    kept = {"limit": several} | ({"where": where.condition(query.filter)} if query.filter else {})
    near, worded = await asyncio.gather(
        _nearest(server, store, query, vector, kept), _worded(server, store, query, kept)
    )
    scores = [{id: hit.score for id, hit in found.items()} for found in (near, worded)]
    hits = {**near, **worded}
    return [Hit(hits[id].chunk, score) for id, score in query.best(*scores)]


async def _nearest(
    server: Server, store: Store, query: Query, vector: Vector | None, kept: Mapping[str, Any]
) -> dict[str, Hit]:
    """Weaviate tells the dot product with its sign changed."""
    if vector is None:
        return {}
    given = {"nearVector": {"vector": vector.tolist()}, **kept}
    found = await server.get(*collections.names(store), given, objects.READ, ("distance", *_also(query)))
    return _hits((objects.chunk(each, _vector(each)), min(-each["_additional"]["distance"], 1.0)) for each in found)


async def _worded(server: Server, store: Store, query: Query, kept: Mapping[str, Any]) -> dict[str, Hit]:
    """BM25 by any of the words. Weaviate writes the score as a text."""
    words = [] if query.mode == "vector" else distinct(query.text or "")
    if not words:
        return {}
    given = {"bm25": {"query": " ".join(words), "properties": ["content"]}, **kept}
    found = await server.get(*collections.names(store), given, objects.READ, ("score", *_also(query)))
    scored = ((each, ranking.squashed(float(each["_additional"]["score"]))) for each in found)
    return _hits((objects.chunk(each, _vector(each)), score) for each, score in scored)


def _also(query: Query) -> tuple[str, ...]:
    return ("vector",) if query.embeddings else ()


def _vector(found: Mapping[str, Any]) -> Any:
    """Where it was asked for."""
    return found["_additional"].get("vector")


def _hits(found: Iterable[tuple[Chunk, float]]) -> dict[str, Hit]:
    return {chunk.id: Hit(chunk, score) for chunk, score in found}


async def _listed(
    server: Server,
    store: Store,
    file_id: str,
    properties: Sequence[str],
    additional: Sequence[str],
    page: int,
    after: str | None = None,
) -> AsyncGenerator[list[dict[str, Any]], None]:
    """A file's objects in the order of their places, by pages."""
    while True:
        parts = [where.compared("file", "Equal", objects.file_word(file_id))]
        if after is not None:
            parts.append(where.compared("place", "GreaterThan", after))
        sort = [{"path": ["place"], "order": "asc"}]
        given = {"where": where.joined("And", parts), "sort": sort, "limit": page}
        found = await server.get(*collections.names(store), given, (*properties, "place"), additional)
        yield found
        if len(found) < page:
            return
        after = found[-1]["place"]


async def _changed(server: Server, store: Store, ids: Sequence[str], properties: Mapping[str, Any]) -> None:
    """Some at once. All of those are waited for, also where one fails."""
    for start in range(0, len(ids), CHANGED_AT_ONCE):
        some = (server.change(*collections.names(store), id, properties) for id in ids[start : start + CHANGED_AT_ONCE])
        for failure in await asyncio.gather(*some, return_exceptions=True):
            if failure is not None:
                raise failure


async def _dimension(server: Server, store: Store) -> int | None:
    """Of a store that there is, whichever collection it is in."""
    tenant = collections.tenant(store)
    with contextlib.suppress(UpstreamRejected):  # there is no such collection
        if await server.has_tenant(collections.collection(store.dimension), tenant):
            return store.dimension
    for name in await server.collections():
        found = collections.dimension_of(name)
        if found is not None and await server.has_tenant(name, tenant):
            return found
    return None


async def _collected(server: Server, dimension: int) -> None:
    """The collection is there, or made: by another at once, too."""
    name = collections.collection(dimension)
    if await server.collection(name) is None:
        try:
            await server.create_collection(collections.definition(dimension))
        except UpstreamRejected:
            if await server.collection(name) is None:
                raise
    if not has_tenants(await server.collection(name) or {}):
        raise Unavailable(f"Weaviate has a collection {name} without multi-tenancy: it is another's. Rename that one.")
    await server.can_be_searched(name)


async def _tenanted(server: Server, store: Store) -> None:
    try:
        await server.create_tenant(*collections.names(store))
    except UpstreamRejected:  # as of one that another has made since
        if not await server.has_tenant(*collections.names(store)):
            raise


def _batches(made: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Of requests that are not too large: a vector's number takes some twelve bytes there."""
    batch: list[dict[str, Any]] = []
    size = 0
    for each in made:
        batch.append(each)
        size += 12 * len(each["vector"]) + sum(len(str(value)) for value in each["properties"].values())
        if len(batch) == BATCH_OBJECTS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _authorization(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
