"""No reply takes more memory than its cap and a piece, however small it is when packed."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable

import pytest

from llamastack.egress import Egress, Timeouts
from llamastack.egress.bodies import MAX_ERROR_BYTES, MAX_REPLY_BYTES, capped
from llamastack.egress.failures import Nonsense
from llamastack.egress.transport import READ_AHEAD_BYTES
from llamastack.errors import UpstreamError
from tests.unit.core.egress.speaking import OK, answer, saying, streamed, upstream

pytestmark = pytest.mark.usefixtures("each_transport")

MIB = 1024 * 1024
PACKED: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


def bomb(encoding: str) -> bytes:
    """256 MiB of blanks in 256 KiB, as the answer of an upstream."""
    body = PACKED[encoding](b" " * (256 * MIB))
    return answer("200 OK", body, b"Content-Encoding: " + encoding.encode())


async def peak(egress: Egress, call: Callable[[Egress], object]) -> int:
    """The memory that a call takes which is refused for what came."""
    tracemalloc.start()
    try:
        with pytest.raises(UpstreamError, match=r"(more|longer) than"):
            await call(egress)  # type: ignore[misc]
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", PACKED)
async def test_a_small_body_that_unpacks_to_a_large_one_is_refused_at_the_cap(encoding: str) -> None:
    async with upstream(saying(bomb(encoding))) as egress:
        # A bytearray takes an eighth more than it holds, and is moved when it grows.
        assert await peak(egress, lambda egress: egress.get("models")) < 2.3 * MAX_REPLY_BYTES


@pytest.mark.parametrize("encoding", PACKED)
async def test_so_is_a_stream_at_the_longest_event(encoding: str) -> None:
    async with upstream(saying(bomb(encoding))) as egress:
        assert await peak(egress, streamed) < 4 * 8 * MIB


@pytest.mark.parametrize("encoding", PACKED)
async def test_so_is_an_error_at_its_own_cap(encoding: str) -> None:
    packed = bomb(encoding).replace(b"200 OK", b"400 Bad", 1)
    async with upstream(saying(packed)) as egress:
        tracemalloc.start()
        with pytest.raises(UpstreamError):
            await egress.get("models")
        assert tracemalloc.get_traced_memory()[1] < MAX_ERROR_BYTES + 12 * READ_AHEAD_BYTES
        tracemalloc.stop()


async def test_one_upstream_may_have_caps_of_its_own() -> None:
    body = b'data: {"a": 1}\n\n' + b"\n" * 100 + b"data: [DONE]\n\n"
    async with upstream(saying(answer("200 OK", body, b"Content-Type: text/event-stream"))) as egress:
        assert await streamed(egress) == [{"a": 1}]
        egress.max_reply_bytes = egress.max_stream_bytes = 100
        for call in (egress.get("models"), streamed(egress)):
            with pytest.raises(UpstreamError, match="more than 100 bytes"):
                await call


async def test_the_pieces_of_a_stream_are_counted() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 10

    assert [piece async for piece in capped(pieces(), 40)] == [b"x" * 10] * 4
    with pytest.raises(Nonsense, match="more than 39 bytes"):
        assert [piece async for piece in capped(pieces(), 39)]


async def test_what_nobody_reads_stops_the_upstream() -> None:
    sent = 0

    async def eager(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        while not writer.is_closing():
            writer.write(b'data: {"a": 1}\n\n' * 1000)
            await writer.drain()
            sent += 16_000

    async with upstream(eager) as egress:
        events = egress.stream("x", {})
        await anext(events)
        while True:
            before = sent
            await asyncio.sleep(0.1)
            if sent == before:
                break
        assert sent < 64 * MIB
        await events.aclose()


async def test_a_server_that_sends_interim_answers_for_ever_is_left() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    async with upstream(saying(3 * early + answer("200 OK", b"{}"))) as egress:
        assert await egress.get("models") == {}

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while not writer.is_closing():
            writer.write(1000 * early)
            await writer.drain()

    async with upstream(endless, Timeouts()) as egress:
        with pytest.raises(UpstreamError, match="broke"):
            await egress.get("models")
