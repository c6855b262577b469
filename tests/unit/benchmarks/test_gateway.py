"""The checks of benchmarks/gateway.py find what is wrong with an answer, and its upstream answers what is right."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from benchmarks._calls import KINDS, Calls, Loose
from benchmarks._load import Cell, body_of, load
from benchmarks._upstream import Upstream

Change = Callable[[bytes], bytes]
CHANGES: dict[str, Change] = {
    "another status": lambda answer: answer.replace(b" 200 OK", b" 500 Internal Server Error", 1),
    "another word": lambda answer: answer.replace(b"word", b"ward", 1).replace(b"0.0", b"0.1", 1),
    "no end": lambda answer: answer.replace(b"[DONE]", b"[GONE]", 1),
    "another end": lambda answer: answer.replace(b'"stop"', b'"span"', 1),
}


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def asked(kind: str, port: int) -> tuple[Calls, Cell]:
    calls = KINDS[kind](port, "any", itertools.count())
    return calls, await load(port, calls, 2, 0.01)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "slow"])
async def test_whatever_the_upstream_answers_is_right(kind: str, port: int) -> None:
    calls, cell = await asked(kind, port)
    assert len(cell.answers) == len(cell.milliseconds) > 1
    assert not cell.errors
    for number, answer in cell.answers.items():
        calls.checked(number, answer)


@pytest.mark.parametrize(
    ("kind", "change"), [pair for pair in itertools.product(["chat", "stream"], CHANGES) if pair != ("chat", "no end")]
)
async def test_a_changed_answer_is_found(kind: str, change: str, port: int) -> None:
    calls, cell = await asked(kind, port)
    number, answer = cell.answers.popitem()
    with pytest.raises(ValueError, match=r"\w"):
        calls.checked(number, CHANGES[change](answer))


async def test_the_answer_to_another_request_is_found(port: int) -> None:
    calls, cell = await asked("chat", port)
    number, answer = cell.answers.popitem()
    with pytest.raises(ValueError, match="You said"):
        calls.checked(number + 1, answer)


async def test_vectors_that_differ_are_found_after_right_ones(port: int) -> None:
    calls, cell = await asked("embeddings", port)
    number, known = cell.answers.popitem()
    calls.checked(number, known)
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(known), known)
    for change in ("another word", "another status"):
        kept = calls.kept(number, CHANGES[change](whole))
        with pytest.raises(ValueError, match=r"\w"):
            calls.checked(number, kept)


async def test_the_usage_of_a_stream_is_told_where_it_is_asked_for(port: int) -> None:
    class Counting(Loose):
        def asked(self, number: int) -> dict[str, Any]:
            return super().asked(number) | {"stream_options": {"include_usage": True}}

    calls = Counting(port, "any", itertools.count())
    cell = await load(port, calls, 1, 0)
    number, answer = cell.answers.popitem()
    calls.checked(number, answer)
    assert b'"choices":[],"usage":{"prompt_tokens":8' in body_of(answer)


@pytest.mark.parametrize("change", CHANGES)
async def test_a_changed_stream_of_a_peer_is_found(change: str, port: int) -> None:
    calls = Loose(port, "any", itertools.count())
    cell = await load(port, calls, 1, 0)
    number, answer = cell.answers.popitem()
    calls.checked(number, answer)
    with pytest.raises(ValueError, match=r"\w"):
        calls.checked(number, CHANGES[change](answer))


async def test_answers_are_counted_by_the_lane_that_their_head_tells() -> None:
    class Fast(Upstream):
        def answer(self, body: bytes) -> None:
            self.transport.write(b"HTTP/1.1 200 OK\r\nX-LlamaStack-Lane: fast\r\nContent-Length: 2\r\n\r\n{}")

    server = await asyncio.get_running_loop().create_server(Fast, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        cell = await load(port, KINDS["chat"](port, "any", itertools.count()), 2, 0)
    assert (cell.fast, cell.lanes) == (2, {"fast": 2})


async def test_an_answer_that_is_cut_is_an_error() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        _, cell = await asked("chat", server.sockets[0].getsockname()[1])
    assert (cell.errors, cell.answers) == (2, {})


def test_a_body_is_put_together_from_its_chunks() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n\r\nworl\r\n1\r\nd\r\n0\r\n\r\n"
    assert body_of(answer) == b"hello\r\nworld"
