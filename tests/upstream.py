"""A small server of the OpenAI dialect, for tests. The model's name, or the key, says how it behaves."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web

WORDS = ["The ", "sky ", "is ", "blue."]
ARGUMENTS = '{"city": "Paris"}'
T = TypeVar("T")


@dataclass
class Upstream:
    """What the server was asked, and what it shall list."""

    url: str = ""
    models: list[str] = field(default_factory=lambda: ["sky-1", "sky-2"])
    words: list[str] = field(default_factory=lambda: WORDS)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    failing: list[int] = field(default_factory=list)  # what `flaky` answers before it does well; 0 breaks off
    loop: asyncio.AbstractEventLoop | None = None

    async def until_closed(self, seconds: float = 30) -> None:
        """Until an answer was left by who had asked for it, which is seen a moment later. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            await self.closed.wait()

    def wait_until_closed(self) -> None:
        """The same of one on a loop of another thread."""
        assert self.loop
        asyncio.run_coroutine_threadsafe(self.until_closed(), self.loop).result()


UPSTREAM = web.AppKey("upstream", Upstream)


def usage() -> dict[str, int]:
    return {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}


def reply(choice: dict[str, Any] | None, chat: bool, streamed: bool) -> dict[str, Any]:
    """A reply, or with `streamed` a chunk of one; without a choice, the last one that carries usage."""
    kind = "chat.completion.chunk" if chat and streamed else "chat.completion" if chat else "text_completion"
    blank = {"index": 0, "finish_reason": None} | ({} if chat and streamed else {"logprobs": None})
    choices = [] if choice is None else [blank | choice]
    totals = {"usage": usage()} if choice is None or not streamed else {}
    return {"id": "c1", "object": kind, "created": 1, "model": "sky", "choices": choices, **totals}


def event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


async def generate(request: web.Request) -> web.StreamResponse:
    """Chat completions and completions."""
    chat = request.path.endswith("/chat/completions")
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
    if model == "flaky" and upstream.failing:
        if status := upstream.failing.pop():
            return web.json_response({"error": {"message": "out of memory"}}, status=status)
        assert request.transport is not None
        request.transport.close()
    if model == "nonsense":
        return web.Response(text="<html>not json</html>")
    if model == "held":
        try:
            await upstream.released.wait()
        except asyncio.CancelledError:
            upstream.closed.set()
            raise
    if call := wanted_call(body):
        return await answer_with_call(request, call, bool(body.get("stream")))
    if body.get("stream"):
        with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        try:
            return await stream(request, upstream, model, chat, with_usage)
        except (asyncio.CancelledError, ConnectionError):  # as the client's going away is told, wherever it goes
            upstream.closed.set()
            raise
    said = "".join(upstream.words)
    message = {"role": "assistant", "content": said, "reasoning_content": "I looked up."}
    choice = {"message": message} if chat else {"text": said}
    return web.json_response(reply(choice | {"finish_reason": "stop"}, chat, streamed=False))


def wanted_call(body: dict[str, Any]) -> dict[str, Any] | None:
    """Whoever gives functions has one of them called, and an answer once its result is there."""
    functions = [tool["function"] for tool in body.get("tools") or () if tool["type"] == "function"]
    choice = body.get("tool_choice")
    if not functions or choice == "none" or body["messages"][-1]["role"] == "tool":
        return None
    name = choice["function"]["name"] if isinstance(choice, dict) and "function" in choice else functions[0]["name"]
    function = {"name": name, "arguments": ARGUMENTS}
    return {"index": 0, "id": "call_1", "type": "function", "function": function, "extra_content": {"signature": "s"}}


async def answer_with_call(request: web.Request, call: dict[str, Any], streamed: bool) -> web.StreamResponse:
    if not streamed:
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        return web.json_response(reply({"message": message, "finish_reason": "tool_calls"}, True, streamed=False))
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    begun = call | {"function": call["function"] | {"arguments": ""}}
    pieces = [ARGUMENTS[:5], ARGUMENTS[5:]]
    deltas = [begun, *({"index": 0, "function": {"arguments": piece}} for piece in pieces)]
    for delta in [{"role": "assistant", "content": None}, *({"tool_calls": [one]} for one in deltas)]:
        await response.write(event(reply({"delta": delta}, True, streamed=True)))
    await response.write(event(reply({"delta": {}, "finish_reason": "tool_calls"}, True, streamed=True)))
    await response.write(b"data: [DONE]\n\n")
    return response


