"""Its REST API (v2), as far as schemas, caches and entries are made and searched."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.infinispan.caches import Cache
from tests.infinispan.digest import Guard
from tests.infinispan.schemas import Message, Wrong, read
from tests.upstream import on_a_thread, on_loopback

USERNAME, PASSWORD = "ann", 'p"ass\\word ü'
CACHE_KEYS = {"mode", "owners", "encoding", "indexing", "persistence", "statistics", "memory", "locking", "query"}
INDEXING = {"enabled", "storage", "startup-mode", "indexing-mode", "indexed-entities", "path", "shards"}
MODES = {"AUTO", "PURGE", "REINDEX", "NONE"}
MOST_BYTES = 10 << 20  # what its server takes at once, if nothing else is said


@dataclass
class Failure:
    """What comes in place of the next answer to a request whose address holds these words."""

    words: str
    status: int
    text: str = ""


@dataclass
class ScriptedInfinispan:
    url: str = ""
    version: str = "Infinispan Server 15.0.8.Final"
    guard: Guard | None = field(default_factory=lambda: Guard(USERNAME, PASSWORD))
    schemas: dict[str, str] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)
    caches: dict[str, Cache] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refused: int = 0  # requests without a right answer to a challenge
    failures: list[Failure] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        data = await request.read()
        if self.guard is not None and not self.guard.lets(request):
            self.refused += 1
            response = web.Response(status=401)
            for name, value in self.guard.challenges():
                response.headers.add(name, value)
            return response
        self.asked.append(f"{request.method} {request.raw_path}")
        if failure := next((one for one in self.failures if one.words in request.raw_path), None):
            self.failures.remove(failure)
            return web.Response(status=failure.status, text=failure.text)
        try:
            return self._answered(request, data)
        except Wrong as error:
            return web.json_response({"error": {"message": "wrong", "cause": str(error)}}, status=400)

    def _answered(self, request: web.Request, data: bytes) -> web.Response:
        match [request.method, *request.path.strip("/").split("/")]:
            case ["GET", "rest", "v2", "server"]:
                return web.json_response({"version": self.version})
            case ["GET", "rest", "v2", "caches"]:
                return web.json_response([*self.caches, "___protobuf_metadata"])
            case ["GET", "rest", "v2", "schemas", name]:
                return web.Response(text=self.schemas[name]) if name in self.schemas else web.Response(status=404)
            case ["PUT", "rest", "v2", "schemas", name]:
                return self._schema(name, data.decode())
            case ["POST", "rest", "v2", "caches", name] if "action" not in request.query:
                return self._made(request, name, data)
            case [method, "rest", "v2", "caches", name, *key]:
                return self._of_cache(request, method, name, key, data)
        return web.Response(status=404)

    def _schema(self, name: str, text: str) -> web.Response:
        if not text:
            return web.Response(status=400, text="Schema data not sent in the request")
        try:
            found = read(text)
        except Wrong as error:
            told = {"message": f"Schema {name} has errors", "cause": str(error)}
            return web.json_response({"name": name, "error": told})
        self.schemas[name] = text
        self.messages |= {message.name: message for message in found}
        return web.json_response({"name": name, "error": None})

    def _made(self, request: web.Request, name: str, data: bytes) -> web.Response:
        if request.content_type != "application/json":
            raise Wrong(f"a configuration is no {request.content_type}")
        if name in self.caches:
            raise Wrong(f"ISPN000507: Cache {name} already exists")
        [(kind, given)] = json.loads(data).items()
        if kind not in ("distributed-cache", "replicated-cache", "local-cache") or set(given) - CACHE_KEYS:
            raise Wrong(f"ISPN000327: unknown configuration of {kind}")
        indexing = given.get("indexing", {})
        if set(indexing) - INDEXING or indexing.get("startup-mode", "AUTO") not in MODES:
            raise Wrong("ISPN000327: unknown configuration of indexing")
        if set(given.get("persistence", {})) - {"file-store", "passivation"}:
            raise Wrong("ISPN000327: unknown configuration of persistence")
        if given.get("encoding", {}).get("media-type") != "application/x-protostream":
            raise Wrong("what is indexed is kept as application/x-protostream")
        for entity in indexing.get("indexed-entities", []):
            if entity not in self.messages or not self.messages[entity].indexed:
                raise Wrong(f"ISPN: the type {entity} is not known, or not indexed")
        self.caches[name] = Cache({one: self.messages[one] for one in indexing["indexed-entities"]})
        return web.Response(status=200)

    def _of_cache(self, request: web.Request, method: str, name: str, key: list[str], data: bytes) -> web.Response:
        if name not in self.caches:
            return web.Response(status=404, text=f"ISPN012010: Cache with name '{name}' not found")
        cache = self.caches[name]
        if not key and method == "DELETE":
            del self.caches[name]
            return web.Response(status=204)
        if key:
            return self._of_entry(request, cache, method, key[0], data)
        action = request.query.get("action")
        if method == "GET" and action == "size":
            return web.json_response(len(cache.entries))
        if method == "POST" and action == "search":
            asked = json.loads(data)
            if set(asked) - {"query", "max_results", "offset", "hit_count_accuracy"}:
                raise Wrong("Invalid search request")
            return web.json_response(cache.search(asked["query"], asked.get("max_results")))
        return web.Response(status=405)

    def _of_entry(self, request: web.Request, cache: Cache, method: str, key: str, data: bytes) -> web.Response:
        if method == "PUT":
            if request.content_type != "application/json":
                raise Wrong(f"nothing converts {request.content_type} to application/x-protostream")
            cache.put(key, json.loads(data))
            return web.Response(status=204)
        if method == "DELETE":
            return web.Response(status=204 if cache.remove(key) else 404)
        return web.Response(status=405)


@asynccontextmanager
async def serving() -> AsyncIterator[ScriptedInfinispan]:
    server = ScriptedInfinispan()
    app = web.Application(client_max_size=MOST_BYTES)
    app.router.add_route("*", "/{path:.*}", server.answer)
    async with on_loopback(app) as server.url:
        yield server


@contextmanager
def in_thread() -> Iterator[ScriptedInfinispan]:
    with on_a_thread(serving()) as server:
        yield server
