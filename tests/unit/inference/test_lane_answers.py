"""The fast lane asked by this server itself: for the lines of batches, which no client's connection brings."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from apps.inference.protocol import Elsewhere
from apps.registry.models import Provider
from llamastack import settings
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.errors import StackError
from llamastack.stack import LlamaStack
from tests.unit.inference.test_chat_completions import serve_as
from tests.unit.inference.test_gateway import recorded
from tests.unit.inference.test_pace import Waits
from tests.upstream import Upstream

PATH = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(autouse=True)
def fast_lane() -> Iterator[None]:
    switched, settings.FAST_LANE = settings.FAST_LANE, True
    yield
    settings.FAST_LANE = switched


def body(model: str = "sky/sky-1", **fields: Any) -> bytes:
    return json.dumps({"model": model, "messages": HELLO, **fields}).encode()


def in_flight(running: LlamaStack, sky: Provider) -> int:
    live = running.live.pool.live(sky.pk)
    assert live is not None
    return live.calls


async def test_a_whole_answer_comes_as_bytes_with_what_it_took(
    running: LlamaStack, sky: Provider, upstream: Upstream
) -> None:
    data, outcome = await running.unattended.answer(Call(ANONYMOUS_ADMIN), PATH, body())
    answer = json.loads(data)
    assert (answer["model"], answer["choices"][0]["message"]["content"]) == ("sky/sky-1", "The sky is blue.")
    assert (outcome.input_tokens, outcome.output_tokens, outcome.whole) == (5, 4, True)
    assert upstream.requests == [{"model": "sky-1", "messages": HELLO}]
    assert await recorded(running) == [("fast", 200)]
    assert in_flight(running, sky) == 0


async def test_it_is_stored_where_it_asks_for_that_alone(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    for store in ({}, {"store": None}, {"store": False}, {"store": True}):
        data, _ = await running.unattended.answer(Call(ANONYMOUS_ADMIN), PATH, body(**store))
    await running.flusher.stop()
    listed = (await client.get(PATH)).json()["data"]
    assert [one["id"] for one in listed] == [json.loads(data)["id"]]


@pytest.mark.parametrize("fields", [{"model": "none"}, {"stream": True}, {"temperature": 9}, {"my_own": 1}])
async def test_what_it_does_not_carry_is_for_the_service_with_nothing_left_behind(
    running: LlamaStack, sky: Provider, upstream: Upstream, fields: dict[str, Any]
) -> None:
    with pytest.raises(Elsewhere) as elsewhere:
        await running.unattended.answer(Call(ANONYMOUS_ADMIN), PATH, body(**fields))
    assert (elsewhere.value.tried, upstream.requests) == ({}, [])
    assert await recorded(running) == []


async def test_so_is_everything_where_the_lane_is_closed(running: LlamaStack, sky: Provider) -> None:
    settings.FAST_LANE = False
    with pytest.raises(Elsewhere):
        await running.unattended.answer(Call(ANONYMOUS_ADMIN), PATH, body())


async def test_a_failure_that_another_try_may_mend_is_recorded_by_whoever_makes_it(
    running: LlamaStack, sky: Provider, upstream: Upstream
) -> None:
    await serve_as(sky, running, "status-503")
    with pytest.raises(Elsewhere) as elsewhere:
        await running.unattended.answer(Call(ANONYMOUS_ADMIN), PATH, body("status-503"))
    assert [error.status for error in elsewhere.value.tried.values()] == [502]
    assert await recorded(running) == []
    assert in_flight(running, sky) == 0


async def test_one_that_nothing_mends_is_recorded_once(running: LlamaStack, sky: Provider) -> None:
    await serve_as(sky, running, "status-400")
    with pytest.raises(StackError) as error:
        await running.unattended.answer(Call(ANONYMOUS_ADMIN), PATH, body("status-400"))
    assert error.value.status == 400
    assert await recorded(running) == [("fast", 400)]
    assert in_flight(running, sky) == 0


async def test_one_that_nobody_waits_for_any_more_is_closed_and_recorded(
    running: LlamaStack, sky: Provider, upstream: Upstream
) -> None:
    await serve_as(sky, running, "held")
    asking = asyncio.create_task(running.unattended.answer(Call(ANONYMOUS_ADMIN), PATH, body("held")))
    async with asyncio.timeout(10):
        while not upstream.requests:
            await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    async with asyncio.timeout(10):
        await upstream.closed.wait()
    assert asking.cancelled()
    assert await recorded(running) == [("fast", 499)]
    assert in_flight(running, sky) == 0


async def test_it_gives_way_to_those_who_wait(running: LlamaStack, sky: Provider) -> None:
    waits = Waits()
    running.unattended.pace = pace = waits.pace()
    await running.unattended.answer(Call(ANONYMOUS_ADMIN), PATH, body())
    assert waits.waits == []
    pace.live()
    await running.unattended.answer(Call(ANONYMOUS_ADMIN), PATH, body())
    assert len(waits.waits) == 1
