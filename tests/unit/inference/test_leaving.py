"""A client that goes, at every stage of a stream that it wants stored: who is left, what is recorded, what is kept."""

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import uvicorn
from django.db import connection, transaction

from apps.inference.models import StoredCompletion
from apps.registry.models import Provider
from llamastack import asgi, settings
from llamastack.cli.on_uvicorn import Http, Server
from llamastack.db import db
from llamastack.pool import Running
from llamastack.stack import LlamaStack
from tests.unit.conftest import add_provider
from tests.unit.inference.test_gateway import recorded
from tests.upstream import WORDS, close, event, reply

PATIENCE_SECONDS = 10
BEGUN = event(reply({"delta": {"role": "assistant", "content": ""}}, chat=True, streamed=True))
SAID = [event(reply({"delta": {"content": word}}, chat=True, streamed=True)) for word in WORDS]
ENDED = event(reply({"delta": {}, "finish_reason": "stop"}, chat=True, streamed=True))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
# What the upstream sends before it waits until it is left.
STAGES = {
    "before the head": b"",
    "before the first event": HEAD,
    "between events": HEAD + BEGUN + SAID[0],
    "before the end": HEAD + BEGUN + b"".join(SAID),
    "before [DONE]": HEAD + BEGUN + b"".join(SAID) + ENDED,
}


class Waiting:
    """An upstream that sends so much, and then waits. `gone` once it has been left."""

    def __init__(self) -> None:
        self.sends = b""
        self.asked, self.gone = asyncio.Event(), asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                listed = b'{"object": "list", "data": [{"id": "sky"}]}'
                kind = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n"
                writer.write(kind + b"Content-Length: %d\r\n\r\n" % len(listed) + listed)
            else:
                told = re.search(rb"(?i)content-length: (\d+)", head)
                assert told
                await reader.readexactly(int(told[1]))
                writer.write(self.sends)
                self.asked.set()
                if not self.sends.endswith(b"[DONE]\n\n"):
                    await reader.read()
                    self.gone.set()
        writer.close()


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Waiting, str]]:
    waiting = Waiting()
    server = await asyncio.start_server(waiting.serve, "127.0.0.1", 0)
    yield waiting, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    await close(server)


@pytest.fixture(params=["fast", "django"])
def lane(request: pytest.FixtureRequest) -> Iterator[str]:
    switched, settings.FAST_LANE = settings.FAST_LANE, request.param == "fast"
    yield request.param
    settings.FAST_LANE = switched


@pytest.fixture
async def row(running: LlamaStack, upstream: tuple[Waiting, str]) -> Provider:
    found = await db(add_provider, "waiting", base_url=upstream[1])
    await running.live.refresh()
    await running.live.discover(found.pk)
    return found


@pytest.fixture
async def port(running: LlamaStack) -> AsyncIterator[int]:
    config = uvicorn.Config(asgi.application, http=Http, port=0, lifespan="off", log_config=None)
    server = Server(config, lambda: None)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    found: int = server.servers[0].sockets[0].getsockname()[1]
    yield found
    await server.shutdown()


def request(length: int = 0) -> bytes:
    hello = [{"role": "user", "content": "Hello"}]
    body = json.dumps({"model": "waiting/sky", "messages": hello, "stream": True, "store": True})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body) + length}\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n{body}".encode()


async def until_settled(live: Running) -> None:
    while live.calls:
        await asyncio.sleep(0.01)


async def rows(kind: Any) -> int:
    return await db(kind.objects.count)


@pytest.mark.parametrize("stage", STAGES)
async def test_a_client_that_goes_leaves_its_upstream_and_nothing_is_stored(
    running: LlamaStack, row: Provider, upstream: tuple[Waiting, str], port: int, lane: str, stage: str
) -> None:
    waiting = upstream[0]
    waiting.sends = STAGES[stage]
    live = running.live.pool.live(row.pk)
    assert live
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request())
        await waiting.asked.wait()
        for word in WORDS[: waiting.sends.count(b'{"content": ') - waiting.sends.count(BEGUN)]:
            await reader.readuntil(word.encode())
        writer.close()
        await waiting.gone.wait()
        await until_settled(live)
    parts = waiting.sends.count(b'"delta": {"content"')
    [record] = await recorded(running, "lane", "status", "whole", "output_tokens")
    assert record == (lane, 499, False, parts or None)
    assert await rows(StoredCompletion) == 0


async def test_of_a_client_that_goes_within_its_body_nothing_is_asked_or_recorded(
    running: LlamaStack, row: Provider, upstream: tuple[Waiting, str], port: int, lane: str
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(length=1))
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await recorded(running) == []
    assert not upstream[0].asked.is_set()


@contextmanager
def locked() -> Iterator[None]:
    """Nobody else stores a completion meanwhile."""
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            if connection.vendor == "postgresql":
                connection.cursor().execute(f"LOCK TABLE {StoredCompletion._meta.db_table} IN ACCESS EXCLUSIVE MODE")
            held.set()
            over.wait(PATIENCE_SECONDS)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(PATIENCE_SECONDS)
    try:
        yield
    finally:
        over.set()
        thread.join()


async def test_a_whole_answer_is_stored_though_its_client_goes_while_it_is(
    running: LlamaStack, row: Provider, upstream: tuple[Waiting, str], port: int, lane: str
) -> None:
    waiting = upstream[0]
    waiting.sends = STAGES["before [DONE]"] + b"data: [DONE]\n\n"
    live = running.live.pool.live(row.pk)
    assert live
    async with asyncio.timeout(PATIENCE_SECONDS):
        with locked():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request())
            await reader.readuntil(WORDS[-1].encode())
            writer.close()
            await until_settled(live)
    assert await recorded(running, "lane", "output_tokens") == [(lane, len(WORDS))]
    assert await rows(StoredCompletion) == 1
