"""Reading a reply: however its bytes are cut it is the same one, and none that is in doubt is taken for whole."""

from itertools import pairwise
from random import Random

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from llamastack.egress.incoming import MOST_HEADERS, MOST_LINE_BYTES, MOST_OTHER_BYTES, Endless, Incoming, Unreadable
from tests.chaos.faults import MUTATIONS

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\nHello world"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n6;a=b\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"
OPEN = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nHello world"
HINTED = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + LENGTH
EMPTY = b"HTTP/1.1 204 No Content\r\nX-Empty:\r\n\r\n"
WIRES = [LENGTH, CHUNKED, OPEN, HINTED, EMPTY, LENGTH.replace(b"1.1", b"1.0")]


def read(*pieces: bytes) -> Incoming:
    incoming = Incoming()
    for piece in pieces:
        incoming.feed(piece)
    return incoming


def outcome(*pieces: bytes) -> object:
    """All that a caller could tell of a reply."""
    incoming = Incoming()
    try:
        for piece in pieces:
            incoming.feed(piece)
    except Unreadable:
        return "unreadable", incoming.begun
    if not incoming.begun:
        return "not begun"
    told = {name: value.strip() for name, value in incoming.headers}
    return incoming.status, incoming.reason, told, incoming.take(), incoming.whole, incoming.unbounded


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    at = sorted({0, len(wire), *(place % (len(wire) + 1) for place in places)})
    return [wire[start:end] for start, end in pairwise(at)]


@given(some.sampled_from(WIRES), some.lists(some.integers(0, 500), max_size=12))
def test_however_it_is_cut_it_is_the_same_reply(wire: bytes, places: list[int]) -> None:
    assert outcome(*cut(wire, places)) == outcome(wire)


@pytest.mark.parametrize(("follows", "clean"), [(b"", True), (b"H", False), (LENGTH, False)])
@pytest.mark.parametrize("within", [1, 6])
def test_what_follows_a_body_of_a_told_length_is_none_of_it(follows: bytes, clean: bool, within: int) -> None:
    incoming = read(LENGTH[:-within], LENGTH[-within:] + follows)
    assert (incoming.take(), incoming.whole, incoming.clean) == (b"Hello world", True, clean)


@pytest.mark.parametrize("wire", WIRES)
def test_byte_by_byte_too(wire: bytes) -> None:
    assert outcome(*(bytes([byte]) for byte in wire)) == outcome(wire)


@given(some.sampled_from([LENGTH, CHUNKED, HINTED]), some.integers(0, 500))
def test_no_beginning_of_a_reply_is_whole(wire: bytes, length: int) -> None:
    assert not read(wire[: length % len(wire)]).whole


@given(some.sampled_from(WIRES), some.integers(0, 2**32), some.integers(1, 3), some.lists(some.integers(0, 500)))
@settings(max_examples=1000)
def test_a_mutated_reply_is_one_thing_only_and_what_another_reader_says(
    wire: bytes, seed: int, times: int, places: list[int]
) -> None:
    chance = Random(seed)
    for _ in range(times):
        wire = chance.choice(MUTATIONS)(wire, chance)
    found, split = outcome(wire), outcome(*cut(wire, places))
    assert isinstance(found, tuple) == isinstance(split, tuple)
    if isinstance(found, tuple) and isinstance(split, tuple) and "unreadable" not in (found[0], split[0]):
        assert found == split
    if isinstance(found, tuple) and len(found) > 2 and found[4]:
        body = judged(wire)
        assert body is None or body == found[3]


