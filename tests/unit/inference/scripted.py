"""A vendor's server that says what a test has written down, and remembers what it was asked."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from apps.inference.schemas import ChatCompletionRequest, EmbeddingRequest
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.egress import Egress
from llamastack.egress.transport import Outgoing, Reply, Transport
from llamastack.provider_data import ProviderData
from tests.upstream import on_loopback

CALL = Call(ANONYMOUS_ADMIN)


@dataclass(frozen=True)
class Asked:
    line: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Status:
    """An answer that is no 200, or has headers."""

    status: int
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """Events, and `[DONE]` unless it is one of a server that sends none."""

    events: list[Any]
    done: bool = True


Line = Any | Callable[[Asked], Awaitable[Any]]  # JSON, a Status, a Stream, or what makes one of them


@dataclass
class Vendor:
    """`script` has an answer for each `METHOD /path?query`."""

    script: dict[str, Line]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text.startswith(("{", "[")) else text
        asked = Asked(f"{request.method} {request.raw_path}", request.headers, body)
        self.asked.append(asked)
        line = self.script.get(asked.line, Status(404, {"error": {"message": f"not in the script: {asked.line}"}}))
        said = await line(asked) if callable(line) else line
        if isinstance(said, Stream):
            return await _streamed(request, said)
        if isinstance(said, Status):
            return web.json_response(said.body, status=said.status, headers=said.headers)
        return web.json_response(said)


async def _streamed(request: web.Request, stream: Stream) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in stream.events:
        await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
    if stream.done:
        await response.write(b"data: [DONE]\n\n")
    return response


@asynccontextmanager
async def scripted(script: dict[str, Line]) -> AsyncIterator[Vendor]:
    vendor = Vendor(script)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", vendor.answer)
    async with on_loopback(app) as vendor.url:
        yield vendor


class Rerouted:
    """A transport that takes every host's name for a path of the vendor's: /host/path, so that no network is needed."""

    def __init__(self, inner: Transport, url: str) -> None:
        self.inner, self.url = inner, url

    def send(self, outgoing: Outgoing) -> AbstractAsyncContextManager[Reply]:
        parts = urlsplit(outgoing.url)
        query = f"?{parts.query}" if parts.query else ""
        return self.inner.send(replace(outgoing, url=f"{self.url}/{parts.netloc}{parts.path}{query}"))

    async def close(self) -> None:
        await self.inner.close()


def rerouted(egress: Egress, vendor: Vendor) -> Egress:
    egress.transport = Rerouted(egress.transport, vendor.url)
    return egress


@asynccontextmanager
async def started(provider: Any) -> AsyncIterator[Any]:
    try:
        await provider.start()
        yield provider
    finally:
        await provider.stop()


def with_data(**values: Any) -> Call:
    """A call that brings this provider data."""
    return replace(CALL, provider_data=ProviderData(values))


def chat(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate(
        {"model": "sky", "messages": [{"role": "user", "content": "Hi"}], **fields}
    )


def embedding(**fields: Any) -> EmbeddingRequest:
    return EmbeddingRequest.model_validate({"model": "sky", "input": "Hi", **fields})


def said(**fields: Any) -> dict[str, Any]:
    """A whole chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Blue."}, "finish_reason": "stop"}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "sky", "choices": [choice], **fields}


def chunk(content: str | None = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {} if content is None else {"content": content}, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "sky", "choices": [choice]} | fields


async def heard(chunks: AsyncIterator[Any]) -> str:
    """The content of a streamed chat, to its end."""
    return "".join([choice.delta.content or "" async for each in chunks for choice in each.choices])
