"""Google's Gemini API: its address, keys, lists and vectors."""

import base64
import struct
from typing import Any

import pytest

from apps.inference.providers.remote.gemini import Gemini, GeminiConfig
from llamastack.errors import AuthenticationError, NotFound, UnsupportedParameter, UpstreamError
from llamastack.errors import UpstreamRejected as Rejected
from tests.unit.inference.scripted import (
    CALL,
    Asked,
    Line,
    Status,
    Stream,
    chat,
    embedding,
    heard,
    scripted,
    started,
    with_data,
)

LIST = {
    "models": [
        {
            "name": "models/gemini-2.5-flash",
            "inputTokenLimit": 1048576,
            "outputTokenLimit": 65536,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        },
        {
            "name": "models/gemini-embedding-001",
            "inputTokenLimit": 2048,
            "outputTokenLimit": 1,
            "supportedGenerationMethods": ["embedContent"],
        },
        {"name": "models/veo-3.0", "supportedGenerationMethods": ["predictLongRunning"]},
    ]
}
LISTED = "GET /v1beta/models?pageSize=1000"
CHAT = "POST /v1beta/models/sky:generateContent"
STREAM = "POST /v1beta/models/sky:streamGenerateContent?alt=sse"
EMBEDS = "POST /v1beta/models/sky:batchEmbedContents"
SAID = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Blue."}]}, "finishReason": "STOP"}]}


def gemini(url: str, **config: Any) -> Gemini:
    return Gemini("gemini", GeminiConfig.model_validate({"base_url": f"{url}/v1beta", **config}))


@pytest.mark.parametrize("end", ["", "/", "/openai", "/openai/"])
async def test_the_address_of_its_openai_door_leads_to_its_own(end: str) -> None:
    async with scripted({CHAT: SAID}) as vendor:
        async with started(gemini(vendor.url, base_url=f"{vendor.url}/v1beta{end}")) as provider:
            reply = await provider.post_chat_completion(CALL, chat())
    assert reply.choices[0].message.content == "Blue."


async def test_its_models_tell_their_names_and_what_they_read_and_write() -> None:
    async with scripted({LISTED: LIST}) as vendor, started(gemini(vendor.url, api_key="k")) as provider:
        chats, embeds = await provider.get_models(CALL)
    assert (chats.provider_model_id, chats.model_type) == ("gemini-2.5-flash", "llm")
    assert chats.other_names == ["models/gemini-2.5-flash"]
    assert chats.metadata == {"context_length": 1048576, "max_output_tokens": 65536}
    assert (embeds.provider_model_id, embeds.model_type) == ("gemini-embedding-001", "embedding")
    assert embeds.metadata == {"context_length": 2048, "embedding_dimension": 3072}
    assert vendor.asked[0].headers["x-goog-api-key"] == "k"


@pytest.mark.parametrize("name", ["gemini-2.5-flash", "models/gemini-2.5-flash"])
async def test_an_allowed_model_may_be_named_with_its_prefix_or_without(name: str) -> None:
    async with scripted({LISTED: LIST}) as vendor:
        async with started(gemini(vendor.url, allowed_models=[name])) as provider:
            assert [model.provider_model_id for model in await provider.get_models(CALL)] == ["gemini-2.5-flash"]


async def test_a_list_comes_page_by_page() -> None:
    first, *_, last = LIST["models"]
    script: dict[str, Line] = {
        LISTED: {"models": [first], "nextPageToken": "a+b"},
        f"{LISTED}&pageToken=a%2Bb": {"models": [last | {"supportedGenerationMethods": ["generateContent"]}]},
    }
    async with scripted(script) as vendor, started(gemini(vendor.url)) as provider:
        names = [model.provider_model_id for model in await provider.get_models(CALL)]
    assert names == ["gemini-2.5-flash", "veo-3.0"]


@pytest.mark.parametrize("answer", [[], {"models": [{"displayName": "Sky"}]}, {"models": ["sky"]}])
async def test_a_list_that_is_none_is_told(answer: Any) -> None:
    async with scripted({LISTED: answer}) as vendor, started(gemini(vendor.url)) as provider:
        with pytest.raises(UpstreamError, match="'gemini' listed"):
            await provider.get_models(CALL)


async def test_an_access_token_goes_before_the_key_and_draws_on_its_project() -> None:
    async with scripted({CHAT: SAID, LISTED: LIST}) as vendor:
        async with started(gemini(vendor.url, api_key="k", access_token="ya29", project="sky")) as provider:
            await provider.post_chat_completion(CALL, chat())
            await provider.get_models(CALL)
        async with started(gemini(vendor.url, api_key="k", project="sky")) as provider:
            await provider.post_chat_completion(CALL, chat())
    *by_token, by_key = (asked.headers for asked in vendor.asked)
    for headers in by_token:
        assert (headers["Authorization"], headers["x-goog-user-project"]) == ("Bearer ya29", "sky")
        assert "x-goog-api-key" not in headers
    assert by_key["x-goog-api-key"] == "k"
    assert "Authorization" not in by_key
    assert "x-goog-user-project" not in by_key


async def test_a_callers_own_key_takes_the_place_of_the_operators_token() -> None:
    async with scripted({CHAT: SAID}) as vendor:
        async with started(gemini(vendor.url, access_token="ya29", project="sky")) as provider:
            await provider.post_chat_completion(with_data(gemini_api_key="theirs"), chat())
    assert vendor.asked[0].headers["x-goog-api-key"] == "theirs"
    assert not {"Authorization", "x-goog-user-project"} & vendor.asked[0].headers.keys()


