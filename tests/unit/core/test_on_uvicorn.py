"""A client that keeps the server waiting is left, by a real uvicorn whose patience is short."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from llamastack.cli.on_uvicorn import Http

PIECE = b"x" * 2**16
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"


class Hasty(Http):
    head_seconds = body_seconds = reader_seconds = 0.2  # type: ignore[assignment]


class Application:
    """Reads a body and answers; on /endless it sends until nobody takes it."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            self.gone.set()
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        if scope["path"] == "/endless":
            leaving = asyncio.create_task(receive())
            while not leaving.done():
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            self.gone.set()
        await send({"type": "http.response.body", "body": b"read"})


@pytest.fixture
async def application() -> Application:
    return Application()


@pytest.fixture
async def connection(application: Application) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = uvicorn.Config(application, http=Hasty, port=0, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**10)
    yield reader, writer
    writer.close()
    await server.shutdown()


async def test_a_head_that_does_not_end_is_left(connection: Any) -> None:
    reader, writer = connection
    writer.write(HEAD)
    assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_a_connection_on_which_nothing_is_asked_is_left(connection: Any) -> None:
    reader, _ = connection
    assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_a_body_that_does_not_come_is_left(connection: Any, application: Application) -> None:
    reader, writer = connection
    writer.write(HEAD + b"\r\nhalf")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    await asyncio.wait_for(application.gone.wait(), 5)


async def test_a_reader_who_takes_nothing_is_left(connection: Any, application: Application) -> None:
    _, writer = connection
    writer.write(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await asyncio.wait_for(application.gone.wait(), 5)