async def stream(
    request: web.Request, upstream: Upstream, model: str, chat: bool, with_usage: bool
) -> web.StreamResponse:
    def said(text: str) -> bytes:
        return event(reply({"delta": {"content": text}} if chat else {"text": text}, chat, streamed=True))

    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    if chat:
        await response.write(event(reply({"delta": {"role": "assistant", "content": ""}}, chat, streamed=True)))
    for word in WORDS:
        await response.write(said(word))
    if model == "cut":
        assert request.transport is not None
        request.transport.close()
        return response
    if model == "broken":
        await response.write(event({"error": {"message": "out of memory"}}))
        return response
    if model == "endless":
        while True:
            await response.write(said("more "))
            await asyncio.sleep(0.01)
    last = {"delta": {}} if chat else {"text": ""}
    await response.write(event(reply(last | {"finish_reason": "stop"}, chat, streamed=True)))
    if with_usage:
        await response.write(event(reply(None, chat, streamed=True)))
    await response.write(b"data: [DONE]\n\n")
    return response


async def embeddings(request: web.Request) -> web.Response:
    body = await request.json()
    upstream: Upstream = request.app[UPSTREAM]
    upstream.requests.append(body)
    upstream.headers.append(dict(request.headers))
    if body["model"] == "held":
        await upstream.released.wait()
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [{"object": "embedding", "index": i, "embedding": [float(i), 0.5]} for i in range(len(inputs))]
    total = {"prompt_tokens": 3, "total_tokens": 3}
    return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": total})


async def rerank(request: web.Request) -> web.Response:
    """Documents by the words they share with the query; neither sorted nor cut, as not every server does it."""
    body = await request.json()
    request.app[UPSTREAM].requests.append(body)
    if (model := body["model"]).startswith("status-"):
        return web.json_response({"error": {"message": "told you so"}}, status=int(model.removeprefix("status-")))
    if model == "odd":
        return web.json_response({"results": [{"index": 99, "relevance_score": 1.0}]})
    documents = body["documents"] if isinstance(body["documents"], list) else body["documents"]["content"]
    words = set(str(body["query"]).lower().split())
    scores = [len(words & set(str(document).lower().split())) for document in documents]
    results = [{"index": i, "relevance_score": 0.25 * score} for i, score in enumerate(scores)]
    return web.json_response({"id": "r1", "model": model, "results": results, "usage": {"total_tokens": 3}})


async def models(request: web.Request) -> web.Response:
    upstream: Upstream = request.app[UPSTREAM]
    upstream.headers.append(dict(request.headers))
    if request.headers.get("Authorization") == "Bearer held":
        await upstream.released.wait()
    return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in upstream.models]})


@asynccontextmanager
async def on_loopback(app: web.Application, port: int = 0) -> AsyncIterator[str]:
    """The address of an application that is served on a free port."""
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    listener = await asyncio.get_running_loop().create_server(runner.server, "127.0.0.1", port)
    try:
        host, port = listener.sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        await close(listener)
        await runner.cleanup()


async def close(listener: asyncio.Server) -> None:
    """Accept nobody any more, and close once whoever has been accepted has a handler.

    A server of asyncio that closes between the two leaves that connection open for ever.
    """
    loop = asyncio.get_running_loop()
    for listening in listener.sockets:
        loop.remove_reader(listening.fileno())
    for _ in range(5):
        await asyncio.sleep(0)
    listener.close()


@asynccontextmanager
async def answering(path: str, body: Any, status: int = 200) -> AsyncIterator[str]:
    """A server that gives this answer to a POST, and the address of its dialect."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_post(f"/v1/{path}", answer)
    async with on_loopback(app) as address:
        yield f"{address}/v1"


async def serving_endpoints(request: web.Request) -> web.Response:
    """The same list as Databricks writes it."""
    found = [{"name": name, "task": "llm/v1/chat"} for name in request.app[UPSTREAM].models]
    return web.json_response({"endpoints": found})


@asynccontextmanager
async def serving(upstream: Upstream | None = None, port: int = 0) -> AsyncIterator[Upstream]:
    """The server on a free port of the loopback."""
    upstream = upstream or Upstream()
    app = web.Application()
    app[UPSTREAM] = upstream
    app.router.add_post("/v1/chat/completions", generate)
    app.router.add_post("/v1/completions", generate)
    app.router.add_post("/v1/embeddings", embeddings)
    app.router.add_post("/v1/rerank", rerank)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/api/2.0/serving-endpoints", serving_endpoints)
    upstream.loop = asyncio.get_running_loop()
    async with on_loopback(app, port) as address:
        upstream.url = f"{address}/v1"
        try:
            yield upstream
        finally:
            upstream.released.set()


@contextmanager
def in_thread() -> Iterator[Upstream]:
    """The server for tests that block."""
    with on_a_thread(serving()) as upstream:
        yield upstream


@contextmanager
def on_a_thread(serving: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """What is served, on a loop and a thread of its own: it outlives a test's loop, and other processes ask it too."""
    loop, over = asyncio.new_event_loop(), asyncio.Event()
    begun: Future[T] = Future()

    async def serve() -> None:
        try:
            async with serving as served:
                begun.set_result(served)
                await over.wait()
        except BaseException as error:  # of whatever kind: the test is told, which waits
            if begun.done():
                raise
            begun.set_exception(error)

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()], name="serving", daemon=True)
    thread.start()
    try:
        yield begun.result()
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
