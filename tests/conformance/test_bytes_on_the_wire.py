"""Requests as nobody's library writes them: over sockets, both lanes answer each with the same status and body."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.live import Live, live

pytestmark = pytest.mark.slow

Answers = list[tuple[int, Any]]
HELLO = [{"role": "user", "content": "Hello"}]
CHAT = json.dumps({"model": "openai/sky-1", "messages": HELLO, "store": False}).encode()
STREAM = CHAT[:-1] + b', "stream": true}'
KEPT = b"POST /v1/chat/completions HTTP/1.1\r\n"
LAST = KEPT + b"Connection: close\r\n"
HOST, JSON = b"Host: localhost\r\n", b"Content-Type: application/json\r\n"


def sized(body: bytes, head: bytes = LAST + HOST + JSON, length: int | None = None) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return LAST + HOST + JSON + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + end


def holding(field: bytes) -> bytes:
    return sized(CHAT[:-1] + b", " + field + b"}")


WHOLE = "The sky is blue."
# What is sent, the statuses that come back, and whether the fast lane carries it.
REQUESTS: dict[str, tuple[bytes, list[int], bool]] = {
    "a plain one": (sized(CHAT), [200], True),
    "a stream": (sized(STREAM), [200], True),
    "chunked": (chunked(CHAT), [200], True),
    "byte by byte in chunks": (chunked(*(bytes([byte]) for byte in CHAT)), [200], True),
    "chunked with a trailer": (chunked(CHAT, end=b"0\r\nX-Late: 1\r\n\r\n"), [200], True),
    "chunked, and no end of JSON": (chunked(CHAT[:-1]), [400], False),
    "a chunk of no length": (chunked(CHAT[:9], end=b"zz\r\n"), [400], False),
    "two in one packet": (sized(CHAT, KEPT + HOST + JSON) + sized(CHAT), [200, 200], True),
    "two in one packet, the first a stream": (sized(STREAM, KEPT + HOST + JSON) + sized(CHAT), [200, 200], True),
    "two in one packet, the first wrong": (sized(b"[]", KEPT + HOST + JSON) + sized(CHAT), [400, 200], True),
    "more than its length": (sized(CHAT + b"garbage", length=len(CHAT)), [200], True),
    "a length and chunks": (
        LAST + HOST + JSON + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        [400],
        False,
    ),
    "two lengths": (sized(CHAT, LAST + HOST + JSON + b"Content-Length: 5\r\n"), [400], False),
    "one length twice": (sized(CHAT, LAST + HOST + JSON + b"Content-Length: %d\r\n" % len(CHAT)), [400], False),
    # No key is needed here.
    "two keys": (sized(CHAT, LAST + HOST + JSON + 2 * b"Authorization: Bearer lls-a\r\n"), [200], True),
    "a key that is no text": (sized(CHAT, LAST + HOST + JSON + b"Authorization: Bearer \xff\xfe\r\n"), [200], True),
    "two types": (sized(CHAT, LAST + HOST + JSON + b"Content-Type: text/plain\r\n"), [400], False),
    "one type twice": (sized(CHAT, LAST + HOST + JSON + JSON), [400], False),
    "no type": (sized(CHAT, LAST + HOST), [400], False),
    "another type": (sized(CHAT, LAST + HOST + b"Content-Type: text/plain\r\n"), [400], False),
    "two hosts": (sized(CHAT, LAST + HOST + b"Host: evil.example\r\n" + JSON), [400], False),
    "one host twice": (sized(CHAT, LAST + HOST + HOST + JSON), [400], False),
    "no host": (sized(CHAT, LAST + JSON), [400], False),
    "another host": (sized(CHAT, LAST + b"Host: evil.example\r\n" + JSON), [400], False),
    "another origin": (sized(CHAT, LAST + HOST + JSON + b"Origin: https://evil.example\r\n"), [403], False),
    "a header of 100 KB": (sized(CHAT, LAST + HOST + JSON + b"X-Long: " + b"x" * 100_000 + b"\r\n"), [200], True),
    "a thousand headers": (sized(CHAT, LAST + HOST + JSON + b"X-Many: 1\r\n" * 1000), [200], True),
    "no body": (sized(b""), [400], False),
    "no JSON": (sized(b"Hello"), [400], False),
    "no object": (sized(b"[1]"), [400], False),
    "no end": (sized(CHAT[:-1]), [400], False),
    "two objects": (sized(CHAT + CHAT), [400], False),
    "no UTF-8": (holding(b'"user": "\xff"'), [400], False),
    "half a surrogate": (holding(b'"user": "\\ud800"'), [400], False),
    "a mark of the byte order": (sized(b"\xef\xbb\xbf" + CHAT), [400], False),
    "UTF-16": (sized(CHAT.decode().encode("utf-16")), [400], False),
    "a number that is none": (holding(b'"temperature": NaN'), [400], False),
    "a number without end": (holding(b'"temperature": 1e999'), [400], False),
    "a key twice": (holding(b'"temperature": 9, "temperature": 1'), [200], False),
    "a key twice, the last one wrong": (holding(b'"temperature": 1, "temperature": 9'), [400], False),
    "10,000 lists deep": (holding(b'"logit_bias": ' + b"[" * 10_000 + b"]" * 10_000), [400], False),
    "10,000 objects deep": (holding(b'"metadata": ' + b'{"a": ' * 10_000 + b"1" + b"}" * 10_000), [400], False),
    "comments": (sized(b"/* Hello */" + CHAT), [400], False),
}


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, Live]]:
    """A server whose fast lane is open, and one without it."""
    with ExitStack() as stack:
        yield tuple(  # type: ignore[misc]  # of two
            stack.enter_context(live("uvicorn", tmp_path_factory.mktemp("lane"), LLAMA_STACK_FAST_LANE=switch))
            for switch in ("1", "0")
        )


def answers(wire: bytes) -> Answers:
    """The status and body of each answer; the body as what it says."""
    found = []
    while wire:
        head, _, wire = wire.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in head.lower():
            body = b""
            while length := int(wire.partition(b"\r\n")[0], 16):
                wire = wire.partition(b"\r\n")[2]
                body, wire = body + wire[:length], wire[length + 2 :]
            wire = wire.removeprefix(b"0\r\n\r\n")
        else:
            told = re.search(rb"(?i)content-length: (\d+)", head)
            length = int(told[1]) if told else len(wire)
            body, wire = wire[:length], wire[length:]
        found.append((int(head.split()[1]), plain(body.decode())))
    return found


def plain(body: str) -> list[Any]:
    """An answer, or the events of a stream; as text what is no JSON, such as `[DONE]` and uvicorn's own errors."""
    parts = [part.removeprefix("data: ") for part in body.strip().split("\n\n")]
    return [without_own(json.loads(part)) if part.startswith("{") else part for part in parts]


