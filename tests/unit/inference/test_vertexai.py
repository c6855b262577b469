"""Google's Vertex AI by its OpenAI-compatible API."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from apps.inference.providers.remote.vertexai import VertexAI
from apps.inference.providers.remote.vertexai.provider import VertexAIConfig
from llamastack.egress import Egress
from llamastack.errors import BadRequest, UnsupportedParameter, UpstreamError
from tests.unit.inference.scripted import (
    CALL,
    Line,
    Stream,
    Vendor,
    chat,
    chunk,
    heard,
    rerouted,
    said,
    scripted,
    started,
    with_data,
)
from tests.unit.inference.test_google_credentials import TOKEN, service_account

HOST = "/us-central1-aiplatform.googleapis.com"
CHAT = f"POST {HOST}/v1/projects/sky/locations/us-central1/endpoints/openapi/chat/completions"
GLOBAL_CHAT = "POST /aiplatform.googleapis.com/v1/projects/sky/locations/global/endpoints/openapi/chat/completions"
GARDEN = f"GET {HOST}/v1beta1/publishers/google/models?pageSize=200"


class Vertex(VertexAI):
    vendor: Vendor

    def new_egress(self, base_url: str, headers: Mapping[str, str] | None = None) -> Egress:
        return rerouted(super().new_egress(base_url, headers), self.vendor)


def vertex(vendor: Vendor, **config: Any) -> Vertex:
    provider = Vertex("vertexai", VertexAIConfig.model_validate({"project": "sky", **config}))
    provider.vendor = vendor
    return provider


@pytest.mark.parametrize("name", ["access_token", "auth_credential", "api_key"])
@pytest.mark.parametrize(("location", "line"), [("us-central1", CHAT), ("global", GLOBAL_CHAT)])
async def test_project_and_location_make_its_address(name: str, location: str, line: str) -> None:
    async with scripted({line: said()}) as vendor:
        async with started(vertex(vendor, location=location, **{name: "ya29"})) as provider:
            await provider.post_chat_completion(CALL, chat(model="google/gemini-2.5-flash"))
    assert vendor.asked[0].headers["Authorization"] == "Bearer ya29"


@pytest.mark.parametrize("name", ["google/gemini-x", "gemini-x", "publishers/google/models/gemini-x"])
async def test_a_model_may_be_named_as_googles_other_apis_do(name: str) -> None:
    async with scripted({CHAT: said()}) as vendor, started(vertex(vendor, access_token="t")) as provider:
        await provider.post_chat_completion(CALL, chat(model=name))
        with pytest.raises(UnsupportedParameter):
            await provider.post_chat_completion(CALL, chat(model=name, logit_bias={"5": 1.0}))
        await provider.post_chat_completion(CALL, chat(model="meta/llama-x", logit_bias={"5": 1.0}))
    assert [asked.body["model"] for asked in vendor.asked] == ["google/gemini-x", "meta/llama-x"]


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key.json"
    path.write_bytes(orjson.dumps(service_account("https://oauth2.googleapis.com")))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))


@pytest.mark.usefixtures("key_file")
async def test_without_a_token_in_the_config_each_call_has_one_of_the_environments() -> None:
    issued = "POST /oauth2.googleapis.com/token"
    script: dict[str, Line] = {issued: TOKEN, CHAT: said(), GARDEN: {"publisherModels": []}}
    async with scripted(script) as vendor, started(vertex(vendor)) as provider:
        assert vendor.asked == []
        await provider.post_chat_completion(CALL, chat())
        script[CHAT] = Stream([chunk("Blue."), chunk(finish="stop")])
        assert await heard(await provider.post_chat_completion(CALL, chat(stream=True))) == "Blue."
        assert await provider.get_models(CALL) == []
    assert [asked.line for asked in vendor.asked] == [issued, CHAT, CHAT, GARDEN]
    assert {asked.headers["Authorization"] for asked in vendor.asked[1:]} == {"Bearer ya29.one"}
    assert "Authorization" not in vendor.asked[0].headers


@pytest.mark.usefixtures("key_file")
async def test_a_caller_with_a_token_of_its_own_may_name_its_project_and_region() -> None:
    theirs = "POST /aiplatform.googleapis.com/v1/projects/their-own/locations/global/endpoints/openapi/chat/completions"
    data = {"vertex_access_token": "theirs", "vertex_project": "their-own", "vertex_location": "global"}
    async with scripted({theirs: said(), CHAT: said()}) as vendor:
        async with started(vertex(vendor)) as provider:
            await provider.post_chat_completion(with_data(**data), chat())
            await provider.post_chat_completion(with_data(vertex_access_token="theirs"), chat())
    assert [asked.line for asked in vendor.asked] == [theirs, CHAT]
    assert {asked.headers["Authorization"] for asked in vendor.asked} == {"Bearer theirs"}


@pytest.mark.parametrize(
    "data",
    [
        {"vertex_project": "their-own"},
        {"vertex_location": "global"},
        {"vertex_access_token": "t", "vertex_project": "../x"},
        {"vertex_access_token": "t", "vertex_location": "evil.example/"},
    ],
)
async def test_the_operators_token_is_for_the_operators_project_alone(data: dict[str, str]) -> None:
    async with scripted({CHAT: said()}) as vendor, started(vertex(vendor, access_token="ours")) as provider:
        with pytest.raises(BadRequest, match="vertex_"):
            await provider.post_chat_completion(with_data(**data), chat())
    assert vendor.asked == []


async def test_the_gardens_gemini_models_are_listed_page_by_page() -> None:
    def page(names: list[str], token: str) -> dict[str, Any]:
        models = [{"name": f"publishers/google/models/{name}", "versionId": "default"} for name in names]
        return {"publisherModels": models} | ({"nextPageToken": token} if token else {})

    script: dict[str, Line] = {
        GARDEN: page(["gemini-2.5-flash", "gemini-embedding-001"], "a+b"),
        f"{GARDEN}&pageToken=a%2Bb": page(["timesfm", "gemini-2.5-pro"], ""),
    }
    async with scripted(script) as vendor, started(vertex(vendor, access_token="t")) as provider:
        names = [model.provider_model_id for model in await provider.get_models(CALL)]
        assert (await provider.health()).message == "2 models"
    assert names == ["google/gemini-2.5-flash", "google/gemini-2.5-pro"]
    assert vendor.asked[0].headers["x-goog-user-project"] == "sky"
    assert vendor.asked[0].headers["Authorization"] == "Bearer t"


async def test_allowed_models_are_offered_as_they_are_named() -> None:
    async with scripted({}) as vendor:
        async with started(vertex(vendor, access_token="t", allowed_models=["meta/llama-x"])) as provider:
            assert [model.provider_model_id for model in await provider.get_models(CALL)] == ["meta/llama-x"]
    assert vendor.asked == []


@pytest.mark.usefixtures("key_file")
async def test_its_health_tells_that_there_is_no_token() -> None:
    async with scripted({}) as vendor, started(vertex(vendor, allowed_models=["google/x"])) as provider:
        health = await provider.health()
        with pytest.raises(UpstreamError, match="No access token was issued"):
            await provider.post_chat_completion(CALL, chat())
    assert not health.ok
    assert "No access token was issued" in health.message


@pytest.mark.parametrize(
    "config", [{"project": "a/b"}, {"project": ".."}, {"project": "a", "location": "eu.evil.example/"}, {}]
)
def test_names_that_would_lead_elsewhere_are_refused(config: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"project|location"):
        VertexAIConfig.model_validate(config)
