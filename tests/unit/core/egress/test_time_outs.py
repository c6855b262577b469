"""Limits of time: the connection, the first byte, silence, and all of a call."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from llamastack.egress import Timeouts
from llamastack.errors import UpstreamTimeout
from tests.unit.core.egress.speaking import OK, SHORT, Handler, asking, saying, streamed, upstream

pytestmark = pytest.mark.usefixtures("each_transport")

LONG = 30.0
EVENT = b'data: {"a": 1}\n\n'


@pytest.fixture
def full() -> Iterator[str]:
    """An address that answers no connection: its queue of them is full."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        clients = [socket.socket() for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}"
        for client in clients:
            client.close()


def trickling(head: bytes, piece: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)

    return handler


def test_they_are_5_60_60_and_600_seconds() -> None:
    assert Timeouts() == Timeouts(connect=5, first_byte=60, idle=60, total=600)


async def test_an_address_that_takes_no_connection_is_given_up(full: str) -> None:
    egress = asking(full, timeouts=Timeouts(connect=0.2))
    for call in (egress.get("models"), streamed(egress)):
        with pytest.raises(UpstreamTimeout, match="'x' cannot be reached at http://127"):
            await call
    await egress.close()


async def test_tls_that_never_shakes_hands_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with upstream(silent) as plain:
        egress = asking(plain.base_url.replace("http:", "https:"), timeouts=Timeouts(connect=0.2))
        with pytest.raises(UpstreamTimeout, match="cannot be reached"):
            await egress.get("models")
        await egress.close()


@pytest.mark.parametrize("handler", [saying(then_hang=True), trickling(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x")])
async def test_who_never_answers_is_given_up_though_headers_trickle(handler: Handler) -> None:
    async with upstream(handler, SHORT) as egress:
        with pytest.raises(UpstreamTimeout, match=r"did not answer within 0\.3 s"):
            await egress.get("models")
        with pytest.raises(UpstreamTimeout, match=r"sent no first byte within 0\.2 s"):
            await streamed(egress)


async def test_a_stream_whose_body_does_not_begin_is_given_up() -> None:
    async with upstream(saying(OK, then_hang=True), Timeouts(first_byte=0.2)) as egress:
        with pytest.raises(UpstreamTimeout, match="first byte"):
            await streamed(egress)


async def test_an_error_that_trickles_is_given_up() -> None:
    head = b"HTTP/1.1 500 Oh\r\nContent-Length: 9000\r\n\r\n"
    async with upstream(trickling(head, b"x"), SHORT) as egress:
        with pytest.raises(UpstreamTimeout, match="first byte"):
            await streamed(egress)


async def test_a_stream_that_falls_silent_is_given_up() -> None:
    async with upstream(saying(OK, EVENT, then_hang=True), Timeouts(first_byte=LONG, idle=0.2)) as egress:
        events = egress.stream("x", {})
        assert await anext(events) == {"a": 1}
        with pytest.raises(UpstreamTimeout, match=r"sent nothing for 0\.2 s"):
            await anext(events)


async def test_chunk_sizes_that_trickle_are_no_bytes_of_the_body() -> None:
    head = OK.replace(b"Connection: close", b"Transfer-Encoding: chunked") + b"10\r\n" + EVENT + b"\r\n"
    async with upstream(trickling(head, b"0"), Timeouts(first_byte=LONG, idle=0.2)) as egress:
        with pytest.raises(UpstreamTimeout, match="sent nothing"):
            await streamed(egress)


async def test_a_stream_may_last_longer_than_any_limit() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        for _ in range(12):
            writer.write(EVENT)
            await writer.drain()
            await asyncio.sleep(0.2)
        writer.write(b"data: [DONE]\n\n")

    async with upstream(slow, Timeouts(first_byte=LONG, idle=2, total=0.3)) as egress:
        assert await streamed(egress) == [{"a": 1}] * 12


async def test_who_reads_slowly_is_not_held_against_the_upstream() -> None:
    async with upstream(saying(OK + EVENT * 3 + b"data: [DONE]\n\n"), Timeouts(first_byte=LONG, idle=0.1)) as egress:
        events = egress.stream("x", {})
        await anext(events)
        await asyncio.sleep(0.2)
        assert [event async for event in events] == [{"a": 1}] * 2


async def test_a_stream_may_be_read_by_one_task_after_another() -> None:
    async with upstream(saying(OK + EVENT * 2 + b"data: [DONE]\n\n")) as egress:
        events = egress.stream("x", {})
        for _ in range(2):
            assert await asyncio.create_task(anext(events)) == {"a": 1}
        assert await asyncio.create_task(anext(events, None)) is None
