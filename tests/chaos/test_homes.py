"""A model whose homes fail at random: each call is answered once, by one of them, or fails with the last error."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from apps.registry import service
from apps.registry.models import Model, Provider
from llamastack import asgi, stack
from llamastack.db import db
from llamastack.egress.breaker import FAILURES
from llamastack.egress.retries import MOST
from tests.chaos.homes import Home, at_home
from tests.servers import free_port

CALLS = 1000
CLIENTS = 16
SILENCE_SECONDS = 4  # of a slow home; long enough for a good one on a busy machine
GONE = "gone"  # a home whose server is never there
URL = "/v1/chat/completions"
STATUSES = {"reset": 502, "429": 429, "500": 502, "slow": 504, "cut before": 502, "cut after": 502}


@pytest.fixture
async def running(transactional_db: None) -> AsyncIterator[stack.LlamaStack]:
    yield await stack.start()
    await stack.stop()


@pytest.fixture
async def client(running: stack.LlamaStack) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(asgi.application, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        yield http


def register(urls: dict[str, str], **fields: Any) -> None:
    """A provider at each address, and the model `best` that is at home on all of them."""
    config = {"network": {"timeout": SILENCE_SECONDS}, "refresh_models": False}
    for name, url in urls.items():
        row = Provider(identifier=name, provider_type="remote::openai")
        service.edit_provider(row, {"base_url": url, **config}, enabled=True)
    homes = [{"provider_id": name, "provider_model_id": "sky", **fields.get(name, {})} for name in urls]
    service.edit_model(Model(identifier="best"), {"homes": homes, "model_type": "llm"})


@dataclass
class Heard:
    """What a client got: `text` is all that was said to it, `error` the one it was told."""

    call: str
    streamed: bool
    status: int
    served_by: str | None
    text: str
    complete: bool
    error: str = ""
    code: str = ""


async def ask(http: httpx.AsyncClient, call: str, streamed: bool, **fields: Any) -> Heard:
    body = {"model": "best", "messages": [{"role": "user", "content": call}], "store": False, "stream": streamed}
    answer = await http.post(URL, json=body | fields)
    served_by = answer.headers.get("x-llamastack-served-by")
    if answer.status_code != 200:
        error = answer.json()["error"]
        return Heard(call, streamed, answer.status_code, served_by, "", False, error["message"], error["code"])
    if not streamed:
        text = answer.json()["choices"][0]["message"]["content"]
        return Heard(call, streamed, 200, served_by, text, True)
    *said, last = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    chunks = [json.loads(event) for event in said]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    complete = last == "[DONE]"
    error = "" if complete else json.loads(last)["error"]["message"]
    return Heard(call, streamed, 200, served_by, text, complete, error)


def judge(heard: Heard, homes: list[Home]) -> str:
    """In a word how the call ended, once all that must hold of it does."""
    did = {home.name: home.did[heard.call] for home in homes if heard.call in home.did}
    answered = [name for name, done in did.items() if "ok" in done]
    begun = [name for name, done in did.items() if heard.streamed and "cut after" in done]
    if heard.complete:
        [name] = answered
        assert begun == []
    elif heard.status == 200:
        [name] = begun
        assert answered == []
    else:
        assert (answered, begun, heard.served_by) == ([], [], None)
        assert f"last of {len(homes) + 1} homes" in heard.error
        return judged_last(heard, did)
    said = next(home.said(heard.call) for home in homes if home.name == name)
    assert heard.served_by == f"{name}/sky"
    assert heard.text == "".join(said if heard.complete else said[: len(heard.text.split())])
    assert did[name][-1] == ("ok" if heard.complete else "cut after")
    return "answered" if heard.complete else "broke off"


def judged_last(heard: Heard, did: dict[str, list[str]]) -> str:
    """The error is that of the home which it names; none was tried more than twice again."""
    named = heard.error.split("'")[1]
    assert all(len(done) <= 1 + MOST for done in did.values())
    if heard.code == "breaker_open":
        assert (heard.status, named in did) == (503, False)
        return "failed at an open breaker"
    assert heard.status == (502 if named == GONE else STATUSES[did[named][-1]])
    return f"failed with {heard.status}"


@pytest.mark.slow
async def test_each_of_a_thousand_calls_is_answered_once_by_one_home_or_fails_with_the_last_error(
    running: stack.LlamaStack, client: httpx.AsyncClient
) -> None:
    async with at_home("a", "b", "c") as homes:
        gone = f"http://127.0.0.1:{free_port()}/v1"
        await db(register, {home.name: home.url for home in homes} | {GONE: gone})
        await running.live.refresh()
        numbers, outcomes = iter(range(CALLS)), Counter[tuple[str, bool]]()

        async def asking() -> None:
            for number in numbers:
                affinity = {"prompt_cache_key": str(number % 7)} if number % 4 == 0 else {}
                heard = await ask(client, f"call{number}", streamed=number % 2 == 1, **affinity)
                outcomes[judge(heard, homes), heard.streamed] += 1

        await asyncio.gather(*(asking() for _ in range(CLIENTS)))
        good = sum(done.count("ok") for home in homes for done in home.did.values())
    by_word = Counter[str]()
    for (word, _), count in outcomes.items():
        by_word[word] += count
    assert by_word.total() == CALLS
    assert by_word["answered"] == good > 0.8 * CALLS
    assert outcomes["broke off", False] == 0 < outcomes["broke off", True]
    assert {"failed with 502", "failed with 429", "failed at an open breaker"} <= set(by_word)


async def test_while_the_breaker_of_the_first_home_is_open_the_second_answers_all(
    running: stack.LlamaStack, client: httpx.AsyncClient
) -> None:
    async with at_home("bad", "good") as homes:
        bad, good = homes
        bad.always, good.always = "500", "ok"
        await db(register, {home.name: home.url for home in homes}, good={"order": 1})
        await running.live.refresh()
        for number in range(20):
            heard = await ask(client, f"call{number}", streamed=number % 2 == 1)
            assert (heard.served_by, heard.text) == ("good/sky", "".join(good.said(f"call{number}")))
        keys = {record.provider_id: key for key, record in running.live.snapshot.providers.items()}
        assert [running.live.pool.refuses(keys[home.name]) for home in homes] == [True, False]
    assert 0 < len(bad.did) <= FAILURES  # health checks count too
    assert len(good.did) == 20
    assert all(len(done) == 1 for home in homes for done in home.did.values())


async def test_a_session_stays_at_a_home_and_moves_alone_where_that_fails(
    running: stack.LlamaStack, client: httpx.AsyncClient
) -> None:
    async with at_home("a", "b", "c") as homes:
        for home in homes:
            home.always = "ok"
        await db(register, {home.name: home.url for home in homes})
        await running.live.refresh()

        async def at(session: int) -> set[str | None]:
            asked = [ask(client, f"{session}-{n}", n % 2 == 1, prompt_cache_key=f"s{session}") for n in range(4)]
            return {heard.served_by for heard in await asyncio.gather(*asked)}

        before = [await at(session) for session in range(12)]
        assert all(len(places) == 1 for places in before)
        assert len(set().union(*before)) == 3
        homes[0].always = "500"
        after = [await at(session) for session in range(12)]
        for old, new in zip(before, after, strict=True):
            assert (old == new) == (old != {"a/sky"})
        assert all(len(places) == 1 for places in after)
        assert set().union(*after) == {"b/sky", "c/sky"}
