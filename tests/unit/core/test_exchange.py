"""A request to an ASGI application from another thread: what the caller gets, and what the application is told."""

import asyncio
import json
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from llamastack.exchange import AHEAD, Application, BrokenOff, Exchange, Head, Piece

SCOPE = {"type": "http", "method": "GET", "path": "/"}
Inbox = queue.SimpleQueue[Piece]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop in a thread of its own, as the Stack's is."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def begun(loop: asyncio.AbstractEventLoop, application: Application, body: bytes = b"") -> tuple[Exchange, Inbox]:
    inbox: Inbox = queue.SimpleQueue()
    exchange = Exchange(loop, SCOPE, body, inbox)
    asyncio.run_coroutine_threadsafe(exchange.run(application), loop)
    return exchange, inbox


def taken(inbox: Inbox) -> Piece:
    return inbox.get(timeout=30)


async def start(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-made", b"here")]})


async def part(send: Any, body: bytes, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


def test_a_whole_answer_is_one_piece(loop: asyncio.AbstractEventLoop) -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        asked = await receive()
        await start(send)
        await part(send, asked["body"], more=asked["more_body"])

    exchange, inbox = begun(loop, echo, b"hello")
    assert taken(inbox) == Head(200, [(b"x-made", b"here")], b"hello", whole=True)
    exchange.cancel()
    assert inbox.empty()


def test_a_stream_comes_in_pieces_and_ends(loop: asyncio.AbstractEventLoop) -> None:
    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for body in (b"one", b"two", b""):
            await part(send, body)
        await part(send, b"three", more=False)

    _, inbox = begun(loop, stream)
    head = taken(inbox)
    assert isinstance(head, Head)
    assert (head.body, head.whole) == (b"one", False)
    assert [taken(inbox) for _ in range(3)] == [b"two", b"three", None]


def test_a_caller_that_goes_is_told_as_a_disconnect(loop: asyncio.AbstractEventLoop) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    async def listen(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        told.put("listens")
        told.put(await receive())

    exchange, inbox = begun(loop, listen)
    assert told.get(timeout=30) == "listens"
    exchange.cancel()
    assert told.get(timeout=30) == {"type": "http.disconnect"}
    assert isinstance(taken(inbox), BrokenOff)


def test_a_slow_reader_holds_the_application_up(loop: asyncio.AbstractEventLoop) -> None:
    """It is held with the inbox full, goes on when half of it was read, and nothing is lost."""
    pieces = 5 * AHEAD

    async def hasty(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        for number in range(pieces):
            await part(send, b"%d" % number)
        await part(send, b"", more=False)

    exchange, inbox = begun(loop, hasty)
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()  # comes after the application's first wait
    assert inbox.qsize() == AHEAD
    head = taken(inbox)
    assert isinstance(head, Head)
    said = [head.body]
    while (piece := taken(inbox)) is not None:
        assert isinstance(piece, bytes)
        said.append(piece)
        exchange.taken()
        assert inbox.qsize() <= AHEAD
    assert said == [b"%d" % number for number in range(pieces)]


def test_a_reader_who_goes_while_the_application_is_held_sets_it_free(loop: asyncio.AbstractEventLoop) -> None:
    ended = threading.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await start(send)
        gone = asyncio.create_task(receive())
        while not gone.done():
            await part(send, b"more")
            await asyncio.sleep(0)
        ended.set()

    exchange, inbox = begun(loop, endless)
    while inbox.qsize() < AHEAD:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()
    exchange.cancel()
    assert ended.wait(30)


def test_a_failure_before_the_answer_is_a_500(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("a fault of ours")

    head = taken(begun(loop, fail)[1])
    assert isinstance(head, Head)
    assert head.status == 500
    assert json.loads(head.body)["error"]["message"] == "The stack failed to answer this request; the log says more."
    assert "a fault of ours" in caplog.text


def test_a_failure_within_the_answer_breaks_it_off(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await part(send, b"half")
        raise ValueError("a fault of ours")

    _, inbox = begun(loop, fail)
    assert isinstance(taken(inbox), Head)
    assert isinstance(taken(inbox), BrokenOff)


def test_an_exchange_that_is_cancelled_tells_its_caller(loop: asyncio.AbstractEventLoop) -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    inbox: Inbox = queue.SimpleQueue()
    exchange = Exchange(loop, SCOPE, b"", inbox)
    future = asyncio.run_coroutine_threadsafe(exchange.run(never), loop)
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()
    future.cancel()
    assert isinstance(taken(inbox), BrokenOff)
