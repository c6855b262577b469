"""A Stack that records its providers, and one that replays them with no upstream there."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.registry.models import Provider
from llamastack import asgi, recording, stack
from llamastack.db import db
from llamastack.recording import Mode, Tape
from tests.unit.conftest import add_provider
from tests.upstream import Upstream

NOWHERE = "http://127.0.0.1:9/v1"
CHAT = {"model": "sky/sky-1", "messages": [{"role": "user", "content": "What colour is the sky?"}]}


@asynccontextmanager
async def serving(mode: Mode, folder: Path, url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A Stack of one provider `sky`, whose models were listed through the tape."""
    running = await stack.start(Tape(mode, folder))
    try:
        row = await db(add_provider, "sky", base_url=url, api_key="sk-upstream")
        await running.live.refresh()
        await running.live.discover(row.pk)
        transport = httpx.ASGITransport(asgi.application)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client
    finally:
        await stack.stop()
        await db(Provider.objects.all().delete)


async def said(client: httpx.AsyncClient, body: dict[str, Any], **headers: str) -> Any:
    answer = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text if body.get("stream") else answer.json()["choices"]


def without_ids(events: str) -> list[Any]:
    read = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: {")]
    return [event["choices"] for event in read]


@pytest.mark.usefixtures("transactional_db")
async def test_what_a_stack_recorded_another_replays_without_an_upstream(upstream: Upstream, tmp_path: Path) -> None:
    async with serving(Mode.record, tmp_path, upstream.url) as client:
        whole, events = await said(client, CHAT), await said(client, CHAT | {"stream": True})
    async with serving(Mode.replay, tmp_path, NOWHERE) as client:
        assert await said(client, CHAT) == whole
        assert without_ids(await said(client, CHAT | {"stream": True})) == without_ids(events)
        models = (await client.get("/v1/models")).json()["data"]
    assert {"sky/sky-1", "sky/sky-2"} <= {model["id"] for model in models}
    assert {file.name.split(".")[1] for file in (tmp_path / "inference").iterdir()} == {"chat-completions", "models"}


@pytest.mark.usefixtures("transactional_db")
async def test_a_test_that_gives_its_name_has_recordings_of_its_own(upstream: Upstream, tmp_path: Path) -> None:
    named = {"X-LlamaStack-Provider-Data": json.dumps({"__test_id": "tests/test_sky.py::test_blue[1]"})}
    async with serving(Mode.record, tmp_path, upstream.url) as client:
        for body in (CHAT, CHAT | {"stream": True}):
            await said(client, body, **named)
        await said(client, CHAT | {"seed": 1})
    async with serving(Mode.replay, tmp_path, NOWHERE) as client:
        await said(client, CHAT | {"stream": True}, **named)
        await said(client, CHAT | {"seed": 1}, **named)
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 424
    folders = [file.parent for file in tmp_path.rglob("*chat-completions*")]
    assert sorted(folder.name.partition(".")[0] for folder in folders) == [
        "inference",
        *["tests-test_sky-py-test_blue-1"] * 2,
    ]


@pytest.mark.usefixtures("transactional_db")
async def test_what_a_provider_asks_in_a_call_is_on_its_track_too(upstream: Upstream, tmp_path: Path) -> None:
    """Such as an address that comes with the request."""
    async with serving(Mode.record, tmp_path, upstream.url):
        live = stack.current().live
        [record] = live.snapshot.providers.values()
        async with live.pool.use(record):
            made = recording.current()
        assert made is not None
        assert (made.area, made.upstream, made.secrets) == ("inference", "sky", ("sk-upstream",))
        assert recording.current() is None


@pytest.mark.usefixtures("transactional_db")
async def test_a_miss_is_an_answer_that_says_what_differs(upstream: Upstream, tmp_path: Path) -> None:
    async with serving(Mode.record, tmp_path, upstream.url) as client:
        await said(client, CHAT | {"seed": 1})
    async with serving(Mode.replay, tmp_path, NOWHERE) as client:
        for streamed in ({}, {"stream": True}):
            answer = await client.post("/v1/chat/completions", json=CHAT | {"seed": 2} | streamed)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (424, "recording_missing")
            assert "seed: recorded 1, asked 2" in error["message"]


@pytest.mark.usefixtures("transactional_db")
async def test_the_mode_of_the_environment_holds_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LLAMA_STACK_TEST_INFERENCE_MODE", "replay")
    monkeypatch.setenv("LLAMA_STACK_TEST_RECORDING_DIR", str(tmp_path))
    await stack.start()
    await stack.stop()
    assert f"=replay: no upstream is asked, answers come from {tmp_path}" in caplog.text
