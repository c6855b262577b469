"""What each vendor of the OpenAI dialect does differently."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from apps.inference.providers.remote.ollama import Ollama, OllamaConfig
from apps.inference.providers.remote.openai import OpenAI, OpenAIConfig
from apps.inference.providers.remote.vllm import VLLM, VLLMConfig
from apps.inference.schemas import ChatCompletionRequest
from llamastack.apis import Api
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.errors import UnsupportedParameter, UpstreamError
from llamastack.providers import Provider, ProviderUnavailable, load, specs
from tests.upstream import Upstream, on_loopback, serving

CALL = Call(ANONYMOUS_ADMIN)


@asynccontextmanager
async def started(provider: Provider) -> AsyncIterator[Any]:
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()


def chat(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate(
        {"model": "sky", "messages": [{"role": "user", "content": "Hi"}], **fields}
    )


@pytest.mark.parametrize("provider_type", list(specs(Api.inference)))
def test_its_sample_config_constructs_it(provider_type: str) -> None:
    provider = load(specs(Api.inference)[provider_type])
    config = provider.config_class.model_validate(provider.config_class.sample_run_config())
    assert provider("sample", config).provider_id == "sample"


async def test_openai_tells_its_embedding_models_by_name() -> None:
    async with (
        serving(Upstream(models=["gpt-4o", "text-embedding-3-large"])) as upstream,
        started(OpenAI("openai", OpenAIConfig(base_url=upstream.url))) as provider,
    ):
        chat_model, embedding_model = await provider.get_models(CALL)
    assert chat_model.model_type == "llm"
    assert (embedding_model.model_type, embedding_model.metadata) == ("embedding", {"embedding_dimension": 3072})


async def test_only_allowed_models_are_listed() -> None:
    async with serving() as upstream:
        config = OpenAIConfig(base_url=upstream.url, allowed_models=["sky-2", "gone"])
        async with started(OpenAI("openai", config)) as provider:
            assert [model.provider_model_id for model in await provider.get_models(CALL)] == ["sky-2"]


@pytest.mark.parametrize(("asked", "sent"), [({}, 99), ({"max_tokens": 3}, 3), ({"max_completion_tokens": 4}, None)])
async def test_vllm_gets_the_configured_max_tokens_where_a_chat_has_none(
    asked: dict[str, int], sent: int | None
) -> None:
    async with serving() as upstream:
        config = VLLMConfig.model_validate({"url": upstream.url, "api_token": "token", "max_tokens": 99})
        async with started(VLLM("vllm", config)) as provider:
            await provider.post_chat_completion(CALL, chat(**asked))
    assert upstream.requests[-1].get("max_tokens") == sent
    assert upstream.headers[-1]["Authorization"] == "Bearer token"


@pytest.mark.parametrize(
    ("name", "value"), [("n", 2), ("logit_bias", {"5": 1}), ("tool_choice", "required"), ("tool_choice", "none")]
)
async def test_what_ollama_would_ignore_is_refused_or_left_out(name: str, value: object) -> None:
    tools = [{"type": "function", "function": {"name": "now"}}]
    asked = chat(tools=tools, seed=3, **{name: value})
    async with serving() as upstream:
        async with started(Ollama("ollama", OllamaConfig(base_url=upstream.url))) as provider:
            with pytest.raises(UnsupportedParameter, match=r"'ollama' does not .* 'drop_unsupported") as refused:
                await provider.post_chat_completion(CALL, asked)
        assert (refused.value.param, upstream.requests) == (name, [])
        config = OllamaConfig(base_url=upstream.url, drop_unsupported=True)
        async with started(Ollama("ollama", config)) as provider:
            await provider.post_chat_completion(CALL, asked)
    assert name not in upstream.requests[-1]
    assert upstream.requests[-1]["seed"] == 3


async def test_what_says_nothing_to_ollama_passes_and_its_limit_is_max_tokens() -> None:
    async with (
        serving() as upstream,
        started(Ollama("ollama", OllamaConfig(base_url=upstream.url))) as provider,
    ):
        await provider.post_chat_completion(CALL, chat(n=1, logit_bias={}, user="u", max_completion_tokens=7))
    sent = upstream.requests[-1]
    assert (sent["max_tokens"], sent["user"]) == (7, "u")
    assert "max_completion_tokens" not in sent


async def test_other_vendors_get_everything() -> None:
    async with serving() as upstream, started(OpenAI("openai", OpenAIConfig(base_url=upstream.url))) as provider:
        await provider.post_chat_completion(CALL, chat(n=2, logit_bias={"5": 1.0}, max_completion_tokens=7))
    sent = upstream.requests[-1]
    assert (sent["n"], sent["logit_bias"], sent["max_completion_tokens"]) == (2, {"5": 1.0}, 7)


@pytest.mark.parametrize("kind", [VLLM, Ollama])
async def test_a_provider_whose_start_failed_can_be_stopped(kind: Any) -> None:
    config = {"base_url": "http://127.0.0.1:9/v1", "network": {"tls": {"verify": "/no/such.pem"}}}
    provider = kind("sky", kind.config_class.model_validate(config))
    with pytest.raises(ProviderUnavailable):
        await provider.start()
    await provider.stop()


def test_vllm_without_an_address_is_refused() -> None:
    with pytest.raises(ValidationError, match="base_url"):
        VLLMConfig.model_validate({})


SHOWN = {
    "llama3.2:1b": {"capabilities": ["completion", "tools"], "model_info": {"llama.context_length": 131072}},
    "all-minilm": {
        "capabilities": ["embedding"],
        "model_info": {"bert.context_length": 512, "bert.embedding_length": 384},
    },
}


@asynccontextmanager
async def ollama_server() -> AsyncIterator[str]:
    """What https://github.com/ollama/ollama/blob/main/docs/api.md says of /api/show, beside /v1/models."""

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name} for name in SHOWN]})

    async def show(request: web.Request) -> web.Response:
        return web.json_response(SHOWN[(await request.json())["model"]])

    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_post("/api/show", show)
    async with on_loopback(app) as address:
        yield address


