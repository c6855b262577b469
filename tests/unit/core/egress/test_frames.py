"""Amazon's binary event streams: every frame once, however it is cut, and a failure as the status it stands for."""

import itertools
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from llamastack.egress import Egress
from llamastack.egress.frames import FrameFailure, events, headers_of
from llamastack.errors import RateLimited, StackError, UpstreamError, UpstreamRejected, UpstreamTimeout
from llamastack.sse import MAX_EVENT_BYTES, MalformedStream
from tests.frames import MEDIA_TYPE, frame, packed, sealed
from tests.upstream import on_loopback

HELLO = frame("contentBlockDelta", {"delta": {"text": "Hello"}, "contentBlockIndex": 0})
END = frame("messageStop", {"stopReason": "end_turn"})


async def pieces(data: bytes, cuts: Iterable[int] = ()) -> AsyncIterator[bytes]:
    for begin, end in itertools.pairwise([0, *sorted(cuts), len(data)]):
        yield data[begin:end]


async def read(data: bytes, cuts: Iterable[int] = ()) -> list[dict[str, Any]]:
    return [event async for event in events(pieces(data, cuts))]


async def test_each_frame_is_an_object_under_its_events_name() -> None:
    assert await read(HELLO + END) == [
        {"contentBlockDelta": {"delta": {"text": "Hello"}, "contentBlockIndex": 0}},
        {"messageStop": {"stopReason": "end_turn"}},
    ]


texts = st.dictionaries(st.text("abc:-", min_size=1, max_size=9), st.text(max_size=20), max_size=4)
frames = st.lists(
    st.builds(
        lambda more, said: packed({":message-type": "event", ":event-type": "e"} | more, said), texts, st.just(b"{}")
    )
    | st.builds(lambda said: frame("delta", {"text": said}), st.text(max_size=60)),
    max_size=5,
)


@given(frames, st.data())
async def test_any_cut_gives_the_same_frames_and_botocore_reads_them_too(
    each: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(each)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=8))
    read_whole = await read(whole)
    assert await read(whole, cuts) == read_whole
    buffer = EventStreamBuffer()
    buffer.add_data(whole)
    theirs = [message.to_response_dict() for message in buffer]
    assert [list(one) for one in read_whole] == [[one["headers"][":event-type"]] for one in theirs]
    assert len(read_whole) == len(each)


@given(st.integers(0, len(HELLO) - 1), st.integers(1, 255))
async def test_a_byte_that_has_changed_is_never_read(place: int, change: int) -> None:
    changed = bytearray(HELLO)
    changed[place] ^= change
    with pytest.raises(MalformedStream):
        await read(bytes(changed) + END)


@pytest.mark.parametrize("kept", [1, 11, 12, len(HELLO) - 1])
async def test_a_stream_that_ends_within_a_frame_is_broken(kept: int) -> None:
    with pytest.raises(MalformedStream, match="within a frame"):
        await read(END + HELLO[:kept])


async def test_a_frame_that_claims_to_be_larger_than_any_is_not_waited_for() -> None:
    from zlib import crc32

    prelude = struct.pack(">II", MAX_EVENT_BYTES + 1, 0)
    with pytest.raises(MalformedStream, match="claims"):
        await read(prelude + struct.pack(">I", crc32(prelude)))


@pytest.mark.parametrize(
    "odd",
    [
        packed({":message-type": "event", ":event-type": "e"}, b"no json"),
        packed({}, b"{}"),
        packed({":message-type": "greeting"}, b"{}"),
        sealed(b"\x05ab", b"{}"),
        sealed(b"\x01a\x63", b"{}"),
        sealed(b"\x01a\x07\x00\x09ab", b"{}"),
        sealed(b"\x01a\x07\x00\x01\xff", b"{}"),
    ],
)
async def test_what_is_no_event_is_an_error(odd: bytes) -> None:
    with pytest.raises(MalformedStream):
        await read(odd)


def test_headers_of_every_type_are_passed_over() -> None:
    fixed = b"".join(
        bytes([1, 97, kind]) + bytes(size) for kind, size in {0: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}.items()
    )
    assert headers_of(fixed + b"\x01b\x06\x00\x02xy" + b"\x01c\x07\x00\x02hi") == {"c": "hi"}


async def test_a_failure_ends_the_events() -> None:
    with pytest.raises(FrameFailure) as caught:
        await read(HELLO + frame("throttlingException", {"message": "Too many tokens."}, "exception") + END)
    assert caught.value.status == 429


@asynccontextmanager
async def streaming(data: bytes) -> AsyncIterator[Egress]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=data, headers={"Content-Type": MEDIA_TYPE})

    app = web.Application()
    app.router.add_post("/stream", answer)
    async with on_loopback(app) as url:
        egress = Egress(url, "Provider 'x'")
        try:
            yield egress
        finally:
            await egress.close()


async def test_an_egress_reads_them_as_a_stream_and_at_once() -> None:
    async with streaming(HELLO + END) as egress:
        assert [event async for event in egress.stream("stream", {})] == await read(HELLO + END)
        assert await egress.post("stream", {}) == await read(HELLO + END)


FAILURES: dict[tuple[str, str], tuple[type[StackError], int]] = {
    ("throttlingException", "exception"): (RateLimited, 429),
    ("validationException", "exception"): (UpstreamRejected, 400),
    ("accessDeniedException", "exception"): (UpstreamRejected, 403),
    ("modelTimeoutException", "exception"): (UpstreamTimeout, 504),
    ("modelStreamErrorException", "exception"): (UpstreamError, 502),
    ("internalServerException", "exception"): (UpstreamError, 502),
    ("somethingNewException", "exception"): (UpstreamError, 502),
    ("InternalFailure", "error"): (UpstreamError, 502),
}


@pytest.mark.parametrize(("failure", "meant"), FAILURES.items())
async def test_a_failure_in_a_frame_is_what_its_status_would_be(
    failure: tuple[str, str], meant: tuple[type[StackError], int]
) -> None:
    name, kind = failure
    said: Any = "It is so." if kind == "error" else {"message": "It is so."}
    async with streaming(HELLO + frame(name, said, kind)) as egress:
        stream = egress.stream("stream", {})
        assert (await anext(stream)).keys() == {"contentBlockDelta"}
        with pytest.raises(meant[0], match="It is so") as caught:
            await anext(stream)
    assert caught.value.status == meant[1]


async def test_a_cut_stream_is_broken() -> None:
    async with streaming(HELLO + END[:-3]) as egress:
        with pytest.raises(UpstreamError, match="within a frame"):
            [event async for event in egress.stream("stream", {})]
