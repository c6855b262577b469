"""The scripted upstream: a vendor's server that checks what it is asked as the vendor does, and answers in its words.

What it answers follows from what it is asked: whoever gives a tool has it called, whoever asks for JSON gets JSON, and
so on. The model's name says what goes wrong.
"""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.conformance.vendors.vendor import CHAT, EMBEDDINGS, JSON, RERANK, Answer, Asking, NotUnderstood, Vendor
from tests.upstream import on_loopback

HELLO = [{"role": "user", "content": "What colour is the sky?"}]
WORDS = ["The ", "sky ", "is ", "blue."]
SAID = "".join(WORDS)
SEEN = ["I ", "see ", "a ", "cat."]
TOOL: JSON = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
ARGUMENTS = '{"city":"Paris"}'
RETRY_AFTER = "31"  # longer than anybody waits
PAGE = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
THOUGHTS = ["Air ", "scatters ", "blue."]
THOUGHT = "".join(THOUGHTS)
VECTORS = {"one": 0.0, "two": 1.0, "three": 2.0}
# What goes wrong after the beginning of a stream.
BEGUN = {"reset", "cut", "malformed", "broken", "silent", "endless"}


@dataclass
class Asked:
    """One call: its body in OpenAI's words, and as it came."""

    operation: str
    body: JSON
    headers: dict[str, str]
    path: str
    raw: JSON


