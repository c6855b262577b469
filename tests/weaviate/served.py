"""The server. https://docs.weaviate.io/weaviate/api/rest"""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiohttp import web

from tests.servers import free_port
from tests.upstream import on_a_thread, on_loopback
from tests.weaviate import grpc_web
from tests.weaviate.filters import kept
from tests.weaviate.schema import TENANT, Collection, Object, Refused, declared
from tests.weaviate.searching import answer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ScriptedWeaviate:
    """`made_up` are the collections that it was made to invent, as it does for objects of none (auto-schema).

    `fails` is what its next batch says of its last object; `most` is QUERY_MAXIMUM_RESULTS.
    """

    def __init__(
        self, keys: tuple[str, ...] = (), *, graphql: bool = True, grpc_web: bool = False, most: int = 10_000
    ) -> None:
        self.keys, self.graphql, self.grpc_web, self.most = keys, graphql, grpc_web, most
        self.collections: dict[str, Collection] = {}
        self.made_up: list[str] = []
        self.fails: str | None = None
        self.graphql_fails: str | None = None
        self.asked: list[tuple[str, str]] = []
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guarded], client_max_size=64 << 20)
        app.add_routes(
            [
                web.get("/v1/meta", self._meta),
                web.get("/v1/.well-known/ready", self._ready),
                web.get("/v1/schema", self._schema),
                web.post("/v1/schema", self._create),
                web.get("/v1/schema/{name}", self._collection),
                web.post("/v1/schema/{name}/tenants", self._add_tenants),
                web.delete("/v1/schema/{name}/tenants", self._delete_tenants),
                web.get("/v1/schema/{name}/tenants/{tenant}", self._tenant),
                web.post("/v1/batch/objects", self._put),
                web.delete("/v1/batch/objects", self._delete),
                web.patch("/v1/objects/{name}/{id}", self._merge),
                web.post("/v1/graphql", self._graphql),
                web.post(f"{grpc_web.PREFIX}/{{method}}", self._grpc_web),
            ]
        )
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.asked.append((request.method, request.path))
        if not self._allows(request) and not request.path.startswith((grpc_web.PREFIX, "/v1/.well-known/")):
            return said(401, "anonymous access not enabled, please provide an auth scheme such as OIDC")
        try:
            return await handler(request)
        except (Refused, KeyError, ValueError, TypeError) as error:
            return said(422, str(error))

    def _allows(self, request: web.Request) -> bool:
        return not self.keys or request.headers.get("Authorization", "").removeprefix("Bearer ") in self.keys

    async def _meta(self, request: web.Request) -> web.Response:
        return web.json_response({"hostname": self.url, "version": "1.34.0", "modules": {}})

    async def _ready(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _schema(self, request: web.Request) -> web.Response:
        return web.json_response({"classes": [each.given for each in self.collections.values()]})

    async def _create(self, request: web.Request) -> web.Response:
        made = declared(await request.json())
        if made.name in self.collections:
            return said(422, f"class name {made.name} already exists")
        self.collections[made.name] = made
        return web.json_response(made.given)

    async def _collection(self, request: web.Request) -> web.Response:
        found = self.collections.get(request.match_info["name"])
        return web.json_response(found.given) if found else web.Response(status=404)

    def _named(self, request: web.Request) -> Collection:
        found = self.collections.get(request.match_info["name"])
        if found is None:
            raise Refused(f"class {request.match_info['name']!r} not found")
        if not found.given.get("multiTenancyConfig", {}).get("enabled"):
            raise Refused("multi-tenancy is not enabled for class")
        return found

    async def _add_tenants(self, request: web.Request) -> web.Response:
        collection, given = self._named(request), await request.json()
        for each in given:
            if not TENANT.fullmatch(each["name"]):
                raise Refused(f"'{each['name']}' is not a valid tenant name")
            collection.tenants.setdefault(each["name"], {})
        return web.json_response(given)

    async def _delete_tenants(self, request: web.Request) -> web.Response:
        collection = self._named(request)
        for name in await request.json():
            collection.tenants.pop(name, None)
            collection.dimensions.pop(name, None)
        return web.Response(status=200)

    async def _tenant(self, request: web.Request) -> web.Response:
        name = request.match_info["tenant"]
        if name not in self._named(request).tenants:
            return web.Response(status=404)
        return web.json_response({"name": name, "activityStatus": "HOT"})

    async def _put(self, request: web.Request) -> web.Response:
        body = await request.json()
        if set(body) - {"objects", "fields"} or not body["objects"]:
            raise Refused("invalid param 'objects': cannot be empty")
        results = [self._kept(given) for given in body["objects"]]
        if self.fails:
            results[-1] = {"status": "FAILED", "errors": {"error": [{"message": self.fails}]}}
            self.fails = None
        answered = [
            {**given, "result": result, "deprecations": None}
            for given, result in zip(body["objects"], results, strict=True)
        ]
        return web.json_response(answered)

    def _kept(self, given: dict[str, Any]) -> dict[str, Any]:
        """The result of one object of a batch."""
        try:
            self._keep(given)
        except (Refused, ValueError) as error:
            return {"status": "FAILED", "errors": {"error": [{"message": str(error)}]}}
        return {"status": "SUCCESS"}

    def _keep(self, given: dict[str, Any]) -> None:
        collection = self.collections.get(given["class"])
        if collection is None:
            self.made_up.append(given["class"])
            raise Refused("class not present in schema")
        tenant = collection.tenant(given.get("tenant"))
        properties = _checked(collection, given["properties"])
        vector = [float(number) for number in given["vector"]]
        known = collection.dimensions.setdefault(given["tenant"], len(vector))
        if known != len(vector):
            raise Refused(f"new node has a vector with length {len(vector)}. Existing nodes have {known}")
        id = str(uuid.UUID(given["id"]))
        tenant[id] = collection.indexed(Object(id, properties, vector))

    async def _delete(self, request: web.Request) -> web.Response:
        body = await request.json()
        match = body["match"]
        collection = self.collections[match["class"]]
        tenant = collection.tenant(request.query.get("tenant"))
        keeps = kept(collection, match["where"], rest=True)
        matching = sorted(id for id, object in tenant.items() if keeps(object))
        for id in matching[: self.most]:
            del tenant[id]
        done = len(matching[: self.most])
        results = {"matches": done, "limit": self.most, "successful": done, "failed": 0, "objects": None}
        return web.json_response({"match": match, "output": body.get("output", "minimal"), "results": results})

    async def _merge(self, request: web.Request) -> web.Response:
        """Properties that are not given stay, and the vector, where none is made of them."""
        body = await request.json()
        if (body["class"], body["id"]) != (request.match_info["name"], request.match_info["id"]):
            return said(422, "the class or the id of the body is another")
        collection = self.collections[body["class"]]
        found = collection.tenant(body.get("tenant")).get(body["id"])
        if found is None:
            return web.Response(status=404)
        found.properties |= _checked(collection, body["properties"])
        collection.indexed(found)
        return web.Response(status=204)

    async def _graphql(self, request: web.Request) -> web.Response:
        if not self.graphql:
            return said(422, "graphql api is disabled")
        if not self.collections:
            return said(422, "no graphql provider present, this is most likely because no schema is present")
        if self.graphql_fails:
            return web.json_response({"data": {"Get": None}, "errors": [{"message": self.graphql_fails}]})
        body = await request.json()
        return web.json_response(answer(self.collections, body["query"], self.most))

    async def _grpc_web(self, request: web.Request) -> web.Response:
        if not self.grpc_web:
            return web.json_response({"code": 404, "message": f"path {request.path} was not found"}, status=404)
        return await grpc_web.answered(request, self.collections, self._allows(request), self.most)


def _checked(collection: Collection, given: dict[str, Any]) -> dict[str, Any]:
    """A property that is not declared would be, by a guess."""
    if unknown := set(given) - set(collection.properties):
        raise Refused(f"no such prop with names {unknown} found in class")
    return {name: collection.properties[name].checked(value) for name, value in given.items()}


def said(status: int, message: str) -> web.Response:
    body = json.dumps({"error": [{"message": message}]})
    return web.Response(status=status, body=body.encode(), content_type="application/json")


@asynccontextmanager
async def serving(server: ScriptedWeaviate) -> AsyncIterator[ScriptedWeaviate]:
    async with on_loopback(server.app(), server.port):
        yield server


@contextmanager
def running(server: ScriptedWeaviate) -> Iterator[ScriptedWeaviate]:
    with on_a_thread(serving(server)):
        yield server
