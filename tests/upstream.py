"""A small server of the OpenAI dialect, for tests. The model's name, or the key, says how it behaves."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

WORDS = ["The ", "sky ", "is ", "blue."]


@dataclass
class Upstream:
    """What the server was asked, and what it shall list."""

    url: str = ""
    models: list[str] = field(default_factory=lambda: ["sky-1", "sky-2"])
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)


UPSTREAM = web.AppKey("upstream", Upstream)


def usage() -> dict[str, int]:
    return {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}


def chunk(delta: dict[str, Any], finish: str | None = None, **extra: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "sky", "choices": [choice], **extra}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


async def chat(request: web.Request) -> web.StreamResponse:
    upstream: Upstream = request.app[UPSTREAM]
    body = await request.json()
    upstream.requests.append(body)
    upstream.headers.append(dict(request.headers))
    model = body["model"]
    if model.startswith("status-"):
        status = int(model.removeprefix("status-"))
        headers = {"Retry-After": "7"} if status == 429 else {}
        error = {"error": {"message": "told you so", "param": "model", "code": "why"}}
        return web.json_response(error, status=status, headers=headers)
    if model == "nonsense":
        return web.Response(text="<html>not json</html>")
    if model == "held":
        await upstream.released.wait()
    if body.get("stream"):
        return await stream(request, upstream, model, bool((body.get("stream_options") or {}).get("include_usage")))
    message = {"role": "assistant", "content": "".join(WORDS), "reasoning_content": "I looked up."}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return web.json_response(
        {"id": "c1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": usage()}
    )


async def stream(request: web.Request, upstream: Upstream, model: str, with_usage: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(chunk({"role": "assistant", "content": ""}))
    for word in WORDS:
        await response.write(chunk({"content": word}))
    if model == "cut":
        assert request.transport is not None
        request.transport.close()
        return response
    if model == "broken":
        await response.write(b'data: {"error": {"message": "out of memory"}}\n\n')
        return response
    if model == "endless":
        try:
            while True:
                await response.write(chunk({"content": "more "}))
                await asyncio.sleep(0.01)
        finally:
            upstream.closed.set()
    await response.write(chunk({}, "stop"))
    if with_usage:
        tail = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "sky", "choices": []}
        await response.write(b"data: " + json.dumps(tail | {"usage": usage()}).encode() + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    return response


async def embeddings(request: web.Request) -> web.Response:
    body = await request.json()
    request.app[UPSTREAM].requests.append(body)
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [{"object": "embedding", "index": i, "embedding": [float(i), 0.5]} for i in range(len(inputs))]
    total = {"prompt_tokens": 3, "total_tokens": 3}
    return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": total})


async def models(request: web.Request) -> web.Response:
    upstream: Upstream = request.app[UPSTREAM]
    upstream.headers.append(dict(request.headers))
    if request.headers.get("Authorization") == "Bearer held":
        await upstream.released.wait()
    return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in upstream.models]})


@asynccontextmanager
async def serving(upstream: Upstream | None = None, port: int = 0) -> AsyncIterator[Upstream]:
    """The server on a free port of the loopback."""
    upstream = upstream or Upstream()
    app = web.Application()
    app[UPSTREAM] = upstream
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/v1/embeddings", embeddings)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, port = runner.addresses[0][:2]
    upstream.url = f"http://{host}:{port}/v1"
    try:
        yield upstream
    finally:
        upstream.released.set()
        await runner.cleanup()
