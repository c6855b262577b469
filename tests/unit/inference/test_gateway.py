"""The fast lane: what it carries, what it hands to Django, and that nobody can tell the two by what they answer."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from apps.access.models import Usage
from apps.registry.models import Provider
from llamastack import settings
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.inference.test_chat_completions import serve_as
from tests.upstream import Upstream

HELLO = [{"role": "user", "content": "Hello"}]
LANE = "x-llamastack-lane"


@pytest.fixture(autouse=True)
def fast_lane() -> Iterator[None]:
    """Open, whatever lane this run of the tests is for."""
    switched, settings.FAST_LANE = settings.FAST_LANE, True
    yield
    settings.FAST_LANE = switched


async def asked(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    body = {"model": "sky/sky-1", "messages": HELLO, **fields}
    return await client.post("/v1/chat/completions", json=body)


async def test_a_plain_chat_goes_by_the_fast_lane(client: httpx.AsyncClient, sky: Provider, upstream: Upstream) -> None:
    answer = await asked(client, store=False)
    assert answer.headers[LANE] == "fast"
    assert answer.json()["choices"][0]["message"]["content"] == "The sky is blue."
    assert answer.json()["model"] == "sky/sky-1"
    assert upstream.requests[-1] == {"model": "sky-1", "messages": HELLO}


async def test_what_it_does_not_know_goes_to_django(client: httpx.AsyncClient, sky: Provider) -> None:
    answer = await asked(client, temperature=9)
    assert (answer.status_code, answer.headers[LANE]) == (400, "django")
    assert (await asked(client, my_own=1)).headers[LANE] == "django"


async def test_a_completion_is_stored_under_an_id_of_ours(client: httpx.AsyncClient, sky: Provider) -> None:
    answer = await asked(client, store=True, metadata={"a": "b"})
    assert answer.headers[LANE] == "fast"
    kept = (await client.get(f"/v1/chat/completions/{answer.json()['id']}")).json()
    assert kept == answer.json() | {"metadata": {"a": "b"}, "input_messages": HELLO}


async def test_a_stream_goes_by_the_fast_lane(client: httpx.AsyncClient, sky: Provider, upstream: Upstream) -> None:
    answer = await asked(client, stream=True)
    assert answer.headers[LANE] == "fast"
    *events, done, rest = answer.text.split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert (done, rest) == ("data: [DONE]", "")
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "The sky is blue."
    assert {chunk["model"] for chunk in chunks} == {"sky/sky-1"}
    assert upstream.requests[-1]["stream_options"] == {"include_usage": True}


async def test_what_was_handed_over_leaves_nothing_behind_and_is_recorded_once(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, upstream: Upstream
) -> None:
    upstream.models.append("status-503")
    await running.live.discover(sky.pk)
    answer = await asked(client, model="sky/status-503")
    assert (answer.status_code, answer.headers[LANE]) == (502, "django")
    assert await recorded(running) == [("django", 502)]
    live = running.live.pool.live(sky.pk)
    assert live is not None
    assert live.calls == 0


async def test_a_failure_that_no_other_try_mends_is_told_at_once(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, upstream: Upstream
) -> None:
    upstream.models.append("status-400")
    await running.live.discover(sky.pk)
    answer = await asked(client, model="sky/status-400", stream=True)
    assert (answer.status_code, answer.headers[LANE]) == (400, "fast")
    assert len(upstream.requests) == 1
    assert await recorded(running) == [("fast", 400)]


async def test_a_failure_of_the_upstream_is_logged_with_the_id_of_its_request(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    await serve_as(sky, running, "nonsense")
    answer = await asked(client, model="nonsense")
    assert (answer.status_code, answer.headers[LANE]) == (502, "fast")
    [logged] = [record.message for record in caplog.records if record.name == "apps.inference.gateway"]
    assert logged == f"{answer.json()['error']['message']} ({answer.headers['x-request-id']})"


async def test_a_call_is_recorded_with_its_tokens(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    await asked(client)
    await asked(client, stream=True)
    assert await recorded(running, "input_tokens", "output_tokens") == [(5, 4), (5, 4)]


async def test_tokens_of_a_stream_that_tells_none_are_counted_as_in_the_other_lane(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    for fast in (True, False):
        settings.FAST_LANE = fast
        await asked(client, stream=True, tools=[tool])
    told = await recorded(running, "lane", "output_tokens", "estimated", "whole")
    assert told == [("fast", 3, True, True), ("django", 3, True, True)]


async def test_it_is_switched_off_by_a_setting(client: httpx.AsyncClient, sky: Provider) -> None:
    settings.FAST_LANE = False
    assert (await asked(client)).headers[LANE] == "django"


async def test_a_stream_is_stored_as_it_was_told(client: httpx.AsyncClient, sky: Provider) -> None:
    answer = await asked(client, stream=True, store=True)
    first = json.loads(answer.text.partition("\n\n")[0].removeprefix("data: "))
    kept = (await client.get(f"/v1/chat/completions/{first['id']}")).json()
    assert kept["choices"][0]["message"]["content"] == "The sky is blue."
    assert kept["usage"]["total_tokens"] == 9
    assert kept["input_messages"] == HELLO


async def recorded(running: LlamaStack, *fields: str) -> list[Any]:
    """What the usage records say once they are written."""
    await running.flusher.stop()
    rows = Usage.objects.order_by("pk").values_list(*(fields or ("lane", "status")))
    return await db(lambda: list(rows))


async def test_an_upstream_that_asks_for_a_longer_pause_is_asked_once(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, upstream: Upstream
) -> None:
    """The other lane could only ask it again: that is up to what its egress allows for further tries."""
    await serve_as(sky, running, "status-429")
    answer = await asked(client, model="status-429")
    assert (answer.status_code, answer.headers[LANE], answer.headers["retry-after"]) == (429, "fast", "7")
    assert [body["model"] for body in upstream.requests] == ["status-429"]


async def test_a_further_try_is_made_by_django(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, upstream: Upstream
) -> None:
    await serve_as(sky, running, "status-503")
    answer = await asked(client, model="status-503")
    assert (answer.status_code, answer.headers[LANE]) == (502, "django")
    assert len(upstream.requests) > 1
