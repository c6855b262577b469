"""A server of Qdrant's REST API for tests: requests are read by its official client's models, and answered by the
implementation that client brings for a process alone. What that one lacks is here: status codes, keys, indexes.

As https://api.qdrant.tech says, and as a server in strict mode is, which takes no filter on a field without an index
(https://qdrant.tech/documentation/guides/administration/#strict-mode).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter, ValidationError
from qdrant_client import AsyncQdrantClient
from qdrant_client.http import models

from tests.upstream import on_a_thread, on_loopback

MOST_BYTES = 32 << 20  # its max_request_size_mb
KEY = "qdrant's key"
Handler = Callable[[web.Request], Awaitable[web.Response]]
SELECTOR: TypeAdapter[Any] = TypeAdapter(models.PointIdsList | models.FilterSelector)
TYPES = {"keyword": models.KeywordIndexParams, "integer": models.IntegerIndexParams, "float": models.FloatIndexParams}


class Refused(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass
class ScriptedQdrant:
    """`asked` are the requests that came, as their methods and paths. One whose path ends so is met by `before`."""

    api_key: str | None = KEY
    version: str = "1.19.0"
    url: str = ""
    client: AsyncQdrantClient = field(default_factory=lambda: AsyncQdrantClient(":memory:"))
    indexes: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    before: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)

    def application(self) -> web.Application:
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[self._answered])
        named = "/collections/{name}"
        app.router.add_get("/", self.first_page)
        app.router.add_get(f"{named}/exists", self.exists)
        app.router.add_get(named, self.describe)
        app.router.add_put(named, self.create)
        app.router.add_put(f"{named}/index", self.index)
        app.router.add_put(f"{named}/points", self.upsert)
        app.router.add_post(f"{named}/points", self.retrieve)
        app.router.add_post(f"{named}/points/query", self.query)
        app.router.add_post(f"{named}/points/scroll", self.scroll)
        app.router.add_post(f"{named}/points/count", self.count)
        app.router.add_post(f"{named}/points/delete", self.delete)
        app.router.add_post(f"{named}/points/payload", self.set_payload)
        app.router.add_post(f"{named}/facet", self.facet)
        return app

    @web.middleware
    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        try:
            self._admit(request)
            for ending, act in list(self.before.items()):
                if request.path.endswith(ending):
                    await act()
            return await handler(request)
        except Refused as refused:
            return _said({"error": str(refused)}, refused.status)
        except ValidationError as error:
            return _said({"error": f"Format error in JSON body: {error.errors()[0]['msg']}"}, 400)

    def _admit(self, request: web.Request) -> None:
        """https://qdrant.tech/documentation/guides/security/#authentication"""
        given = request.headers.get("api-key") or request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.path == "/":  # open to all
            return
        if self.api_key and not given:
            raise Refused(401, "Must provide an API key or an Authorization bearer token")
        if self.api_key and given != self.api_key:
            raise Refused(401, "Invalid API key or JWT")

    async def _named(self, request: web.Request) -> str:
        name = request.match_info["name"]
        if not await self.client.collection_exists(name):
            raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")
        return name

    async def first_page(self, request: web.Request) -> web.Response:
        return web.json_response({"title": "qdrant - vector search engine", "version": self.version, "commit": "0"})

    async def exists(self, request: web.Request) -> web.Response:
        return _result({"exists": await self.client.collection_exists(request.match_info["name"])})

    async def describe(self, request: web.Request) -> web.Response:
        name = await self._named(request)
        info = (await self.client.get_collection(name)).model_dump(mode="json")
        schemas = {
            key: {"data_type": schema["type"], "params": schema, "points": 0}
            for key, schema in self.indexes[name].items()
        }
        return _result({**info, "payload_schema": schemas})

    async def create(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        asked = models.CreateCollection.model_validate_json(await request.read())
        if await self.client.collection_exists(name):
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
        await self.client.create_collection(name, asked.vectors, asked.sparse_vectors)
        self.indexes[name] = {}
        return _result(True)

    async def index(self, request: web.Request) -> web.Response:
        name = await self._named(request)
        asked = models.CreateFieldIndex.model_validate_json(await request.read())
        schema: Any = asked.field_schema
        assert isinstance(schema, TYPES[schema.type])
        self.indexes[name][asked.field_name] = schema.model_dump(mode="json", exclude_none=True)
        return _kept(request)

    async def upsert(self, request: web.Request) -> web.Response:
        name = await self._named(request)
        asked = models.PointsList.model_validate_json(await request.read())
        parameters: Any = (await self.client.get_collection(name)).config.params
        for point in asked.points:
            for vector_name, vector in dict(point.vector).items():
                _fits(parameters, vector_name, vector)
        await self.client.upsert(name, asked.points)
        return _kept(request)

    async def retrieve(self, request: web.Request) -> web.Response:
        name = await self._named(request)
        asked = models.PointRequest.model_validate_json(await request.read())
        found = await self.client.retrieve(name, asked.ids, asked.with_payload or False, asked.with_vector or False)
        return _result([record.model_dump(mode="json") for record in found])

    async def query(self, request: web.Request) -> web.Response:
        name = await self._named(request)
        asked = models.QueryRequest.model_validate_json(await request.read())
        self._filterable(name, asked.filter)
        assert asked.using is not None
        _fits((await self.client.get_collection(name)).config.params, asked.using, asked.query)
        idf = asked.params.idf if asked.params else None
        found = await self.client.query_points(
            name,
            query=asked.query,
            using=asked.using,
            query_filter=asked.filter,
            search_params=models.SearchParams(idf=idf) if idf else None,
            limit=asked.limit or 10,
            with_payload=asked.with_payload or False,
        )
        return _result(found.model_dump(mode="json"))

    async def scroll(self, request: web.Request) -> web.Response:
        name = await self._named(request)
        asked = models.ScrollRequest.model_validate_json(await request.read())
        self._filterable(name, asked.filter)
        found, following = await self.client.scroll(
            name,
            asked.filter,
            asked.limit or 10,
            offset=asked.offset,
            with_payload=asked.with_payload or False,
            with_vectors=asked.with_vector or False,
        )
        points = [record.model_dump(mode="json") for record in found]
        return _result({"points": points, "next_page_offset": following})

    async def count(self, request: web.Request) -> web.Response:
        name = await self._named(request)
        asked = models.CountRequest.model_validate_json(await request.read())
        self._filterable(name, asked.filter)
        return _result((await self.client.count(name, asked.filter)).model_dump())

    async def facet(self, request: web.Request) -> web.Response:
        name = await self._named(request)
        asked = models.FacetRequest.model_validate_json(await request.read())
        self._filterable(name, asked.filter)
        if not self.indexes[name].get(asked.key, {}).get("lookup", True):
            raise Refused(400, f"Bad request: No appropriate index for faceting: `{asked.key}`")
        return _result((await self.client.facet(name, asked.key, asked.filter, asked.limit or 10)).model_dump())

    async def delete(self, request: web.Request) -> web.Response:
        name = await self._named(request)
        asked = SELECTOR.validate_json(await request.read())
        if isinstance(asked, models.FilterSelector):
            self._filterable(name, asked.filter)
        await self.client.delete(name, asked)
        return _kept(request)

    async def set_payload(self, request: web.Request) -> web.Response:
        name = await self._named(request)
        asked = models.SetPayload.model_validate_json(await request.read())
        self._filterable(name, asked.filter)
        assert asked.filter is not None
        await self.client.set_payload(name, asked.payload, models.FilterSelector(filter=asked.filter))
        return _kept(request)

    def _filterable(self, name: str, filter: Any) -> None:
        for key in _keys(filter.model_dump(mode="json", exclude_none=True) if filter else {}):
            if key not in self.indexes[name]:
                raise Refused(400, f'Bad request: Index required but not found for "{key}"')


def _keys(condition: Any, above: str = "") -> Iterator[str]:
    """The fields that a filter asks for, with those of nested conditions below theirs."""
    if isinstance(condition, list):
        for part in condition:
            yield from _keys(part, above)
    elif nested := isinstance(condition, dict) and condition.get("nested"):
        yield from _keys(nested["filter"], f"{above}{nested['key']}[].")
    elif isinstance(condition, dict):
        if "key" in condition:
            yield above + condition["key"]
        for junction in ("must", "should", "must_not"):
            yield from _keys(condition.get(junction, []), above)


def _fits(parameters: Any, name: str, vector: Any) -> None:
    if name in (parameters.sparse_vectors or {}):
        if not isinstance(vector, models.SparseVector) or len(set(vector.indices)) != len(vector.values):
            raise Refused(400, "Wrong input: must be the same length as indices, which are unique")
        return
    if name not in parameters.vectors:
        raise Refused(400, f"Wrong input: Not existing vector name error: {name}")
    if (size := parameters.vectors[name].size) != len(vector):
        raise Refused(400, f"Wrong input: Vector dimension error: expected dim: {size}, got {len(vector)}")


def _said(status: Any, code: int = 200, **more: Any) -> web.Response:
    return web.json_response({**more, "status": status, "time": 0.001}, status=code)


def _result(result: Any) -> web.Response:
    return _said("ok", result=result)


def _kept(request: web.Request) -> web.Response:
    """What is not waited for is only acknowledged, and may be lost."""
    assert request.query["wait"] == "true"
    return _result({"operation_id": 1, "status": "completed"})


@asynccontextmanager
async def serving(qdrant: ScriptedQdrant | None = None) -> AsyncIterator[ScriptedQdrant]:
    qdrant = qdrant or ScriptedQdrant()
    async with on_loopback(qdrant.application()) as qdrant.url:
        yield qdrant
    await qdrant.client.close()


@contextmanager
def in_thread() -> Iterator[ScriptedQdrant]:
    with on_a_thread(serving()) as qdrant:
        yield qdrant
