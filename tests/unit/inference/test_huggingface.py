"""Hugging Face's router, and its dedicated endpoints."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from apps.inference.providers.remote.hf_endpoint import HFEndpoint, HFEndpointConfig
from apps.inference.providers.remote.hf_serverless import HFServerless, HFServerlessConfig
from apps.inference.schemas import CompletionRequest
from llamastack.egress import Egress
from llamastack.errors import NotSupported, UpstreamError
from llamastack.providers import ProviderUnavailable
from tests.unit.inference.scripted import (
    CALL,
    Line,
    Status,
    Vendor,
    chat,
    embedding,
    rerouted,
    said,
    scripted,
    started,
)

ROUTER = "/router.huggingface.co/v1"
LIST = {"data": [{"id": "meta-llama/Llama-3.1-8B-Instruct"}, {"id": "openai/gpt-oss-120b"}]}
LOOK_UP = "GET /api.endpoints.huggingface.cloud/v2/endpoint/me/sky"
WHO_AM_I = "GET /huggingface.co/api/whoami-v2"


class Serverless(HFServerless):
    vendor: Vendor

    def new_egress(self, base_url: str, headers: Mapping[str, str] | None = None) -> Egress:
        return rerouted(super().new_egress(base_url, headers), self.vendor)


def serverless(vendor: Vendor, repository: str) -> Serverless:
    config = HFServerlessConfig.model_validate({"huggingface_repo": repository, "api_token": "hf_x"})
    provider = Serverless("hf", config)
    provider.vendor = vendor
    return provider


@pytest.mark.parametrize("name", ["openai/gpt-oss-120b", "openai/gpt-oss-120b:groq"])
async def test_the_router_serves_the_one_model(name: str) -> None:
    script = {f"GET {ROUTER}/models": LIST, f"POST {ROUTER}/chat/completions": said()}
    async with scripted(script) as vendor, started(serverless(vendor, name)) as provider:
        assert [model.provider_model_id for model in await provider.get_models(CALL)] == [name]
        await provider.post_chat_completion(CALL, chat(model=name))
    assert vendor.asked[-1].body["model"] == name
    assert vendor.asked[-1].headers["Authorization"] == "Bearer hf_x"


async def test_a_model_that_nobody_serves_is_told() -> None:
    async with scripted({f"GET {ROUTER}/models": LIST}) as vendor, started(serverless(vendor, "me/mine")) as provider:
        with pytest.raises(UpstreamError, match="serves 'me/mine' now"):
            await provider.get_models(CALL)
        assert not (await provider.health()).ok


async def test_the_router_chats_alone() -> None:
    async with scripted({}) as vendor, started(serverless(vendor, "a/b")) as provider:
        with pytest.raises(NotSupported):
            await provider.post_embedding(CALL, embedding())
        with pytest.raises(NotSupported):
            await provider.post_completion(CALL, CompletionRequest(model="a/b", prompt="x"))
    assert vendor.asked == []


class Endpoint(HFEndpoint):
    vendor: Vendor

    def new_egress(self, base_url: str, headers: Mapping[str, str] | None = None) -> Egress:
        return rerouted(super().new_egress(base_url, headers), self.vendor)


def endpoint(vendor: Vendor, name: str = "me/sky") -> Endpoint:
    provider = Endpoint("hf", HFEndpointConfig.model_validate({"endpoint_name": name, "api_token": "hf_x"}))
    provider.vendor = vendor
    return provider


def described(state: str, url: str | None = "https://abc.endpoints.huggingface.cloud") -> dict[str, Any]:
    status = {"state": state, "message": "", "targetReplica": 1} | ({"url": url} if url else {})
    return {"name": "sky", "model": {"repository": "meta-llama/Llama-3.1-8B-Instruct"}, "status": status}


@pytest.mark.parametrize("name", ["me/sky", "sky"])
async def test_its_address_is_looked_up_by_name(name: str) -> None:
    script: dict[str, Line] = {
        WHO_AM_I: {"name": "me"},
        LOOK_UP: described("running"),
        "POST /abc.endpoints.huggingface.cloud/v1/chat/completions": said(),
    }
    async with scripted(script) as vendor, started(endpoint(vendor, name)) as provider:
        reply = await provider.post_chat_completion(CALL, chat())
        [model] = await provider.get_models(CALL)
    assert reply.choices[0].message.content == "Blue."
    assert model.provider_model_id == "meta-llama/Llama-3.1-8B-Instruct"
    assert {asked.headers["Authorization"] for asked in vendor.asked} == {"Bearer hf_x"}


@pytest.mark.parametrize(
    ("state", "why"),
    [("paused", "is paused: resume it"), ("initializing", "is starting"), ("failed", "failed"), ("odd", "state 'odd'")],
)
async def test_an_endpoint_that_cannot_answer_is_unavailable_with_its_reason(state: str, why: str) -> None:
    async with scripted({LOOK_UP: described(state, url=None)}) as vendor:
        provider = endpoint(vendor)
        with pytest.raises(ProviderUnavailable, match=f"'me/sky' .*{why}"):
            await provider.start()
        await provider.stop()


async def test_one_that_sleeps_is_neither_woken_nor_refused() -> None:
    """Being asked would wake it, and cost its owner money."""
    async with scripted({LOOK_UP: described("scaledToZero")}) as vendor, started(endpoint(vendor)) as provider:
        health = await provider.health()
        assert len(await provider.get_models(CALL)) == 1
    assert (health.ok, "wakes it" in health.message) == (True, True)
    assert {asked.line for asked in vendor.asked} == {LOOK_UP}


async def test_its_health_tells_when_it_has_been_paused() -> None:
    script: dict[str, Line] = {LOOK_UP: described("running")}
    async with scripted(script) as vendor, started(endpoint(vendor)) as provider:
        assert (await provider.health()).ok
        script[LOOK_UP] = described("paused")
        paused = await provider.health()
        script[LOOK_UP] = Status(401, {"error": "Invalid token"})
        refused = await provider.health()
    assert not paused.ok
    assert "paused" in paused.message
    assert not refused.ok
    assert "Invalid token" in refused.message


async def test_with_an_address_of_its_own_nothing_is_looked_up() -> None:
    script: dict[str, Line] = {"GET /x.example/v1/models": {"data": [{"id": "tgi"}]}}
    async with scripted(script) as vendor:
        provider = Endpoint("hf", HFEndpointConfig(endpoint_name="me/sky", base_url="https://x.example/v1"))
        provider.vendor = vendor
        async with started(provider):
            assert [model.provider_model_id for model in await provider.get_models(CALL)] == ["tgi"]
            assert (await provider.health()).ok


@pytest.mark.parametrize("name", ["", "a/b/c", "../x", "a b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="endpoint_name"):
        HFEndpointConfig(endpoint_name=name)