async def test_without_any_key_googles_own_server_is_not_asked() -> None:
    provider = Gemini("gemini", GeminiConfig.model_validate({}))
    async with started(provider):
        assert (await provider.health()).ok
        with pytest.raises(AuthenticationError, match="gemini_api_key"):
            await provider.post_chat_completion(CALL, chat())
        with pytest.raises(AuthenticationError, match="gemini_api_key"):
            await provider.get_models(CALL)
    with_token = Gemini("gemini", GeminiConfig.model_validate({"access_token": "t"}))
    async with started(with_token):
        assert not with_token.lacks_key


@pytest.mark.parametrize(
    ("name", "path"), [("models/sky", "models/sky"), ("tunedModels/sky-1", "tunedModels/sky-1"), ("sky", "models/sky")]
)
async def test_a_model_may_be_named_as_the_api_does(name: str, path: str) -> None:
    async with scripted({f"POST /v1beta/{path}:generateContent": SAID}) as vendor:
        async with started(gemini(vendor.url)) as provider:
            await provider.post_chat_completion(CALL, chat(model=name))
    assert len(vendor.asked) == 1


@pytest.mark.parametrize("name", ["../files", "sky:predict", "sky?x=1", "google/sky", "a b"])
async def test_a_name_that_would_lead_elsewhere_is_no_model(name: str) -> None:
    async with scripted({}) as vendor, started(gemini(vendor.url)) as provider:
        for asking in (
            provider.post_chat_completion(CALL, chat(model=name)),
            provider.post_embedding(CALL, embedding(model=name)),
        ):
            with pytest.raises(NotFound, match="'gemini' has no model") as told:
                await asking
            assert told.value.param == "model"
    assert vendor.asked == []


async def test_its_errors_are_told_which_may_come_in_a_list() -> None:
    error = {"error": {"code": 400, "message": 'Unknown name "top_k": Cannot find field.', "status": "INVALID"}}
    script = {CHAT: Status(400, error), STREAM: Stream([[error]], done=False), EMBEDS: Status(400, [error])}
    async with scripted(script) as vendor, started(gemini(vendor.url)) as provider:
        with pytest.raises(Rejected, match=r'answered 400: Unknown name "top_k": Cannot find field\.$'):
            await provider.post_chat_completion(CALL, chat())
        with pytest.raises(UpstreamError, match="Unknown name"):
            await heard(await provider.post_chat_completion(CALL, chat(stream=True)))
        with pytest.raises(Rejected, match="Unknown name"):
            await provider.post_embedding(CALL, embedding())


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_is_nested_beyond_all_measure_is_told(stream: bool) -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    told = {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": deep}}]}}]}
    async with scripted({CHAT: told, STREAM: Stream([told])}) as vendor, started(gemini(vendor.url)) as provider:
        with pytest.raises(UpstreamError, match="nested too deep"):
            await heard(await provider.post_chat_completion(CALL, chat(stream=stream)))


async def test_texts_go_a_hundred_a_call_and_their_vectors_come_in_order() -> None:
    async def embedded(asked: Asked) -> Any:
        return {
            "embeddings": [{"values": [float(one["content"]["parts"][0]["text"])]} for one in asked.body["requests"]]
        }

    async with scripted({EMBEDS: embedded}) as vendor, started(gemini(vendor.url)) as provider:
        reply = await provider.post_embedding(CALL, embedding(input=[str(i) for i in range(250)]))
    assert [(item.index, item.embedding) for item in reply.data] == [(i, [float(i)]) for i in range(250)]
    assert sorted(len(asked.body["requests"]) for asked in vendor.asked) == [50, 100, 100]
    assert (reply.usage, reply.model) == (None, "sky")


async def test_vectors_are_asked_for_in_all_that_a_request_says() -> None:
    answer = {"embeddings": [{"values": [0.25, -1]}], "usageMetadata": {"promptTokenCount": 2}}
    asked = embedding(encoding_format="base64", dimensions=2, task_type="RETRIEVAL_QUERY")
    async with scripted({EMBEDS: answer}) as vendor, started(gemini(vendor.url)) as provider:
        reply = await provider.post_embedding(CALL, asked)
    [one] = vendor.asked[0].body["requests"]
    assert one == {
        "model": "models/sky",
        "content": {"parts": [{"text": "Hi"}]},
        "taskType": "RETRIEVAL_QUERY",
        "outputDimensionality": 2,
    }
    assert struct.unpack("<2f", base64.b64decode(str(reply.data[0].embedding))) == (0.25, -1.0)
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.total_tokens) == (2, 2)


@pytest.mark.parametrize("answer", [{"embeddings": [{}]}, {"embeddings": [7]}, {"embeddings": [{"values": ["x"]}]}, {}])
async def test_vectors_that_are_none_are_told(answer: Any) -> None:
    async with scripted({EMBEDS: answer}) as vendor, started(gemini(vendor.url)) as provider:
        for form in ("float", "base64"):
            with pytest.raises(UpstreamError, match="'gemini'"):
                await provider.post_embedding(CALL, embedding(encoding_format=form))


async def test_what_it_cannot_embed_is_told_by_name() -> None:
    async with scripted({EMBEDS: {"embeddings": [{"values": [1]}]}}) as vendor:
        async with started(gemini(vendor.url)) as provider:
            with pytest.raises(UnsupportedParameter, match="token ids") as told:
                await provider.post_embedding(CALL, embedding(input=[1, 2]))
            assert told.value.param == "input"
            for name in ("mood", "truncate"):
                with pytest.raises(UnsupportedParameter, match=f"'{name}'"):
                    await provider.post_embedding(CALL, embedding(**{name: "x"}))
        async with started(gemini(vendor.url, drop_unsupported=True)) as provider:
            await provider.post_embedding(CALL, embedding(mood="x"))
    assert len(vendor.asked) == 1
