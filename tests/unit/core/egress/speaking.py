"""An upstream that says what a test has it say, byte for byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from llamastack.egress import Egress, Timeouts
from llamastack.egress.lean import LeanTransport
from llamastack.egress.retries import Retries
from llamastack.egress.routes import Network
from llamastack.egress.transport import LiveTransport, Transport
from tests.upstream import close

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
SHORT = Timeouts(first_byte=0.2, idle=0.2, total=0.3)
TRANSPORTS: dict[str, Callable[[Timeouts, Network | None], Transport]] = {
    "lean": LeanTransport,
    "aiohttp": LiveTransport,
}
LINE_BYTES = 1024 * 1024  # the longest head that is read
chosen = "lean"  # by the fixture `each_transport`


def asking(
    url: str, headers: Mapping[str, str] | None = None, timeouts: Timeouts | None = None, network: Network | None = None
) -> Egress:
    """An egress over the transport of this test."""
    egress = Egress(url, "Provider 'x'", headers, timeouts, network)
    egress.transport = TRANSPORTS[chosen](egress.timeouts, network)
    return egress


@asynccontextmanager
async def listening(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The address of a server that has `handler` serve each connection, until it ends or the test does."""
    served: set[asyncio.Task[None] | None] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(tracked, "127.0.0.1", 0, ssl=tls, limit=LINE_BYTES)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{'https' if tls else 'http'}://{host}:{port}"
    finally:
        await close(server)
        tasks = [task for task in served if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def upstream(handler: Handler, timeouts: Timeouts | None = None) -> AsyncIterator[Egress]:
    """An egress to a server that speaks as `handler` does, byte for byte. It tries again at once."""
    served: set[asyncio.Task[None] | None] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        try:
            await handler(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(tracked, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    egress = asking(f"http://{host}:{port}/v1", {"Authorization": "Bearer sk-1234567"}, timeouts)
    egress.retries = Retries(first_pause=0)
    try:
        yield egress
    finally:
        await egress.close()
        await close(server)
        await asyncio.gather(*(task for task in served if task), return_exceptions=True)


def saying(*parts: bytes, then_hang: bool = False) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then_hang:
            await reader.read()

    return handler


async def streamed(egress: Egress) -> list[object]:
    return [event async for event in egress.stream("x", {})]


def answer(status: str, body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status.encode(), b"Content-Length: " + str(len(body)).encode(), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def in_turn(*answers: bytes) -> tuple[Handler, list[bytes]]:
    """A handler that gives a connection each of `answers`, the last one again and again; and what it was sent."""
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answers[min(len(asked), len(answers)) - 1])

    return handler, asked
