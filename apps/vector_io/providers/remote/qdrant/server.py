"""Qdrant's REST API, and a store's points in it. https://api.qdrant.tech"""

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import orjson

from apps.vector_io.providers.qdrant.fields import EMBEDDING, FIELDS, WORDS, Condition, Payload, Point
from apps.vector_io.providers.remote.over_http import told
from llamastack.egress import Egress
from llamastack.errors import NotFound, UpstreamError, UpstreamRejected

MOST_BYTES = 8 << 20  # of a request: a server takes 32 MiB
PAGE = 1000  # points read at once
PAGE_OF_VECTORS = 100
BEAM = 256  # how many points a search through the graph keeps in sight, at the least
KINDS = 1_000_000  # of lengths of texts
Version = tuple[int, int]
IS_JSON = {"Content-Type": "application/json"}
STORE = "store"  # the field of a point that says whose it is
KEPT = "?wait=true"  # answered once it is kept, and found


class Server:
    """What Qdrant answers with, without what stands around it."""

    def __init__(self, egress: Egress) -> None:
        self.egress = egress

    async def version(self) -> Version:
        """As its first page says it: {"title": "qdrant - vector search engine", "version": "1.19.0"}."""
        with told():
            found = await self.egress.get("")
        match = re.match(r"(\d+)\.(\d+)", found["version"]) if isinstance(found, dict) and "version" in found else None
        if match is None:
            raise self._nonsense()
        return int(match[1]), int(match[2])

    async def get(self, path: str) -> Any:
        with told():
            return self._result(await self.egress.get(path))

    async def post(self, path: str, body: Any) -> Any:
        with told():
            return self._result(await self.egress.post(path, body))

    async def put(self, path: str, body: Any) -> Any:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        with told():
            _, answer = await self.egress.whole("PUT", path, data, IS_JSON)
        try:
            return self._result(orjson.loads(answer))
        except orjson.JSONDecodeError:
            raise self._nonsense() from None

    def _result(self, answer: Any) -> Any:
        if not isinstance(answer, dict) or "result" not in answer:
            raise self._nonsense()
        return answer["result"]

    def _nonsense(self) -> UpstreamError:
        return UpstreamError(f"{self.egress.upstream} answered as no Qdrant does. Check its url.")


class RemotePoints:
    """Satisfies `Points`. Each request goes through `_asked` or `upsert`, which say whose points are meant."""

    def __init__(
        self, server: Server, collection: str, partition: str, is_there: Callable[[], Awaitable[None]], own_idf: bool
    ) -> None:
        self._server = server
        self._path = f"collections/{collection}"
        self._own: Condition = {"key": STORE, "match": {"value": partition}}
        self._partition = partition
        self._is_there = is_there
        self._own_idf = own_idf

    async def _asked(self, path: str, condition: Condition | None, body: dict[str, Any]) -> Any:
        own = {"must": [self._own] if condition is None else [self._own, condition]}
        try:
            return await self._server.post(f"{self._path}/{path}", {"filter": own, **body})
        except UpstreamRejected as error:
            if error.status != 404:
                raise
            raise NotFound("This vector store's collection is gone from Qdrant: make the store anew.") from error

    async def upsert(self, points: Sequence[Point]) -> None:
        for body in _bodies([{**point, "payload": {**point["payload"], STORE: self._partition}} for point in points]):
            await self._server.put(f"{self._path}/points{KEPT}", body)
        try:
            await self._is_there()
        except NotFound:  # another has dropped it meanwhile: nothing is left of it
            await self.delete(None)
            raise

    async def search(
        self, using: str, vector: Any, limit: int, condition: Condition | None
    ) -> list[tuple[Payload, float]]:
        """How rare a word is, the store's own chunks tell, or all of the collection's where Qdrant knows no better."""
        parameters: dict[str, Any] = {"hnsw_ef": max(limit, BEAM)}
        if using == WORDS:
            parameters = {"idf": {"corpus": {"must": [self._own]}}} if self._own_idf else {}
        body = {"query": vector, "using": using, "limit": limit, "with_payload": FIELDS, "params": parameters}
        found = await self._asked("points/query", condition, body)
        return [(point["payload"], point["score"]) for point in found["points"]]

    async def read(self, condition: Condition, fields: Sequence[str], vectors: bool = False) -> list[Point]:
        limit = PAGE_OF_VECTORS if vectors else PAGE
        chosen = [EMBEDDING] if vectors else False
        body: dict[str, Any] = {"limit": limit, "with_payload": fields, "with_vector": chosen}
        read: list[Point] = []
        while True:
            page = await self._asked("points/scroll", condition, body)
            read += page["points"]
            if page.get("next_page_offset") is None:
                return read
            body["offset"] = page["next_page_offset"]

    async def count(self, condition: Condition) -> int:
        found: int = (await self._asked("points/count", condition, {"exact": True}))["count"]
        return found

    async def sizes(self) -> list[tuple[int, int]]:
        found = await self._asked("facet", None, {"key": "bytes", "limit": KINDS, "exact": True})
        return [(hit["value"], hit["count"]) for hit in found["hits"]]

    async def delete(self, condition: Condition | None) -> None:
        await self._asked(f"points/delete{KEPT}", condition, {})

    async def describe(self, condition: Condition, payload: Payload) -> None:
        await self._asked(f"points/payload{KEPT}", condition, {"payload": payload})


def _bodies(points: Sequence[Point]) -> Iterator[bytes]:
    """Requests of so many points as one may have."""
    written: list[bytes] = []
    size = 0
    for point in map(orjson.dumps, points):
        if written and size + len(point) > MOST_BYTES:
            yield _body(written)
            written, size = [], 0
        written.append(point)
        size += len(point)
    yield _body(written)


def _body(points: Sequence[bytes]) -> bytes:
    return b'{"points":[' + b",".join(points) + b"]}"
