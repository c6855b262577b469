"""Amazon Bedrock beside its chats: keys, lists of models, embeddings, reranking, and its OpenAI-compatible API."""

import base64
import json
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from apps.inference.providers.remote.bedrock import Bedrock
from apps.inference.providers.remote.bedrock.config import BedrockConfig
from apps.inference.schemas import RerankRequest
from llamastack.egress import Egress
from llamastack.errors import (
    AuthenticationError,
    NotSupported,
    RateLimited,
    UnsupportedParameter,
    UpstreamError,
)
from tests.frames import MEDIA_TYPE, frame
from tests.unit.inference.scripted import (
    CALL,
    Asked,
    Line,
    Status,
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
from tests.upstream import on_loopback

RUNTIME, LISTING = "/bedrock-runtime.us-east-2.amazonaws.com", "/bedrock.us-east-2.amazonaws.com"
NOVA = "amazon.nova-pro-v1:0"
CONVERSE = f"POST {RUNTIME}/model/amazon.nova-pro-v1%3A0/converse"
MODELS = f"GET {LISTING}/foundation-models"
PROFILES = f"GET {LISTING}/inference-profiles?maxResults=1000"
OPENAI = f"POST {RUNTIME}/openai/v1/chat/completions"
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Blue."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
}
NAMES = (
    "AWS_DEFAULT_REGION",
    "AWS_BEDROCK_BEARER_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without credentials, and without a metadata server."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


class OnLoopback(Bedrock):
    vendor: Vendor

    def new_egress(self, base_url: str, headers: Mapping[str, str] | None = None) -> Egress:
        return rerouted(super().new_egress(base_url, headers), self.vendor)


def bedrock(vendor: Vendor, **config: Any) -> OnLoopback:
    provider = OnLoopback("bedrock", BedrockConfig.model_validate(config))
    provider.vendor = vendor
    return provider


KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}


async def authorized(call: Any = CALL, **config: Any) -> str:
    """The header with which a chat was sent."""
    async with scripted({CONVERSE: ANSWER}) as vendor, started(bedrock(vendor, **config)) as provider:
        await provider.post_chat_completion(call, chat(model=NOVA))
    return vendor.asked[-1].headers["Authorization"]


@pytest.mark.parametrize("name", ["api_key", "auth_credential", "aws_bedrock_bearer_token", "aws_bearer_token_bedrock"])
async def test_a_key_of_bedrocks_is_a_bearer_token(name: str) -> None:
    assert await authorized(**{name: "bedrock-api-key-1"}) == "Bearer bedrock-api-key-1"


async def test_credentials_sign() -> None:
    signed = await authorized(**KEYS)
    assert signed.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "SignedHeaders=content-type;host;x-amz-date," in signed


async def test_a_callers_own_key_goes_before_the_configured_ones() -> None:
    for name in ("aws_bearer_token_bedrock", "aws_bedrock_bearer_token"):
        for config in (KEYS, {"api_key": "theirs"}, {}):
            assert await authorized(with_data(**{name: "mine"}), **config) == "Bearer mine"


async def test_the_environments_key_serves_where_the_config_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "of-the-environment")
    assert await authorized() == "Bearer of-the-environment"
    assert (await authorized(**KEYS)).startswith("AWS4-HMAC-SHA256")


async def test_without_botocore_a_key_serves_and_credentials_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    assert await authorized(api_key="k") == "Bearer k"
    with pytest.raises(ImportError, match="botocore"):
        await authorized(**KEYS)


