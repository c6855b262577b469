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

from tests.conformance.vendors.vendor import CHAT, EMBEDDINGS, JSON, KEY, Vendor
from tests.upstream import on_loopback

HELLO = [{"role": "user", "content": "What colour is the sky?"}]
WORDS = ["The ", "sky ", "is ", "blue."]
SAID = "".join(WORDS)
SEEN = ["I ", "see ", "a ", "cat."]
TOOL: JSON = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
ARGUMENTS = '{"city": "Paris"}'
RETRY_AFTER = "31"  # longer than anybody waits
PAGE = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
# What no vendor shall be sent: it is for our own store alone.
OURS = {"store", "metadata"}
# How many events of a stream come where it goes wrong: the beginning, or all but an end.
KEPT = {"reset": 3, "cut": 3, "malformed": 3, "broken": 3, "silent": 3, "endless": -2, "half": -2}


@dataclass
class Asked:
    operation: str
    body: JSON
    headers: dict[str, str]


@dataclass
class Script:
    """A running upstream: what it was asked, and whether a client left while it answered."""

    vendor: Vendor
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def sent(self) -> JSON:
        """The body of the last call."""
        return self.asked[-1].body

    async def answer(self, request: web.Request) -> web.StreamResponse:
        operation = re.sub(f"^{self.vendor.prefix}/", "", request.path)
        if request.path in self.vendor.elsewhere and self._knows(request):
            return web.json_response(self.vendor.elsewhere[request.path])
        if (refused := self._refused(request, operation)) is not None:
            return refused
        body = json.loads(await request.read())
        self.asked.append(Asked(operation, body, dict(request.headers)))
        if (wrong := self._wrong(body)) is not None:
            return wrong
        try:
            if self._ranks(request):
                assert self.vendor.ranking is not None
                return web.json_response(self.vendor.ranking.answer(body))
            if operation == EMBEDDINGS:
                return self._vectors(body)
            return await self._generated(request, operation == CHAT, body)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise

    def _refused(self, request: web.Request, operation: str) -> web.Response | None:
        """What stands in the request's line and headers, as the vendor checks it."""
        if not self._knows(request):
            return error(self.vendor.unauthorized)
        offered = operation in self.vendor.offers or self._ranks(request)
        if not offered or dict(request.query) != dict(self.vendor.query):
            return web.Response(status=404, text=f"404 {request.path_qs} not found")
        if request.method != "POST" or request.content_type != "application/json":
            return web.Response(status=405, text="POST JSON")
        return None

    def _knows(self, request: web.Request) -> bool:
        header, value = self.vendor.authorization
        return request.headers.get(header) == value.format(key=KEY)

    def _ranks(self, request: web.Request) -> bool:
        return self.vendor.ranking is not None and request.path == self.vendor.ranking.path

    def _wrong(self, body: JSON) -> web.Response | None:
        if odd := OURS & body.keys():
            return error((400, {"error": {"message": f"Unknown fields: {odd}"}}))
        if "stream_options" in body and not body.get("stream"):
            return error((400, {"error": {"message": "stream_options is of streams alone"}}))
        if not self.vendor.developer and any(turn["role"] == "developer" for turn in body.get("messages", ())):
            return error((400, {"error": {"message": "'developer' is not one of the roles"}}))
        return self._failed(fault(body))

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

    def _vectors(self, body: JSON) -> web.Response:
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [{"object": "embedding", "index": i, "embedding": [float(i), 0.5]} for i in range(len(inputs))]
        answer = {"object": "list", "data": data, "model": body["model"], "usage": self.vendor.embedding_usage}
        return web.json_response(answer if self.vendor.embedding_usage else answer | {"usage": None})

    async def _generated(self, request: web.Request, chat: bool, body: JSON) -> web.StreamResponse:
        wrong = fault(body)
        if wrong == "slow":
            await asyncio.Event().wait()
        said, reason = saying(body, self.vendor.limits) if chat else (WORDS, "stop")
        calls = wanted(body) if chat else []
        contrary, wrong = wrong.startswith("contrary"), wrong.removeprefix("contrary-")
        if bool(body.get("stream")) == contrary:
            whole = web.json_response(self._whole(said, reason, calls, body, chat))
            if wrong == "zipped":
                whole.enable_compression(web.ContentCoding.gzip)
            return whole
        if wrong == "zipped":
            return zipped(b"".join(self._events(said, reason, calls, body, chat)))
        return await self._streamed(request, wrong, list(self._events(said, reason, calls, body, chat)))

    def _whole(self, said: list[str], reason: str, calls: list[JSON], body: JSON, chat: bool) -> JSON:
        text = "".join(said)
        if not chat:
            return self.vendor.whole({"text": text}, reason, body, chat=False)
        message: JSON = {"role": "assistant", "content": None if calls else text}
        if calls:
            bare = self.vendor.calls == "bare"
            message["tool_calls"] = [{k: v for k, v in call.items() if k != "id" or not bare} for call in calls]
        return self.vendor.whole({"message": message}, self.vendor.call_ends if calls else reason, body, chat=True)

    def _events(self, said: list[str], reason: str, calls: list[JSON], body: JSON, chat: bool) -> list[bytes]:
        if not chat:
            deltas = [{"text": text} for text in said]
        elif calls:
            parts = [part for index, call in enumerate(calls) for part in self._called(call, index)]
            deltas = [{"role": "assistant", "content": None}, *({"tool_calls": [part]} for part in parts)]
        else:
            role = {"role": "assistant"} if self.vendor.repeats_role else {}
            deltas = [{"role": "assistant", "content": ""}, *({"content": text} | role for text in said)]
        ended = self.vendor.call_ends if calls else reason
        chunks = self.vendor.chunks(deltas, ended, body, chat=chat)
        return [*(self.vendor.encoded(chunk) for chunk in chunks), self.vendor.end]

    def _called(self, call: JSON, index: int) -> list[JSON]:
        name, half = call["function"]["name"], len(ARGUMENTS) // 2
        pieces = [ARGUMENTS[:half], ARGUMENTS[half:]]
        match self.vendor.calls:
            case "bare":
                return [{"id": "", "type": "function", "function": call["function"]}]
            case "whole":
                return [call | {"index": index}]
            case "at zero":
                return [call | {"index": 0}]
            case "repeating":
                named = [{"name": name, "arguments": piece} for piece in pieces]
                return [call | {"index": index, "function": function} for function in named]
        begun = call | {"index": index, "function": {"name": name, "arguments": ""}}
        return [begun, *({"index": index, "function": {"arguments": piece}} for piece in pieces)]

    async def _streamed(self, request: web.Request, wrong: str, events: list[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        kept = KEPT.get(wrong, len(events))
        for event in events[:kept]:
            await response.write(event)
        match wrong:
            case "reset":
                assert request.transport is not None
                request.transport.abort()
            case "malformed":
                await response.write(b'data: {"id": "reply-1", "choi\n\n')
            case "broken":
                await response.write(self.vendor.encoded(self.vendor.broken) + self.vendor.end)
            case "silent":
                await asyncio.Event().wait()
            case "endless":
                while True:
                    await response.write(events[-3])
                    await asyncio.sleep(0.005)
        return response


def fault(body: JSON) -> str:
    """What shall go wrong, by the last part of the model's name."""
    return str(body["model"]).rpartition("/")[2].rpartition(":")[2]


def saying(body: JSON, limits: frozenset[str]) -> tuple[list[str], str]:
    """What is said and why it ends, by what a chat asks for."""
    words = SEEN if "image_url" in json.dumps(body["messages"]) else WORDS
    if body.get("response_format"):
        words = [ARGUMENTS]
    stops = [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or []
    for place, word in enumerate(words):
        if word.strip() in stops:
            return words[:place], "stop"
    limit = next((body[name] for name in limits if body.get(name)), len(words))
    return words[:limit], "stop" if limit >= len(words) else "length"


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


def zipped(data: bytes) -> web.Response:
    headers = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}
    return web.Response(body=gzip.compress(data), headers=headers)


@asynccontextmanager
async def scripted(vendor: Vendor) -> AsyncIterator[Script]:
    """The vendor's server on a free port of the loopback."""
    script = Script(vendor)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.answer)
    async with on_loopback(app) as script.url:
        yield script
