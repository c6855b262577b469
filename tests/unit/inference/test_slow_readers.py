"""Clients that read nothing: little is kept for each, its upstream is stopped, and in the end it is left."""

import asyncio
import gc
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
import uvicorn

from apps.registry.models import Provider
from llamastack import asgi, settings
from llamastack.cli.on_uvicorn import UNREAD_BYTES, Http, Server
from llamastack.db import db
from llamastack.egress.incoming import Incoming
from llamastack.egress.lean import LeanTransport
from llamastack.stack import LlamaStack
from tests.unit.conftest import add_provider
from tests.unit.inference.test_gateway import recorded
from tests.upstream import close, event, reply

EVENT = event(reply({"delta": {"content": "more " * 100}}, chat=True, streamed=True))
FIRST = event(reply({"delta": {"role": "assistant", "content": ""}}, chat=True, streamed=True))
BLOCKED_SECONDS = 0.3  # that an upstream cannot send, where nothing else is going on


class Eager:
    """An upstream whose answer has no end. `stopped` once nobody takes it any more, `gone` once it has been closed."""

    def __init__(self) -> None:
        self.stopped, self.gone = asyncio.Event(), asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                listed = b'{"object": "list", "data": [{"id": "sky"}]}'
                kind = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n"
                writer.write(kind + b"Content-Length: %d\r\n\r\n" % len(listed) + listed)
            else:
                await self.talk(writer)
        writer.close()

    async def talk(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + FIRST)
        try:
            while not writer.is_closing():
                writer.write(EVENT)
                if not await self.sent(writer) and not await self.sent(writer):  # once may be this machine's fault
                    self.stopped.set()
                    await writer.drain()
                await asyncio.sleep(0)  # each event by itself, as from a model
        finally:
            self.gone.set()

    async def sent(self, writer: asyncio.StreamWriter) -> bool:
        try:
            async with asyncio.timeout(BLOCKED_SECONDS):
                await writer.drain()
        except TimeoutError:
            return False
        return True


class Hasty(Http):
    reader_seconds = 3
    made: list["Hasty"]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self.made.append(self)


@pytest.fixture
async def eager() -> AsyncIterator[tuple[Eager, str]]:
    upstream = Eager()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    yield upstream, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    await close(server)


@pytest.fixture
async def row(running: LlamaStack, eager: tuple[Eager, str]) -> Provider:
    found = await db(add_provider, "eager", base_url=eager[1])
    await running.live.refresh()
    await running.live.discover(found.pk)
    return found


@pytest.fixture
async def served(running: LlamaStack) -> AsyncIterator[tuple[int, list[Hasty]]]:
    """The port of the application, and its connections."""
    kind = type("Counted", (Hasty,), {"made": []})
    config = uvicorn.Config(asgi.application, http=kind, port=0, lifespan="off", log_config=None)
    server = Server(config, lambda: None)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server.servers[0].sockets[0].getsockname()[1], kind.made  # type: ignore[attr-defined]
    await server.shutdown()


@pytest.fixture(params=["fast", "django"])
def lane(request: pytest.FixtureRequest) -> Any:
    switched, settings.FAST_LANE = settings.FAST_LANE, request.param == "fast"
    yield request.param
    settings.FAST_LANE = switched


async def unread(port: int) -> socket.socket:
    """A request for a stream, by a client that has room for little."""
    body = json.dumps({"model": "eager/sky", "messages": [{"role": "user", "content": "Hello"}], "stream": True})
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    await loop.sock_sendall(client, f"{head}Content-Type: application/json\r\n\r\n{body}".encode())
    return client


def waiting() -> int:
    """The bytes of upstreams that have been read and not yet looked at, whoever has read them."""
    found = gc.get_objects()
    lean = sum(one.size for one in found if type(one) is Incoming)
    return lean + sum(one._size for one in found if type(one) is aiohttp.StreamReader)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["lean", "aiohttp"])
async def test_a_client_that_reads_nothing_stops_its_upstream_and_is_left(
    served: tuple[int, list[Hasty]],
    running: LlamaStack,
    eager: tuple[Eager, str],
    row: Provider,
    lane: str,
    transport: str,
) -> None:
    live = running.live.pool.live(row.pk)
    assert live is not None
    egress: Any = live.provider.egress  # type: ignore[attr-defined]
    assert isinstance(egress.transport, LeanTransport)
    if transport == "aiohttp":
        egress.transport = egress.transport.full
    upstream, (port, made) = eager[0], served
    client = await unread(port)
    try:
        async with asyncio.timeout(60):
            await upstream.stopped.wait()
            [connection] = made
            unsent = connection.transport.get_write_buffer_size()
            assert 0 < unsent <= UNREAD_BYTES + 2 * len(EVENT)
            assert unsent + waiting() <= 64 * 1024 + 4 * len(EVENT)
            await upstream.gone.wait()
        [record] = await recorded(running, "lane", "status", "whole", "estimated")
        assert record == (lane, 499, False, True)
    finally:
        client.close()
