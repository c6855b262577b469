"""Google's Vertex AI: addresses, tokens, and whose models are asked in which dialect."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from apps.inference.providers.remote.vertexai import VertexAI
from apps.inference.providers.remote.vertexai.provider import VertexAIConfig
from llamastack.egress import Egress
from llamastack.errors import BadRequest, NotFound, UnsupportedParameter, UpstreamError
from llamastack.providers import ProviderUnavailable
from tests.unit.inference.scripted import (
    CALL,
    Asked,
    Line,
    Stream,
    Vendor,
    chat,
    chunk,
    embedding,
    heard,
    rerouted,
    said,
    scripted,
    started,
    with_data,
)
from tests.unit.inference.test_google_credentials import TOKEN, service_account

HOST = "/us-central1-aiplatform.googleapis.com"
BASE = f"{HOST}/v1/projects/sky/locations/us-central1"
EUROPE = "/aiplatform.eu.rep.googleapis.com/v1beta1/projects/sky/locations/eu"
GLOBAL = "/aiplatform.googleapis.com/v1beta1/projects/sky/locations/global"
MODELS = "publishers/google/models"
BETA = BASE.replace("/v1/", "/v1beta1/")  # what Google's own models are asked
CHAT = f"POST {BETA}/{MODELS}/sky:generateContent"
STREAM = f"POST {BETA}/{MODELS}/sky:streamGenerateContent?alt=sse"
DOOR = f"POST {BASE}/endpoints/openapi/chat/completions"
GARDEN = f"GET {HOST}/v1beta1/publishers/google/models?pageSize=200"


def blue(**fields: Any) -> dict[str, Any]:
    """A whole answer, which is a stream's last event too."""
    return {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Blue."}]}, "finishReason": "STOP", **fields}]
    }


class Vertex(VertexAI):
    vendor: Vendor

    def new_egress(self, base_url: str, headers: Mapping[str, str] | None = None) -> Egress:
        return rerouted(super().new_egress(base_url, headers), self.vendor)


def vertex(vendor: Vendor, **config: Any) -> Vertex:
    provider = Vertex("vertexai", VertexAIConfig.model_validate({"project": "sky", **config}))
    provider.vendor = vendor
    return provider


@pytest.mark.parametrize("name", ["access_token", "auth_credential", "api_key"])
@pytest.mark.parametrize(("location", "base"), [("us-central1", BETA), ("eu", EUROPE), ("global", GLOBAL)])
async def test_project_and_location_make_its_address(name: str, location: str, base: str) -> None:
    async with scripted({f"POST {base}/{MODELS}/gemini-2.5-flash:generateContent": blue()}) as vendor:
        async with started(vertex(vendor, location=location, **{name: "ya29"})) as provider:
            await provider.post_chat_completion(CALL, chat(model="google/gemini-2.5-flash"))
    assert vendor.asked[0].headers["Authorization"] == "Bearer ya29"


@pytest.mark.parametrize("end", ["", "/endpoints/openapi", "/endpoints/openapi/"])
async def test_an_address_of_its_openai_door_leads_to_both(end: str) -> None:
    async with scripted({"POST /host/v1/publishers/google/models/sky:generateContent": blue()}) as vendor:
        async with started(vertex(vendor, access_token="t", base_url=f"https://host/v1{end}")) as provider:
            await provider.post_chat_completion(CALL, chat())
    assert len(vendor.asked) == 1


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("google/gemini-x", f"{MODELS}/gemini-x"),
        ("gemini-x", f"{MODELS}/gemini-x"),
        ("publishers/google/models/gemini-x", f"{MODELS}/gemini-x"),
        ("endpoints/123", "endpoints/123"),
    ],
)
async def test_a_model_may_be_named_as_googles_other_apis_do(name: str, path: str) -> None:
    async with scripted({f"POST {BETA}/{path}:generateContent": blue()}) as vendor:
        async with started(vertex(vendor, access_token="t")) as provider:
            await provider.post_chat_completion(CALL, chat(model=name))
            with pytest.raises(UnsupportedParameter):
                await provider.post_chat_completion(CALL, chat(model=name, logit_bias={"5": 1.0}))
    assert len(vendor.asked) == 1