async def test_who_should_tell_credentials_may_fail_when_the_provider_starts(tmp_path: Path) -> None:
    file = tmp_path / "told.json"
    (tmp_path / "config").write_text(f"[default]\ncredential_process = cat {file}\n")
    async with scripted({CONVERSE: ANSWER}) as vendor, started(bedrock(vendor)) as provider:
        with pytest.raises(UpstreamError, match="issued no credentials"):
            await provider.post_chat_completion(CALL, chat(model=NOVA))
        file.write_text(json.dumps({"Version": 1, "AccessKeyId": "OF_A_PROCESS", "SecretAccessKey": "s"}))
        await provider.post_chat_completion(CALL, chat(model=NOVA))
    assert "Credential=OF_A_PROCESS/" in vendor.asked[-1].headers["Authorization"]


async def test_a_failure_before_the_first_word_comes_before_the_first_chunk() -> None:
    """So that its status can be told, or another home be asked."""
    begun = frame("messageStart", {"role": "assistant"})
    body = begun + frame("throttlingException", {"message": "Slow."}, "exception")

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Type": MEDIA_TYPE})

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    async with on_loopback(app) as url:
        config = BedrockConfig.model_validate({"base_url": url, "api_key": "k"})
        async with started(Bedrock("b", config)) as provider:
            chunks = await provider.post_chat_completion(CALL, chat(model=NOVA, stream=True))
            with pytest.raises(RateLimited, match="Slow"):
                await anext(chunks)


async def test_without_key_and_credentials_callers_are_asked_for_theirs() -> None:
    async with scripted({}) as vendor, started(bedrock(vendor)) as provider:
        for ask in (provider.post_chat_completion(CALL, chat(model=NOVA)), provider.get_models(CALL)):
            with pytest.raises(AuthenticationError, match="aws_bearer_token_bedrock"):
                await ask
        health = await provider.health()
    assert (health.ok, vendor.asked) == (True, [])
    assert "callers send theirs" in health.message


SUMMARIES: list[dict[str, Any]] = [
    {"modelId": NOVA, "outputModalities": ["TEXT"], "inferenceTypesSupported": ["ON_DEMAND"]},
    {"modelId": f"{NOVA}:300k", "outputModalities": ["TEXT"], "inferenceTypesSupported": ["PROVISIONED"]},
    {"modelId": "anthropic.claude-x", "outputModalities": ["TEXT"], "inferenceTypesSupported": ["INFERENCE_PROFILE"]},
    {
        "modelId": "amazon.titan-embed-text-v2:0",
        "outputModalities": ["EMBEDDING"],
        "inferenceTypesSupported": ["ON_DEMAND"],
    },
    {"modelId": "amazon.nova-canvas-v1:0", "outputModalities": ["IMAGE"], "inferenceTypesSupported": ["ON_DEMAND"]},
    {"modelId": "cohere.rerank-v3-5:0", "outputModalities": ["TEXT"], "inferenceTypesSupported": ["ON_DEMAND"]},
]
ARN = "arn:aws:bedrock:us-east-1::foundation-model/"
OWN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2"


def profile(name: str, model: str, kind: str = "SYSTEM_DEFINED", status: str = "ACTIVE") -> dict[str, Any]:
    own = {"inferenceProfileArn": OWN} if kind == "APPLICATION" else {}
    return {"inferenceProfileId": name, "type": kind, "status": status, "models": [{"modelArn": ARN + model}], **own}


FIRST = [profile("us.anthropic.claude-x", "anthropic.claude-x"), profile("us.meta.llama", "meta.llama")]
SECOND = [profile("a1b2", NOVA, "APPLICATION"), profile("eu.anthropic.claude-x", "anthropic.claude-x", status="GONE")]
LISTED: dict[str, Line] = {
    MODELS: {"modelSummaries": SUMMARIES},
    PROFILES: {"inferenceProfileSummaries": FIRST, "nextToken": "a/b="},
    f"{PROFILES}&nextToken=a%2Fb%3D": {"inferenceProfileSummaries": SECOND},
}