def without_own(said: Any) -> Any:
    """Without ids, times, and what is null, which Django's lane leaves out of deltas."""
    if isinstance(said, dict):
        kept = {name: value for name, value in said.items() if value is not None and name not in ("id", "created")}
        return {name: without_own(value) for name, value in kept.items()}
    if isinstance(said, list):
        return [without_own(one) for one in said]
    return re.sub("req_[0-9a-f]+", "", said) if isinstance(said, str) else said


@pytest.mark.parametrize(("sent", "statuses", "carried"), REQUESTS.values(), ids=REQUESTS)
def test_both_lanes_answer_alike(lanes: tuple[Live, Live], sent: bytes, statuses: list[int], carried: bool) -> None:
    fast, django = (lane.raw(sent) for lane in lanes)
    assert answers(fast) == answers(django)
    assert [status for status, _ in answers(fast)] == statuses
    assert (b"x-llamastack-lane: fast" in fast.lower()) == carried
    assert b"x-llamastack-lane: fast" not in django.lower()
    assert sum("choices" in said[0] for _, said in answers(fast)) == statuses.count(200)


def test_a_body_that_ends_too_soon_is_not_asked_for(lanes: tuple[Live, Live]) -> None:
    for lane in lanes:
        lane.forget()
        with lane.connected() as client:
            client.sendall(sized(CHAT, length=len(CHAT) + 1))
        assert httpx.get(f"{lane.url}/v1/health", trust_env=False).status_code == 200
        assert lane.raw(sized(CHAT)).count(WHOLE.encode()) == 1
        assert len(lane.upstream.requests) == 1


def test_a_head_of_600_kb_is_refused(lanes: tuple[Live, Live]) -> None:
    for lane in lanes:
        with lane.connected() as client:
            try:
                client.sendall(LAST + HOST + JSON + b"X-Long: " + b"x" * 600_000 + b"\r\n\r\n")
                answer = client.recv(2**16)
            except ConnectionError:  # closed while it was sent
                answer = b""
        assert answer[:12] in (b"HTTP/1.1 400", b"")


def test_who_expects_to_be_asked_for_its_body_is(lanes: tuple[Live, Live]) -> None:
    for lane in lanes:
        with lane.connected() as client:
            client.sendall(LAST + HOST + JSON + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(CHAT))
            assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(CHAT)
            answer = client.makefile("rb").read()
        assert WHOLE.encode() in answer