@pytest.mark.parametrize("name", ["google/a:b", "endpoints/1/x", "google/..?", "gemini x"])
async def test_a_name_that_would_lead_elsewhere_is_no_model(name: str) -> None:
    async with scripted({}) as vendor, started(vertex(vendor, access_token="t")) as provider:
        with pytest.raises(NotFound, match="'vertexai' has no model"):
            await provider.post_chat_completion(CALL, chat(model=name))
    assert vendor.asked == []


@pytest.mark.parametrize(
    ("name", "there"),
    [("meta/llama-x", "meta/llama-x"), ("publishers/meta/models/llama-x", "meta/llama-x"), ("google/gemma-maas",) * 2],
)
async def test_the_models_of_other_publishers_are_asked_in_openais_dialect(name: str, there: str) -> None:
    script: dict[str, Line] = {DOOR: said()}
    turns = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    async with scripted(script) as vendor, started(vertex(vendor, access_token="t")) as provider:
        await provider.post_chat_completion(CALL, chat(model=name, messages=turns, logit_bias={"5": 1.0}))
        script[DOOR] = Stream([chunk("Blue."), chunk(finish="stop")])
        assert await heard(await provider.post_chat_completion(CALL, chat(model=name, stream=True))) == "Blue."
    first = vendor.asked[0].body
    assert (first["model"], first["logit_bias"], first["messages"][0]["role"]) == (there, {"5": 1.0}, "system")