async def test_images_reach_the_vendor_as_they_were_sent() -> None:
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "format": "png"}, "cache": True},
    ]
    async with serving() as upstream, started(OpenAI("openai", OpenAIConfig(base_url=upstream.url))) as provider:
        await provider.post_chat_completion(CALL, chat(messages=[{"role": "user", "content": content}]))
    assert upstream.requests[-1]["messages"] == [{"role": "user", "content": content}]


@pytest.mark.parametrize("key", ["url", "base_url"])
async def test_ollama_says_what_each_of_its_models_can_do(key: str) -> None:
    async with ollama_server() as address:
        config = OllamaConfig.model_validate({key: address if key == "url" else f"{address}/v1"})
        async with started(Ollama("ollama", config)) as provider:
            chat_model, embedding_model = await provider.get_models(CALL)
    assert (chat_model.model_type, chat_model.metadata) == ("llm", {"context_length": 131072})
    assert embedding_model.model_type == "embedding"
    assert embedding_model.metadata == {"context_length": 512, "embedding_dimension": 384}


async def test_a_list_that_is_none_is_a_bad_gateway() -> None:
    async def models(request: web.Request) -> web.Response:
        return web.json_response({"models": "many"})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    async with (
        on_loopback(app) as address,
        started(OpenAI("openai", OpenAIConfig(base_url=f"{address}/v1"))) as provider,
    ):
        with pytest.raises(UpstreamError):
            await provider.get_models(CALL)
        assert not (await provider.health()).ok


async def test_health_tells_of_an_open_breaker_and_is_its_probe_after_the_pause() -> None:
    async with serving() as upstream, started(OpenAI("openai", OpenAIConfig(base_url=upstream.url))) as provider:
        breaker = provider.egress.breaker
        for _ in range(5):
            breaker.failed(breaker.admit(), "it answered 500")
        health = await provider.health()
        assert not health.ok
        assert "'openai' is left alone" in health.message
        assert "it answered 500" in health.message
        assert upstream.headers == []
        breaker.next_probe = 0
        assert (await provider.health()).ok
        assert not breaker.is_open


@pytest.mark.parametrize(
    "address",
    ["nonsense", "localhost:8000/v1", "ftp://host/v1", "http://", "http://host:99999", "https://host/v1?key=s3cret"],
)
def test_an_address_that_is_none_is_refused_when_it_is_written(address: str) -> None:
    for config in (OpenAIConfig, VLLMConfig, OllamaConfig):
        with pytest.raises(ValidationError, match="no address of a server") as refused:
            config.model_validate({"base_url": address})
        assert "s3cret" not in refused.value.errors()[0]["msg"]
