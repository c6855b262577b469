"""The fast lane: what it carries, what it hands to Django, and that nobody can tell the two by what they answer."""

import json
from typing import Any

import httpx

from apps.registry.models import Provider
from tests.upstream import Upstream

HELLO = [{"role": "user", "content": "Hello"}]
LANE = "x-llamastack-lane"


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
