"""A client that keeps the server waiting is left, by a real uvicorn whose patience is short."""

import asyncio
import signal
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from llamastack.call import AT_ONCE
from llamastack.cli.on_uvicorn import JOINED_BYTES, Http, Server, State

PIECE = b"x" * 2**16
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"


class Hasty(Http):
    head_seconds = body_seconds = reader_seconds = 0.2  # type: ignore[assignment]


hasty = pytest.mark.parametrize("server", [Hasty], indirect=True)


class Application:
    """Reads a body and answers; on /endless it sends until nobody takes it, on /held it pauses within its answer."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            self.gone.set()
            return
        if scope["path"] in ("/at_once", "/large"):
            content = b"x" * (5 if scope["path"] == "/at_once" else JOINED_BYTES + 1)
            await scope[AT_ONCE](b"content-length: %d\r\n" % len(content), content)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        if scope["path"] == "/endless":
            leaving = asyncio.create_task(receive())
            while not leaving.done():
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            self.gone.set()
        if scope["path"] == "/held":
            await send({"type": "http.response.body", "body": b"be", "more_body": True})
            await self.released.wait()
        await send({"type": "http.response.body", "body": b"read"})


@pytest.fixture
async def application() -> Application:
    return Application()


@pytest.fixture(params=[Http])
async def server(application: Application, request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    config = uvicorn.Config(application, http=request.param, port=0, lifespan="off", log_config=None)
    server = Server(config, lambda: None)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server
    await server.shutdown()


@pytest.fixture
async def connection(server: Server) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**10)
    yield reader, writer
    writer.close()


@hasty
async def test_a_head_that_does_not_end_is_left(connection: Any) -> None:
    reader, writer = connection
    writer.write(HEAD)
    assert await asyncio.wait_for(reader.read(), 20) == b""


@hasty
async def test_a_connection_on_which_nothing_is_asked_is_left(connection: Any) -> None:
    reader, _ = connection
    assert await asyncio.wait_for(reader.read(), 20) == b""


@hasty
async def test_a_body_that_does_not_come_is_left(connection: Any, application: Application) -> None:
    reader, writer = connection
    writer.write(HEAD + b"\r\nhalf")
    assert await asyncio.wait_for(reader.read(), 20) == b""
    await asyncio.wait_for(application.gone.wait(), 20)


@hasty
async def test_a_reader_who_takes_nothing_is_left(connection: Any, application: Application) -> None:
    _, writer = connection
    writer.write(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await asyncio.wait_for(application.gone.wait(), 20)


class Clock:
    """The loop of a connection: its time, and its timers that have not been cancelled, by when they ring."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: dict[float, Any] = {}

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, rings: Any) -> Any:
        self.timers[when] = rings
        return SimpleNamespace(cancel=lambda: self.timers.pop(when, None))

    def until(self, now: float) -> None:
        while self.timers and (first := min(self.timers)) <= now:
            self.now = first
            self.timers.pop(first)()
        self.now = now


def test_a_limit_counts_from_when_it_was_last_set() -> None:
    clock, closed = Clock(), list[float]()
    connection = Http(uvicorn.Config(Application(), lifespan="off", log_config=None), State(), {}, clock)  # type: ignore[arg-type]
    connection.transport = SimpleNamespace(close=lambda: closed.append(clock.now))  # type: ignore[assignment]
    connection.expect(60)
    clock.until(10)
    connection.expect(30)
    clock.until(39)
    connection.expect(30)
    assert list(clock.timers) == [40]
    clock.until(68)
    connection.expect(None)
    clock.until(200)
    assert (closed, clock.timers) == ([], {})
    connection.expect(30)
    clock.until(300)
    assert (closed, clock.timers) == ([230], {})


# --- answers that are sent at once ---


@pytest.mark.parametrize(("path", "length"), [("/at_once", 5), ("/large", JOINED_BYTES + 1)])
async def test_a_whole_answer_is_sent_at_once_and_the_connection_is_kept(
    server: Server, connection: Any, path: str, length: int
) -> None:
    server.server_state.default_headers = [(b"date", b"Mon, 23 Nov 2026 10:00:00 GMT")]
    for _ in range(2):
        head = await asked(connection, path)
        assert head.startswith(b"HTTP/1.1 200 OK\r\ndate: Mon, ")
        assert head.endswith(b"\r\ncontent-length: %d\r\n\r\n" % length)
        assert await connection[0].readexactly(length) == b"x" * length
    assert b"200 OK" in await asked(connection)


async def test_requests_that_come_together_are_answered_at_once_in_their_order(connection: Any) -> None:
    reader, writer = connection
    asks = [f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in ("/at_once", "/large", "/at_once")]
    writer.write("".join(asks).encode())
    for length in (5, JOINED_BYTES + 1, 5):
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert b"content-length: %d\r\n" % length in head
        assert await reader.readexactly(length) == b"x" * length


async def test_who_wants_no_other_answer_is_told_and_left(connection: Any) -> None:
    reader, writer = connection
    writer.write(b"GET /at_once HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 20)).endswith(b"\r\nconnection: close\r\n\r\nxxxxx")


# --- a server that leaves ---


async def asked(connection: Any, path: str = "/") -> bytes:
    """The head of the answer."""
    reader, writer = connection
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head: bytes = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    return head


async def body(connection: Any) -> bytes:
    reader, _ = connection
    whole: bytes = await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 20)
    return whole


async def left_at(server: Server, number: signal.Signals) -> asyncio.Task[None]:
    """The server's leaving, once it has told its connections."""
    server.leave(number)
    leaving = asyncio.create_task(server.shutdown())
    await asyncio.sleep(0)
    return leaving


@pytest.mark.parametrize("idle", [True, False])
async def test_who_asks_while_the_server_leaves_is_answered_and_told_that_it_is_the_last_time(
    server: Server, connection: Any, idle: bool
) -> None:
    if idle:
        assert b"connection: close" not in await asked(connection)
        await body(connection)
    leaving = await left_at(server, signal.SIGTERM)
    assert b"connection: close" in await asked(connection)
    await body(connection)
    assert await connection[0].read() == b""
    await asyncio.wait_for(leaving, 20)


async def test_an_answer_that_had_begun_ends_and_one_more_is_given(
    server: Server, connection: Any, application: Application
) -> None:
    assert b"connection: close" not in await asked(connection, "/held")
    leaving = await left_at(server, signal.SIGHUP)
    application.released.set()
    assert b"read" in await body(connection)
    assert b"connection: close" in await asked(connection)
    await asyncio.wait_for(leaving, 20)


async def test_who_asks_nothing_any_more_is_left(server: Server, connection: Any) -> None:
    await asked(connection)
    await body(connection)
    leaving = await left_at(server, signal.SIGTERM)
    assert await asyncio.wait_for(connection[0].read(), 20) == b""
    await asyncio.wait_for(leaving, 20)


async def test_with_less_patience_idle_connections_are_left_at_once(server: Server, connection: Any) -> None:
    await asked(connection)
    await body(connection)
    leaving = await left_at(server, signal.SIGHUP)
    server.leave(signal.SIGINT)
    assert await asyncio.wait_for(connection[0].read(), 20) == b""
    await asyncio.wait_for(leaving, 20)