def judged(wire: bytes) -> bytes | None:
    """The body as h11 reads it; None where that takes it for no HTTP, or for none that is whole."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    reader.send(h11.EndOfMessage())
    body = b""
    try:
        reader.receive_data(wire)
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            if event in (h11.NEED_DATA, h11.PAUSED):
                return None
            body += bytes(event.data) if isinstance(event, h11.Data) else b""
    except h11.RemoteProtocolError:
        return None
    return body


@given(some.binary(max_size=300))
def test_bytes_that_are_no_http_are_refused_or_waited_for(data: bytes) -> None:
    assert outcome(data)[0] in ("unreadable", "n")  # type: ignore[index]


def head(*lines: bytes, status: bytes = b"200 OK", version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([version + b" " + status, *lines]) + b"\r\n\r\n"


@pytest.mark.parametrize(
    "wire",
    [
        head(b"Content-Length: 5", b"Content-Length: 6") + b"Hello",
        head(b"Content-Length: 5", b"Content-Length: 5") + b"Hello",
        head(b"Content-Length: 5, 5") + b"Hello",
        head(b"Content-Length: +5") + b"Hello",
        head(b"Content-Length: -1"),
        head(b"Content-Length: 0x5") + b"Hello",
        head(b"Content-Length:") + b"Hello",
        head(b"Content-Length: 99999999999999999999999"),
        head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head(b"Transfer-Encoding: chunked", b"Content-Length: 5") + b"0\r\n\r\n",
        head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity") + b"0\r\n\r\n",
        head(b"Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n",
        head(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
        head(b"Transfer-Encoding: xchunked") + b"0\r\n\r\n",
        head(b"Transfer-Encoding: identity") + b"Hello",
        head(b"Transfer-Encoding : chunked") + b"0\r\n\r\n",
        head(b"X-Folded: a", b" Content-Length: 5"),
        head(b"X-Null: a\0b"),
        head(b": a"),
        head(b"Content-Length: 5", version=b"HTTP/0.9"),
        head(b"Content-Length: 5", version=b"HTTP/2.0"),
        head(b"Content-Length: 5", version=b"ICY"),
        head(b"Upgrade: websocket", b"Connection: upgrade", status=b"101 Switching Protocols"),
        head(status=b"099 Low"),
        head(status=b"20 OK"),
        head(b"Transfer-Encoding: chunked") + b"-1\r\n",
        head(b"Transfer-Encoding: chunked") + b"5\r\nHelloX\r\n",
        head(b"Transfer-Encoding: chunked") + b"fffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\nHello",
        b"<html>Hello</html>",
        b"\x15\x03\x01\x00\x02\x02",
    ],
)
def test_what_could_be_read_in_two_ways_is_read_in_none(wire: bytes) -> None:
    with pytest.raises(Unreadable):
        read(wire)


@pytest.mark.parametrize(
    "wire",
    [
        head(b"X-Long: " + b"a" * MOST_LINE_BYTES, b"Content-Length: 0"),
        head(*[b"X: 1"] * (MOST_HEADERS + 1), b"Content-Length: 0"),
        head(status=b"200 " + b"a" * (MOST_LINE_BYTES + 1)),
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * MOST_OTHER_BYTES,
        head(b"Transfer-Encoding: chunked") + b"1\r\na\r\n0\r\nX-Long: " + b"a" * (MOST_OTHER_BYTES + 1000),
        head(b"Transfer-Encoding: chunked") + b"1;" + b"a" * MOST_OTHER_BYTES,
    ],
)
def test_a_head_and_what_stands_beside_chunks_have_bounds(wire: bytes) -> None:
    with pytest.raises(Unreadable):
        read(*(wire[start : start + 1000] for start in range(0, len(wire), 1000)))


def test_a_few_interim_answers_are_passed_over_and_many_at_once_are_not() -> None:
    early = b"HTTP/1.1 102 Processing\r\n\r\n"
    assert read(16 * early, 16 * early, LENGTH).take() == b"Hello world"
    with pytest.raises(Endless):
        read(17 * early)
    with pytest.raises(Unreadable):
        read(*[16 * early] * 200)


def test_only_a_reply_beyond_doubt_leaves_the_connection_fit_for_another() -> None:
    for wire in (LENGTH, CHUNKED, HINTED, EMPTY, head(b"Content-Length: 7", status=b"304 Not Modified")):
        assert read(wire).whole
        assert read(wire).clean
    unfit = (
        OPEN,
        head(b"Content-Length: 0", b"Connection: close"),
        head(b"Content-Length: 0", b"Connection: keep-alive", version=b"HTTP/1.0"),
        LENGTH + b"H",
        LENGTH + LENGTH,
        CHUNKED + b"0\r\n\r\n",
        EMPTY + b"Hello",
    )
    for wire in unfit:
        assert not read(wire).clean
    assert not read(LENGTH, b"\r\n").clean


def test_a_trailer_changes_nothing_of_the_head() -> None:
    trailed = head(b"Transfer-Encoding: chunked") + b"0\r\nX-Late: 1\r\n\r\n"
    assert [name for name, _ in read(trailed).headers] == [b"transfer-encoding"]
