"""What is tried again, when, and how often."""

import asyncio
import email.utils
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
import pytest

from llamastack.egress import Timeouts
from llamastack.egress.failures import Refusal
from llamastack.egress.retries import ALLOWANCE, Retries, replaceable
from llamastack.egress.transport import Reply
from llamastack.egress.waiting import TooSlow
from llamastack.errors import RateLimited, StackError, Unavailable, UpstreamError, UpstreamTimeout
from tests.unit.core.egress.speaking import OK, SHORT, answer, in_turn, saying, streamed, upstream

pytestmark = pytest.mark.usefixtures("each_transport")

GOOD = answer("200 OK", b'{"a": 1}')
STREAM = OK + b'data: {"a": 1}\n\ndata: [DONE]\n\n'


def refused(status: int, **headers: str) -> Refusal:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Refusal(Reply(status, "", named, nothing()), b"")


async def nothing() -> AsyncIterator[bytes]:
    return
    yield


def reset() -> aiohttp.ClientOSError:
    return aiohttp.ClientOSError(104, "Connection reset by peer")


@pytest.mark.parametrize("status", [429, 502, 503, 504, 529])
async def test_a_status_that_passes_is_tried_twice_more(status: int) -> None:
    handler, asked = in_turn(answer(f"{status} Later", b"{}"), answer(f"{status} Later", b"{}"), GOOD)
    async with upstream(handler) as egress:
        assert await egress.post("chat/completions", {}) == {"a": 1}
    assert len(asked) == 3


async def test_a_stream_is_tried_again_too_before_it_begins() -> None:
    handler, asked = in_turn(answer("503 Later", b"{}"), STREAM)
    async with upstream(handler) as egress:
        assert await streamed(egress) == [{"a": 1}]
    assert len(asked) == 2


@pytest.mark.parametrize(("status", "ours"), [(429, 429), (503, 502), (504, 504)])
async def test_after_the_last_try_the_status_is_what_it_would_have_been(status: int, ours: int) -> None:
    handler, asked = in_turn(answer(f"{status} Later", b"{}", b"Retry-After: 0"))
    async with upstream(handler) as egress:
        with pytest.raises(StackError) as caught:
            await egress.get("models")
    assert (caught.value.status, caught.value.retry_after, len(asked)) == (ours, 0, 3)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 409, 422, 500, 501])
async def test_any_other_status_is_final(status: int) -> None:
    handler, asked = in_turn(answer(f"{status} No", b"{}"))
    async with upstream(handler) as egress:
        with pytest.raises(StackError):
            await egress.post("chat/completions", {})
    assert len(asked) == 1


async def test_a_connection_that_breaks_before_the_status_is_tried_again() -> None:
    handler, asked = in_turn(b"", b"", GOOD)
    async with upstream(handler) as egress:
        assert await egress.post("chat/completions", {}) == {"a": 1}
    assert len(asked) == 3


@pytest.mark.parametrize("reply", [OK + b'data: {"a": 1}\n\n', OK, answer("200 OK", b"{}")[:-1]])
async def test_what_breaks_once_the_body_may_have_begun_is_not(reply: bytes) -> None:
    handler, asked = in_turn(reply)
    async with upstream(handler) as egress:
        with pytest.raises(UpstreamError):
            await streamed(egress)
    assert len(asked) == 1


async def test_our_own_time_outs_are_not() -> None:
    tries = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        await reader.read(-1)

    async with upstream(silent, SHORT) as egress:
        for call in (egress.get("models"), streamed(egress)):
            with pytest.raises(StackError):
                await call
    assert tries == 2


async def test_who_would_have_to_wait_long_is_told_so_at_once() -> None:
    handler, asked = in_turn(answer("429 Later", b"{}", b"Retry-After: 7"))
    async with upstream(handler) as egress:
        with pytest.raises(RateLimited) as caught:
            await egress.get("models")
    assert (caught.value.retry_after, len(asked)) == (7, 1)


async def test_where_the_time_of_a_call_is_shorter_than_the_pause_the_refusal_is_told() -> None:
    handler, asked = in_turn(answer("503 Later", b"{}", b"Retry-After: 5"))
    async with upstream(handler, Timeouts(total=2)) as egress:
        with pytest.raises(UpstreamError, match="answered 503"):
            await egress.get("models")
    assert len(asked) == 1


async def test_all_tries_together_have_the_time_of_a_call() -> None:
    asked = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(1.8)
        writer.write(answer("503 Later", b"{}"))

    async with upstream(slow, Timeouts(total=3)) as egress:
        with pytest.raises(UpstreamTimeout):
            await egress.get("models")
    assert asked == 2


async def test_who_leaves_during_a_pause_is_not_tried_for_again() -> None:
    handler, asked = in_turn(answer("503 Later", b"{}", b"Retry-After: 5"))
    async with upstream(handler, Timeouts()) as egress:
        call = asyncio.create_task(egress.get("models"))
        while not asked:
            await asyncio.sleep(0.01)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
    assert len(asked) == 1