async def test_models_are_listed_under_the_id_by_which_they_can_be_asked() -> None:
    async with scripted(LISTED) as vendor, started(bedrock(vendor, **KEYS)) as provider:
        models = await provider.get_models(CALL)
        assert (await provider.health()).message == "6 models"
    assert [(model.provider_model_id, model.model_type) for model in models] == [
        (NOVA, "llm"),
        ("amazon.titan-embed-text-v2:0", "embedding"),
        ("cohere.rerank-v3-5:0", "rerank"),
        ("us.anthropic.claude-x", "llm"),
        (OWN, "llm"),
    ]
    assert models[1].metadata == {"embedding_dimension": 1024}
    assert all(asked.headers["Authorization"].startswith("AWS4-HMAC-SHA256") for asked in vendor.asked)


async def test_who_may_not_list_profiles_has_the_other_models() -> None:
    script: dict[str, Line] = {MODELS: LISTED[MODELS], PROFILES: Status(403, {"message": "not authorized"})}
    async with scripted(script) as vendor, started(bedrock(vendor, api_key="k", allowed_models=[NOVA])) as provider:
        assert [model.provider_model_id for model in await provider.get_models(CALL)] == [NOVA]


async def test_what_is_no_list_of_models_is_told() -> None:
    async with scripted({MODELS: {"models": []}}) as vendor, started(bedrock(vendor, api_key="k")) as provider:
        with pytest.raises(UpstreamError, match="not a list of models"):
            await provider.get_models(CALL)


async def test_addresses_may_be_others_than_the_regions() -> None:
    urls = {"base_url": "https://vpce-1.example/", "models_url": "https://vpce-2.example"}
    script: dict[str, Line] = {
        "POST /vpce-1.example/model/amazon.nova-pro-v1%3A0/converse": ANSWER,
        "GET /vpce-2.example/foundation-models": {"modelSummaries": []},
        "GET /vpce-2.example/inference-profiles?maxResults=1000": {"inferenceProfileSummaries": []},
    }
    async with scripted(script) as vendor, started(bedrock(vendor, api_key="k", **urls)) as provider:
        await provider.post_chat_completion(CALL, chat(model=NOVA))
        assert await provider.get_models(CALL) == []


async def test_named_models_are_asked_by_the_openai_compatible_api() -> None:
    events = [chunk("Blue"), chunk(".", "stop")]

    async def answer(asked: Asked) -> Any:
        return Stream(events, done=False) if asked.body.get("stream") else said()

    model = "openai.gpt-oss-20b-1:0"
    async with scripted({OPENAI: answer}) as vendor:
        async with started(bedrock(vendor, **KEYS, openai_models=[model])) as provider:
            request = chat(model=model, seed=7, store=True, metadata={"a": "b"})
            assert (await provider.post_chat_completion(CALL, request)).choices[0].message.content == "Blue."
            assert await heard(await provider.post_chat_completion(CALL, chat(model=model, stream=True))) == "Blue."
    first, second = vendor.asked
    assert first.body == {"model": model, "messages": [{"role": "user", "content": "Hi"}], "seed": 7}
    assert second.body["stream"] is True
    assert first.headers["Authorization"].startswith("AWS4-HMAC-SHA256")


def invoke(model: str) -> str:
    return f"POST {RUNTIME}/model/{model.replace(':', '%3A')}/invoke"


async def titan(asked: Asked) -> Any:
    return {"embedding": [float(len(asked.body["inputText"])), 0.5], "inputTextTokenCount": 2}


async def test_titan_is_asked_for_one_text_at_a_time() -> None:
    model = "amazon.titan-embed-text-v2:0"
    async with scripted({invoke(model): titan}) as vendor, started(bedrock(vendor, api_key="k")) as provider:
        reply = await provider.post_embedding(CALL, embedding(model=model, input=["a", "bbb", "cc"], dimensions=256))
        packed = await provider.post_embedding(CALL, embedding(model=model, input="a", encoding_format="base64"))
        with pytest.raises(UnsupportedParameter, match="token ids"):
            await provider.post_embedding(CALL, embedding(model=model, input=[1, 2]))
    assert [item.embedding for item in reply.data] == [[1.0, 0.5], [3.0, 0.5], [2.0, 0.5]]
    assert (reply.usage.prompt_tokens, reply.model) == (6, model)
    assert {"inputText": "bbb", "dimensions": 256} in [asked.body for asked in vendor.asked]
    assert struct.unpack("<2f", base64.b64decode(packed.data[0].embedding)) == (1.0, 0.5)