@dataclass
class Script:
    """A running upstream: what it was asked, what it streamed last, and whether a client left while it answered."""

    vendor: Vendor
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def sent(self) -> JSON:
        """The body of the last call, in OpenAI's words."""
        return self.asked[-1].body

    @property
    def raw(self) -> JSON:
        """The body of the last call, as the vendor's server gets it."""
        return self.asked[-1].raw

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if (aside := self.vendor.aside(request.path, await request.read())) is not None:
            return error(aside)
        if not self.vendor.knows(request.headers):
            return error(self.vendor.unauthorized)
        if request.path in self.vendor.elsewhere:
            return web.json_response(self.vendor.elsewhere[request.path])
        asking = self.vendor.asking(request.path, request.query)
        if asking is None:
            return web.Response(status=404, text=f"404 {request.path_qs} not found")
        if (refused := self._refused(request)) is not None:
            return refused
        try:
            body = self._read(asking, request, json.loads(await request.read()))
        except NotUnderstood as odd:
            return error((400, {"error": {"message": str(odd)}}))
        if (wrong := self._failed(fault(body, self.vendor))) is not None:
            return wrong
        try:
            return await self._answer(request, asking.operation, body)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise

    def _refused(self, request: web.Request) -> web.Response | None:
        """What the vendor demands of every call."""
        if request.method != "POST" or request.content_type != "application/json":
            return web.Response(status=405, text="POST JSON")
        for name, pattern in self.vendor.headers.items():
            if not re.fullmatch(pattern, request.headers.get(name, "")):
                return error((400, {"error": {"message": f"{name}: header is required"}}))
        return None

    def _read(self, asking: Asking, request: web.Request, raw: JSON) -> JSON:
        body = self.vendor.question(asking.operation, raw)
        if asking.model is not None:
            body = body | {"model": asking.model}
        if asking.stream is not None:
            body = body | {"stream": asking.stream}
        self.asked.append(Asked(asking.operation, body, dict(request.headers), request.path, raw))
        return body

    async def _answer(self, request: web.Request, operation: str, body: JSON) -> web.StreamResponse:
        if operation == RERANK:
            assert self.vendor.ranking is not None
            return web.json_response(self.vendor.ranking.answer(body))
        if operation == EMBEDDINGS:
            inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
            vectors = [[VECTORS.get(text, float(i)), 0.5] for i, text in enumerate(inputs)]
            return web.json_response(self.vendor.vectors(body, vectors))
        return await self._generated(request, operation == CHAT, body)

    def _failed(self, name: str) -> web.Response | None:
        match name:
            case "unknown":
                return error(self.vendor.unknown_model)
            case "busy":
                return error(self.vendor.too_many, {"Retry-After": RETRY_AFTER})
            case "failing":
                return error(self.vendor.failure)
            case "page":
                return web.Response(status=502, text=PAGE, content_type="text/html")
            case "blocked":
                return web.Response(status=403, text=PAGE, content_type="text/html")
            case "well":
                return web.json_response(self.vendor.broken)
            case "sign-in":
                return web.Response(text=PAGE, content_type="text/html")
        return None

    async def _generated(self, request: web.Request, chat: bool, body: JSON) -> web.StreamResponse:
        wrong = fault(body, self.vendor)
        if wrong == "slow":
            await asyncio.Event().wait()
        answer = answered(body, self.vendor, chat)
        contrary, wrong = wrong.startswith("contrary"), wrong.removeprefix("contrary-")
        if bool(body.get("stream")) == contrary:
            whole = web.json_response(self.vendor.whole(answer))
            if wrong == "zipped":
                whole.enable_compression(web.ContentCoding.gzip)
            return whole
        events = streamed(self.vendor, answer)
        if wrong == "zipped":
            return zipped(b"".join(events), self.vendor.media_type)
        return await self._streamed(request, wrong, events)

    async def _streamed(self, request: web.Request, wrong: str, events: list[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": self.vendor.media_type})
        await response.prepare(request)
        kept = self.vendor.beginning if wrong in BEGUN else -2 if wrong == "half" else len(events)
        for event in events[:kept]:
            await response.write(event)
        match wrong:
            case "reset":
                assert request.transport is not None
                request.transport.abort()
            case "malformed":
                await response.write(self.vendor.malformed)
            case "broken":
                await response.write(self.vendor.failing(self.vendor.broken) + self.vendor.end)
            case "silent":
                await asyncio.Event().wait()
            case "endless":
                while True:
                    await response.write(events[kept - 1])
                    await asyncio.sleep(0.005)
        return response


def fault(body: JSON, vendor: Vendor) -> str:
    """What shall go wrong, by the last part of the model's name."""
    model = str(body["model"]).removeprefix(vendor.model.removesuffix("sky"))
    return model.rpartition("/")[2].rpartition(":")[2]


def answered(body: JSON, vendor: Vendor, chat: bool = True) -> Answer:
    """What is said and why it ends, by what is asked for."""
    if not chat:
        return Answer(body, WORDS, chat=False)
    if calls := wanted(body):
        return Answer(body, [], calls=calls, reason="tool_calls")
    words, reason, stop = saying(body, vendor.limits)
    if fault(body, vendor) == "refusing":
        words, reason = words[:2], "content_filter"
    thoughts = THOUGHTS if vendor.thinks and body.get("reasoning_effort") else []
    return Answer(body, words, thoughts, reason=reason, stop=stop)


def streamed(vendor: Vendor, answer: Answer) -> list[bytes]:
    """The events of a streamed answer as they travel, and its end."""
    return [*map(vendor.encoded, vendor.events(answer)), vendor.end]


def saying(body: JSON, limits: frozenset[str]) -> tuple[list[str], str, str | None]:
    """What is said, why it ends, and at which of the stops that were given."""
    words = SEEN if "image_url" in json.dumps(body["messages"]) else WORDS
    if body.get("response_format"):
        words = [ARGUMENTS]
    stops = [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or []
    for place, word in enumerate(words):
        if word.strip() in stops:
            return words[:place], "stop", word.strip()
    limit = next((body[name] for name in limits if body.get(name)), len(words))
    return words[:limit], "stop" if limit >= len(words) else "length", None


def wanted(body: JSON) -> list[JSON]:
    """A call of each tool, until the result of one is there."""
    if body["messages"][-1]["role"] == "tool":
        return []
    functions = [{"name": tool["function"]["name"], "arguments": ARGUMENTS} for tool in body.get("tools") or ()]
    return [{"id": f"call_{i}", "type": "function", "function": function} for i, function in enumerate(functions)]


def error(told: tuple[int, Any], headers: dict[str, str] | None = None) -> web.Response:
    status, body = told
    if isinstance(body, str):
        return web.Response(status=status, text=body, headers=headers)
    return web.json_response(body, status=status, headers=headers)


def zipped(data: bytes, media_type: str) -> web.Response:
    headers = {"Content-Type": media_type, "Content-Encoding": "gzip"}
    return web.Response(body=gzip.compress(data), headers=headers)


@asynccontextmanager
async def scripted(vendor: Vendor) -> AsyncIterator[Script]:
    """The vendor's server on a free port of the loopback."""
    script = Script(vendor)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.answer)
    async with on_loopback(app) as script.url:
        yield script