async def test_claude_is_asked_in_anthropics_dialect() -> None:
    model = "publishers/anthropic/models/claude-sonnet-4-5@20250929"
    message = {"type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "end_turn"}
    answer = message | {
        "content": [{"type": "text", "text": "Blue."}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    async with scripted({f"POST {BASE}/{model}:rawPredict": answer}) as vendor:
        async with started(vertex(vendor, access_token="t")) as provider:
            reply = await provider.post_chat_completion(CALL, chat(model="anthropic/claude-sonnet-4-5@20250929"))
            with pytest.raises(NotFound, match="no model"):
                await provider.post_chat_completion(CALL, chat(model="anthropic/claude:x"))
    assert reply.choices[0].message.content == "Blue."
    [asked] = vendor.asked
    assert asked.body["anthropic_version"] == "vertex-2023-10-16"
    assert "model" not in asked.body


async def test_vectors_come_from_where_each_model_gives_them() -> None:
    predicted = {"predictions": [{"embeddings": {"values": [0.5], "statistics": {"token_count": 2.0}}}]}
    single = {"embedding": {"values": [0.25]}, "usageMetadata": {"promptTokenCount": 3}}
    others = {"object": "list", "data": [{"embedding": [1.0]}], "model": "x"}
    script: dict[str, Line] = {
        f"POST {BETA}/{MODELS}/gemini-embedding-001:predict": predicted,
        f"POST {BETA}/{MODELS}/gemini-embedding-2:embedContent": single,
        f"POST {BASE}/endpoints/openapi/embeddings": others,
    }
    several = {"input": ["a", "b"], "dimensions": 8, "task_type": "CLUSTERING"}
    async with scripted(script) as vendor, started(vertex(vendor, access_token="t")) as provider:
        older = await provider.post_embedding(CALL, embedding(model="google/gemini-embedding-001", **several))
        newer = await provider.post_embedding(CALL, embedding(model="gemini-embedding-2", **several))
        other = await provider.post_embedding(CALL, embedding(model="intfloat/e5-maas"))
    assert [(len(reply.data), reply.usage and reply.usage.prompt_tokens) for reply in (older, newer, other)] == [
        (2, 4),
        (2, 6),
        (1, None),
    ]
    bodies = [asked.body for asked in vendor.asked]
    instance = {"content": "a", "task_type": "CLUSTERING"}
    assert {"instances": [instance], "parameters": {"outputDimensionality": 8}} in bodies[:2]
    config = {"taskType": "CLUSTERING", "outputDimensionality": 8}
    assert {"content": {"parts": [{"text": "b"}]}, "embedContentConfig": config} in bodies[2:4]
    assert bodies[4] == {"model": "intfloat/e5-maas", "input": "Hi"}


async def test_a_text_embedding_takes_many_texts_a_call() -> None:
    async def predicted(asked: Asked) -> Any:
        return {"predictions": [{"embeddings": {"values": [1.0]}} for _ in asked.body["instances"]]}

    async with scripted({f"POST {BETA}/{MODELS}/text-embedding-005:predict": predicted}) as vendor:
        async with started(vertex(vendor, access_token="t")) as provider:
            reply = await provider.post_embedding(CALL, embedding(model="text-embedding-005", input=["a"] * 300))
    assert (len(reply.data), len(vendor.asked), reply.usage) == (300, 2, None)


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key.json"
    path.write_bytes(orjson.dumps(service_account("https://oauth2.googleapis.com")))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))


@pytest.mark.usefixtures("key_file")
async def test_google_auth_is_needed_for_key_files_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.auth", None)
    monkeypatch.setitem(sys.modules, "google.auth.exceptions", None)
    async with scripted({CHAT: blue()}) as vendor:
        async with started(vertex(vendor, access_token="t")) as provider:
            await provider.post_chat_completion(CALL, chat())
        with pytest.raises(ProviderUnavailable, match=r"Install requirements/google\.txt, or give the provider"):
            async with started(vertex(vendor)):
                pass


@pytest.mark.usefixtures("key_file")
async def test_without_a_token_in_the_config_each_call_has_one_of_the_environments() -> None:
    issued = "POST /oauth2.googleapis.com/token"
    script: dict[str, Line] = {issued: TOKEN, CHAT: blue(), STREAM: Stream([blue()]), GARDEN: {"publisherModels": []}}
    async with scripted(script) as vendor, started(vertex(vendor)) as provider:
        assert vendor.asked == []
        await provider.post_chat_completion(CALL, chat())
        assert await heard(await provider.post_chat_completion(CALL, chat(stream=True))) == "Blue."
        assert await provider.get_models(CALL) == []
    assert [asked.line for asked in vendor.asked] == [issued, CHAT, STREAM, GARDEN]
    assert {asked.headers["Authorization"] for asked in vendor.asked[1:]} == {"Bearer ya29.one"}
    assert "Authorization" not in vendor.asked[0].headers


@pytest.mark.usefixtures("key_file")
async def test_a_caller_with_a_token_of_its_own_may_name_its_project_and_region() -> None:
    own = "/aiplatform.googleapis.com/v1beta1/projects/their-own/locations/global"
    theirs = f"POST {own}/{MODELS}/sky:generateContent"
    data = {"vertex_access_token": "theirs", "vertex_project": "their-own", "vertex_location": "global"}
    async with scripted({theirs: blue(), CHAT: blue()}) as vendor:
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
    async with scripted({CHAT: blue()}) as vendor, started(vertex(vendor, access_token="ours")) as provider:
        with pytest.raises(BadRequest, match="vertex_"):
            await provider.post_chat_completion(with_data(**data), chat())
    assert vendor.asked == []


async def test_the_gardens_models_that_chat_or_embed_are_listed_page_by_page() -> None:
    def page(names: list[str], token: str) -> dict[str, Any]:
        models = [{"name": f"publishers/google/models/{name}", "versionId": "default"} for name in names]
        return {"publisherModels": models} | ({"nextPageToken": token} if token else {})

    script: dict[str, Line] = {
        GARDEN: page(["gemini-2.5-flash", "gemini-embedding-001"], "a+b"),
        f"{GARDEN}&pageToken=a%2Bb": page(["timesfm", "gemini-2.5-pro"], ""),
    }
    async with scripted(script) as vendor, started(vertex(vendor, access_token="t")) as provider:
        names = [model.provider_model_id for model in await provider.get_models(CALL)]
        assert (await provider.health()).message == "3 models"
    assert names == ["google/gemini-2.5-flash", "google/gemini-embedding-001", "google/gemini-2.5-pro"]
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
