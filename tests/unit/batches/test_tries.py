"""A line is tried again where its upstream has a bad minute, and never where it is itself at fault."""

import json
from typing import Any

import httpx
import pytest

from apps.batches.answers import answer
from apps.batches.lines import Line
from apps.batches.tries import PATIENCE, PAUSES, Tries
from llamastack.call import Call, Principal
from llamastack.errors import NotFound, RateLimited, StackError, Unavailable, UpstreamError, UpstreamTimeout
from llamastack.stack import LlamaStack
from tests.unit.batches.test_batches_api import CHAT, done, line, written
from tests.upstream import Upstream

AT_ONCE = (0.0,) * 7


async def register(client: httpx.AsyncClient, model: str) -> None:
    body = {"model_id": model, "provider_id": "sky", "provider_model_id": model, "model_type": "llm"}
    response = await client.post("/v1/models", json=body)
    assert response.status_code == 200, response.text


async def answered(batches: LlamaStack, model: str, pauses: tuple[float, ...] = AT_ONCE) -> tuple[bool, Any]:
    """Whether a line has succeeded, and its response."""
    asked = Line(1, json.dumps(line("a", model=model)).encode())
    call = Call(Principal("ada"), background=True)
    told = await answer(batches.inference, batches.unattended, call, CHAT, asked, Tries(pauses))
    return told.succeeded, json.loads(told.text)["response"]


@pytest.mark.parametrize("failing", [[500], [500] * 4, [502, 500, 504], [0, 0, 0, 500], [429, 503, 529]])
async def test_a_line_outlasts_its_upstream_s_bad_minute(
    client: httpx.AsyncClient, batches: LlamaStack, upstream: Upstream, failing: list[int]
) -> None:
    await register(client, "flaky")
    upstream.failing = failing
    succeeded, response = await answered(batches, "flaky")
    assert (succeeded, response["status_code"], upstream.failing) == (True, 200, [])


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_one_that_never_succeeds_has_the_upstream_s_own_error(
    client: httpx.AsyncClient, batches: LlamaStack, upstream: Upstream, status: int
) -> None:
    """Also where the upstream is left alone in the end, since it has failed so often."""
    await register(client, f"status-{status}")
    succeeded, response = await answered(batches, f"status-{status}")
    assert (succeeded, response["status_code"]) == (False, status)
    assert f"answered {status}: told you so" in response["body"]["error"]["message"]


@pytest.mark.parametrize(("status", "shown"), [(400, 400), (401, 401), (403, 403), (404, 404), (422, 400)])
async def test_one_that_is_at_fault_is_asked_for_once(
    client: httpx.AsyncClient, batches: LlamaStack, upstream: Upstream, status: int, shown: int
) -> None:
    await register(client, f"status-{status}")
    succeeded, response = await answered(batches, f"status-{status}")
    assert (succeeded, response["status_code"], len(upstream.requests)) == (False, shown, 1)


@pytest.mark.parametrize("model", ["nonsense", "status-501"])
async def test_neither_is_one_whose_answer_is_nonsense_or_that_is_not_offered_tried_again(
    client: httpx.AsyncClient, batches: LlamaStack, upstream: Upstream, model: str
) -> None:
    await register(client, model)
    succeeded, _ = await answered(batches, model)
    assert (succeeded, len(upstream.requests)) == (False, 1)


async def test_the_others_of_its_batch_are_answered_and_so_is_it(
    client: httpx.AsyncClient, batches: LlamaStack, upstream: Upstream
) -> None:
    await register(client, "flaky")
    upstream.failing = [500]
    batch = await done(client, line("a"), line("b", model="flaky"), line("c"))
    assert (batch["status"], batch["error_file_id"]) == ("completed", None)
    assert [one["custom_id"] for one in await written(client, batch["output_file_id"])] == ["a", "b", "c"]


def pauses_of(tries: Tries, *errors: StackError) -> list[float]:
    return [tries.pause(error) for error in errors]


def test_pauses_become_longer_and_end_after_more_than_a_minute() -> None:
    shortest, longest = (Tries(chance=lambda chance=chance: chance) for chance in (0.0, 1.0))  # type: ignore[misc]
    down = [UpstreamTimeout("down")] * len(PAUSES)
    assert sum(pauses_of(shortest, *down)) > 60
    assert max(pauses_of(longest, *down)) == 60
    with pytest.raises(UpstreamTimeout):
        shortest.pause(down[0])


def test_an_upstream_that_asks_for_a_pause_has_it_up_to_a_minute() -> None:
    asked = [RateLimited("busy", retry_after=seconds) for seconds in (20, 3600)]
    assert pauses_of(Tries(), *asked) == [20, 60]


def test_what_takes_minutes_to_fail_is_tried_once_more() -> None:
    now = iter([600.0, 600.0 + PATIENCE])
    tries = Tries(clock=lambda: next(now))
    tries.pause(UpstreamTimeout("slow"))
    with pytest.raises(UpstreamTimeout):
        tries.pause(UpstreamTimeout("slow"))


def test_what_is_told_in_the_end_is_what_the_upstream_has_said() -> None:
    tries = Tries((0.0,))
    tries.pause(RateLimited("busy"))
    with pytest.raises(RateLimited, match="busy"):
        tries.pause(Unavailable("left alone", code="breaker_open"))


@pytest.mark.parametrize("error", [NotFound("none"), StackError("our own"), UpstreamError("vectors of another length")])
def test_other_errors_end_it_at_once(error: StackError) -> None:
    with pytest.raises(type(error)):
        Tries().pause(error)
