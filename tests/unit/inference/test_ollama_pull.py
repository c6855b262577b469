"""A model that an Ollama server lacks: pulled when it is asked for, where its provider's config says so."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from apps.inference.providers.pulling import Pulls
from apps.inference.providers.remote.ollama import Ollama, OllamaConfig
from apps.inference.schemas import (
    ChatCompletion,
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
    RerankRequest,
)
from apps.registry import service
from apps.registry.models import Model
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.db import db
from llamastack.errors import NotFound, NotSupported, Unavailable, UpstreamError, UpstreamRejected, UpstreamTimeout
from llamastack.stack import LlamaStack
from tests.ollama import BEGINS, ENDS, WHOLE, OllamaServer, layer, ollama
from tests.unit.conftest import add_provider

CALL = Call(ANONYMOUS_ADMIN)
HELLO = [{"role": "user", "content": "Hello"}]


@asynccontextmanager
async def on(server: OllamaServer, *, pull: bool = True, patience: float = 30) -> AsyncIterator[Ollama]:
    provider = Ollama("home", OllamaConfig(base_url=server.url, pull_missing=pull))
    provider.pulls = Pulls(provider.upstream, provider.lines_of_pull, patience)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()


def chat(model: str = "small", **fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate({"model": model, "messages": HELLO, **fields})


async def said(provider: Ollama, model: str = "small") -> str | None:
    reply = await provider.post_chat_completion(CALL, chat(model))
    assert isinstance(reply, ChatCompletion)
    return reply.choices[0].message.content


async def streamed(provider: Ollama) -> str:
    reply: Any = await provider.post_chat_completion(CALL, chat(stream=True))
    chunks = [chunk async for chunk in reply]
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_chat_waits_for_its_model_and_the_next_finds_it() -> None:
    async with ollama(small=WHOLE) as server, on(server) as provider:
        assert await said(provider) == "The sky is blue."
        assert await said(provider) == "The sky is blue."
    assert server.pulled == ["small"]


async def test_so_do_a_stream_a_completion_and_embeddings() -> None:
    async with ollama(small=WHOLE) as server, on(server) as provider:
        assert await streamed(provider) == "The sky is blue."
        server.models.clear()
        request = CompletionRequest(model="small", prompt="The sky")
        assert (await provider.post_completion(CALL, request)).choices[0].text  # type: ignore[union-attr]
        server.models.clear()
        reply = await provider.post_embedding(CALL, EmbeddingRequest(model="small", input="x"))
        assert reply.data[0].embedding == [0.0, 0.5]
    assert server.pulled == ["small"] * 3


async def test_all_who_wait_share_one_pull() -> None:
    async with ollama(small=[*BEGINS, None, *ENDS]) as server, on(server) as provider:
        asked = [asyncio.create_task(said(provider)) for _ in range(5)]
        asked.append(asyncio.create_task(streamed(provider)))
        await server.waiting.wait()
        server.go_on.set()
        assert await asyncio.gather(*asked) == ["The sky is blue."] * 6
    assert server.pulled == ["small"]


async def test_only_so_many_models_are_pulled_at_once() -> None:
    names = ["a", "b", "c", "d"]
    async with (
        ollama(**{name: [*BEGINS, None, *ENDS] for name in names}) as server,
        on(server) as provider,
    ):
        asked = [asyncio.create_task(said(provider, name)) for name in names]
        await until(lambda: server.at_once == 2)
        assert len(provider.pulls.under_way()) == 4
        server.go_on.set()
        await asyncio.gather(*asked)
    assert (sorted(server.pulled), server.most_at_once) == (names, 2)


async def test_who_waits_too_long_is_told_how_far_it_has_come_and_the_pull_goes_on() -> None:
    async with (
        ollama(small=[*BEGINS, layer(680), None, layer(2_000), *ENDS]) as server,
        on(server, patience=0.2) as provider,
    ):
        with pytest.raises(Unavailable, match=r"^Provider 'home' is pulling 'small': \d+ %. Ask again.$") as caught:
            await said(provider)
        assert (caught.value.status, caught.value.retry_after) == (503, 10)
        await server.waiting.wait()
        with pytest.raises(Unavailable, match="'small': 34 %"):
            await streamed(provider)
        assert (await provider.health()).message == "0 models; pulling 'small': 34 %"
        server.go_on.set()
        await until(lambda: not provider.pulls.under_way())
        assert await said(provider) == "The sky is blue."
        assert (await provider.health()).message == "1 model"
    assert server.pulled == ["small"]


async def test_a_client_that_leaves_does_not_stop_a_pull() -> None:
    async with ollama(small=[*BEGINS, None, *ENDS]) as server, on(server) as provider:
        leaving, staying = asyncio.create_task(said(provider)), asyncio.create_task(said(provider))
        await server.waiting.wait()
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        server.go_on.set()
        assert await staying == "The sky is blue."
    assert server.pulled == ["small"]


async def test_without_the_setting_the_404_says_what_to_do() -> None:
    async with ollama(small=WHOLE) as server, on(server, pull=False) as provider:
        for asked in (said, streamed):
            with pytest.raises(
                UpstreamRejected, match=r"'small' not found\. Set 'pull_missing: true' .* 'ollama pull small'"
            ) as no:
                await asked(provider)
            assert (no.value.status, no.value.param, no.value.code) == (404, "model", "model_not_found")
    assert server.pulled == []


async def test_a_model_that_is_none_is_404_and_not_tried_again_at_once() -> None:
    async with ollama() as server, on(server) as provider:
        for asked in (said, streamed):
            with pytest.raises(
                NotFound, match=r"has no model 'small' and cannot pull it: .* file does not exist"
            ) as no:
                await asked(provider)
            assert (no.value.param, no.value.code) == ("model", "model_not_found")
        assert (await provider.health()).message == "0 models"
    assert server.pulled == ["small"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([*BEGINS, {"error": "write /models/blobs: no space left on device"}], "no space left on device"),
        ([*BEGINS, layer(7)], "ended the pull of 'small' before it was complete"),
        ([*BEGINS, {"status": 7}], "status"),
        ([*BEGINS, layer(-1)], "completed"),
    ],
)
async def test_a_pull_that_fails_on_the_way_is_told_in_the_servers_words(lines: Any, words: str) -> None:
    async with ollama(small=lines) as server, on(server) as provider:
        with pytest.raises(UpstreamError, match=words) as caught:
            await said(provider)
    assert caught.value.status == 502


async def test_a_model_that_is_still_missing_after_its_pull_is_not_pulled_for_ever() -> None:
    async with ollama(small=WHOLE) as server, on(server) as provider:
        server.keeps = False
        with pytest.raises(UpstreamRejected):
            await said(provider)
    assert server.pulled == ["small"]


async def test_reranking_pulls_nothing() -> None:
    async with ollama(small=WHOLE) as server, on(server) as provider:
        with pytest.raises(NotSupported):
            await provider.rerank(CALL, RerankRequest(model="small", query="x", items=["y"]))
    assert server.pulled == []


async def test_a_provider_that_stops_ends_its_pulls() -> None:
    async with ollama(small=[*BEGINS, None, *ENDS]) as server:
        async with on(server, patience=0.01) as provider:
            with pytest.raises(Unavailable):
                await said(provider)
            await server.waiting.wait()
        await until(lambda: server.at_once == 0)
        assert provider.pulls.under_way() == []


async def test_a_pull_that_falls_silent_is_asked_for_again() -> None:
    asked: list[str] = []

    async def lines(model: str) -> AsyncIterator[dict[str, Any]]:
        asked.append(model)
        yield layer(2_000)
        if len(asked) < 3:
            raise UpstreamTimeout("silent")
        yield ENDS[-1]

    pulls = Pulls("Provider 'home'", lines)  # type: ignore[arg-type]
    await pulls.wait_for("big")
    assert asked == ["big"] * 3


async def test_a_pull_that_stays_silent_fails() -> None:
    async def lines(model: str) -> AsyncIterator[dict[str, Any]]:
        raise UpstreamTimeout("silent")
        yield {}

    with pytest.raises(UpstreamTimeout, match="silent"):
        await Pulls("Provider 'home'", lines).wait_for("big")  # type: ignore[arg-type]


async def test_progress_is_logged_at_steps(caplog: pytest.LogCaptureFixture) -> None:
    steps: Any = [layer(done) for done in range(0, 2_001, 10)]
    with caplog.at_level(logging.INFO, "apps.inference.providers.pulling"):
        async with ollama(small=[*BEGINS, *steps, *ENDS]) as server, on(server) as provider:
            await said(provider)
    told = [record.getMessage() for record in caplog.records if record.name.endswith("pulling")]
    assert told[0] == "Provider 'home' begins to pull 'small'"
    assert told[1:-1] == [f"Provider 'home' is pulling 'small': {percent} %" for percent in range(10, 101, 10)]
    assert told[-1] == "Provider 'home' has pulled 'small'"


async def test_over_http_a_registered_model_is_pulled_when_it_is_asked_for(
    client: httpx.AsyncClient, running: LlamaStack
) -> None:
    async with ollama(small=[*BEGINS, layer(1_000), None, *ENDS]) as server:
        row = await db(add_provider, "home", "remote::ollama", url=server.url, pull_missing=True)
        await db(service.edit_model, Model(identifier="mine"), {"provider_id": "home", "provider_model_id": "small"})
        await running.live.refresh()
        asked = asyncio.create_task(
            client.post("/v1/chat/completions", json={"model": "mine", "messages": HELLO, "stream": True})
        )
        await server.waiting.wait()
        health = (await client.get(f"/v1/providers/{row.identifier}")).json()["health"]
        assert health == {"status": "OK", "message": "0 models; pulling 'small': 50 %"}
        server.go_on.set()
        response = await asked
    assert response.status_code == 200
    assert response.text.endswith("data: [DONE]\n\n")