async def test_the_first_titan_that_fails_is_told() -> None:
    model = "amazon.titan-embed-text-v1"
    script: dict[str, Line] = {invoke(model): Status(400, {"message": "Too many input tokens."})}
    async with scripted(script) as vendor, started(bedrock(vendor, api_key="k")) as provider:
        with pytest.raises(UpstreamError, match="Too many input tokens"):
            await provider.post_embedding(CALL, embedding(model=model, input=["a", "b"]))
        with pytest.raises(UnsupportedParameter, match="dimensions"):
            await provider.post_embedding(CALL, embedding(model=model, dimensions=256))


async def test_cohere_is_asked_for_as_many_texts_as_it_takes() -> None:
    async def cohere(asked: Asked) -> Any:
        return {"embeddings": {"float": [[float(text)] for text in asked.body["texts"]]}}

    model = "us.cohere.embed-v4:0"
    async with scripted({invoke(model): cohere}) as vendor, started(bedrock(vendor, api_key="k")) as provider:
        request = embedding(model=model, input=[str(n) for n in range(100)], dimensions=512, input_type="search_query")
        reply = await provider.post_embedding(CALL, request)
        with pytest.raises(UnsupportedParameter, match="normalize"):
            await provider.post_embedding(CALL, embedding(model=model, input=[""], normalize=True, user="ada"))
    assert [item.embedding for item in reply.data] == [[float(n)] for n in range(100)]
    assert reply.usage is None
    assert sorted(len(asked.body["texts"]) for asked in vendor.asked) == [4, 96]
    rest = {"input_type": "search_query", "embedding_types": ["float"], "output_dimension": 512}
    assert all(asked.body.items() >= rest.items() for asked in vendor.asked)


async def test_vectors_that_are_missing_are_told() -> None:
    model = "cohere.embed-english-v3"
    script: dict[str, Line] = {invoke(model): {"embeddings": {"float": [[1.0]]}}}
    async with scripted(script) as vendor, started(bedrock(vendor, api_key="k")) as provider:
        with pytest.raises(UpstreamError, match="another number of texts"):
            await provider.post_embedding(CALL, embedding(model=model, input=["a", "b"]))


async def test_only_models_that_are_known_to_embed_do() -> None:
    async with scripted({}) as vendor, started(bedrock(vendor, api_key="k")) as provider:
        with pytest.raises(NotSupported, match="and not with 'amazon"):
            await provider.post_embedding(CALL, embedding(model=NOVA))


def ranking(model: str, **fields: Any) -> RerankRequest:
    return RerankRequest.model_validate({"model": model, "query": "blue", "items": ["cat", "sky"], **fields})


async def test_items_are_ranked() -> None:
    results = {"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]}
    amazon, cohere = "amazon.rerank-v1:0", "cohere.rerank-v3-5:0"
    async with scripted({invoke(amazon): results, invoke(cohere): results}) as vendor:
        async with started(bedrock(vendor, api_key="k")) as provider:
            reply = await provider.rerank(CALL, ranking(amazon, max_num_results=1))
            await provider.rerank(CALL, ranking(cohere))
            with pytest.raises(NotSupported, match="Rerank"):
                await provider.rerank(CALL, ranking(NOVA))
    assert [item.index for item in reply.data] == [1]
    asked = {"query": "blue", "documents": ["cat", "sky"]}
    assert [one.body for one in vendor.asked] == [asked | {"top_n": 1}, asked | {"api_version": 2}]