async def test_five_calls_that_fail_open_the_breaker_and_the_network_is_left_alone() -> None:
    handler, asked = in_turn(answer("500 Oh", b"{}"))
    async with upstream(handler) as egress:
        for _ in range(5):
            with pytest.raises(UpstreamError):
                await egress.get("models")
        for call in (egress.get("models"), egress.post("chat/completions", {}), streamed(egress)):
            with pytest.raises(Unavailable, match=r"'x' is left alone .* the last one because it answered 500\.$"):
                await call
    assert len(asked) == 5


@pytest.mark.parametrize("status", [400, 401, 404, 429, 501])
async def test_a_status_that_speaks_of_one_request_does_not_open_the_breaker(status: int) -> None:
    handler, _ = in_turn(answer(f"{status} No", b"{}"))
    async with upstream(handler) as egress:
        for _ in range(7):
            with pytest.raises(StackError):
                await egress.get("models")
        assert not egress.breaker.is_open


async def test_each_origin_has_a_breaker_and_is_named_in_what_is_said_of_it() -> None:
    async with upstream(saying(answer("200 OK", b"{}", b"Connection: close"))) as egress:
        egress.retries.saved = -100
        for _ in range(6):
            with pytest.raises(StackError, match=r"http://127\.0\.0\.1:9/rerank \("):
                await egress.get("http://maya:s3cret@127.0.0.1:9/rerank?key=abc")
        assert await egress.get("models") == {}


async def test_streams_that_are_cut_open_it_though_they_begin() -> None:
    chunked = OK.replace(b"Connection: close", b"Transfer-Encoding: chunked")
    async with upstream(saying(chunked + b'10\r\ndata: {"a": 1}\n\n\r\n')) as egress:
        for _ in range(5):
            with pytest.raises(UpstreamError):
                await streamed(egress)
        assert egress.breaker.is_open


async def test_a_probe_is_one_try_and_what_it_is_answered_closes_the_breaker() -> None:
    handler, asked = in_turn(*[answer("500 Oh", b"{}")] * 5, answer("503 Later", b"{}"), GOOD)
    async with upstream(handler) as egress:
        for _ in range(5):
            with pytest.raises(UpstreamError):
                await egress.get("models")
        egress.breaker.next_probe = 0
        with pytest.raises(UpstreamError):
            await egress.get("models")
        assert (len(asked), egress.breaker.is_open) == (6, True)
        egress.breaker.next_probe = 0
        assert await egress.get("models") == {"a": 1}
        assert not egress.breaker.is_open


async def test_a_probe_whose_caller_has_gone_leaves_the_breaker_to_the_next_call() -> None:
    async with upstream(saying(then_hang=True), Timeouts()) as egress:
        for _ in range(5):
            egress.breaker.failed(egress.breaker.admit(), "it answered 500")
        egress.breaker.next_probe = 0
        probe = asyncio.create_task(egress.get("models"))
        while not egress.breaker.probes:
            await asyncio.sleep(0.01)
        with pytest.raises(Unavailable):
            await egress.get("models")
        probe.cancel()
        with suppress(asyncio.CancelledError):
            await probe
        assert egress.breaker.admit().probe


def test_pauses_double_and_are_left_to_chance() -> None:
    retries = Retries(first_pause=1, chance=lambda: 0.5)
    assert [retries.pause(reset(), tries) for tries in (1, 2, 3)] == [0.5, 1, None]


def test_what_the_upstream_asks_for_is_waited_for_as_seconds_or_as_a_date() -> None:
    retries = Retries(chance=lambda: 0)
    assert retries.pause(refused(429, retry_after="3"), 1) == 3
    date = email.utils.formatdate(time.time() + 4, usegmt=True)
    assert 2 < (retries.pause(refused(503, retry_after=date), 1) or 0) <= 4
    assert retries.pause(refused(503, retry_after="Thu, 01 Jan 1970 00:00:00 GMT"), 1) == 0


def test_all_retries_together_are_a_fifth_of_the_load() -> None:
    retries = Retries()
    made = 0
    for _ in range(1000):
        retries.called()
        made += sum(retries.pause(refused(503), tries) is not None for tries in (1, 2))
    assert made <= ALLOWANCE + 200
    assert made / (1000 + made) <= 0.2


@pytest.mark.parametrize("error", [TooSlow("no"), aiohttp.ConnectionTimeoutError(), aiohttp.ClientPayloadError()])
def test_nothing_is_saved_up_for_what_may_have_been_begun(error: Exception) -> None:
    assert Retries().pause(error, 1) is None


async def test_an_open_breaker_answers_though_there_is_no_room() -> None:
    async with upstream(saying(then_hang=True), Timeouts()) as egress:
        egress.room = asyncio.Semaphore(0)
        for _ in range(5):
            egress.breaker.failed(egress.breaker.admit(), "it answered 500")
        with pytest.raises(Unavailable):
            await egress.get("models")


def test_where_others_can_answer_nothing_is_tried_again() -> None:
    retries = Retries()
    with replaceable():
        assert retries.pause(reset(), 1) is None
        with replaceable():
            assert retries.pause(reset(), 1) is None
        assert retries.pause(reset(), 1) is None
    assert retries.pause(reset(), 1) is not None
