"""Google's Gemini API."""

from typing import Any

import pytest

from apps.inference.providers.remote.gemini import Gemini, GeminiConfig
from llamastack.errors import UpstreamError, UpstreamRejected
from tests.unit.inference.scripted import CALL, Status, Stream, chat, embedding, heard, said, scripted, started

LIST = {"object": "list", "data": [{"id": f"models/{name}"} for name in ("gemini-2.5-flash", "gemini-embedding-001")]}
CHAT = "POST /openai/chat/completions"


def gemini(url: str, **config: Any) -> Gemini:
    return Gemini("gemini", GeminiConfig.model_validate({"base_url": f"{url}/openai/", **config}))


async def test_its_models_keep_their_names_and_embeddings_have_their_dimension() -> None:
    async with scripted({"GET /openai/models": LIST}) as vendor, started(gemini(vendor.url, api_key="k")) as provider:
        chats, embeds = await provider.get_models(CALL)
    assert (chats.provider_model_id, chats.model_type) == ("models/gemini-2.5-flash", "llm")
    assert (embeds.provider_model_id, embeds.model_type) == ("models/gemini-embedding-001", "embedding")
    assert embeds.metadata == {"embedding_dimension": 3072}
    assert vendor.asked[0].headers["Authorization"] == "Bearer k"


@pytest.mark.parametrize("name", ["gemini-2.5-flash", "models/gemini-2.5-flash"])
async def test_an_allowed_model_may_be_named_with_its_prefix_or_without(name: str) -> None:
    async with scripted({"GET /openai/models": LIST}) as vendor:
        async with started(gemini(vendor.url, allowed_models=[name])) as provider:
            assert [model.provider_model_id for model in await provider.get_models(CALL)] == [name]


async def test_an_access_token_goes_before_the_key_and_draws_on_its_project() -> None:
    async with scripted({CHAT: said()}) as vendor:
        async with started(gemini(vendor.url, api_key="k", access_token="ya29", project="sky")) as provider:
            await provider.post_chat_completion(CALL, chat())
        async with started(gemini(vendor.url, api_key="k", project="sky")) as provider:
            await provider.post_chat_completion(CALL, chat())
    by_token, by_key = (asked.headers for asked in vendor.asked)
    assert (by_token["Authorization"], by_token["x-goog-user-project"]) == ("Bearer ya29", "sky")
    assert by_key["Authorization"] == "Bearer k"
    assert "x-goog-user-project" not in by_key


async def test_its_errors_which_come_in_a_list_are_told() -> None:
    error = [{"error": {"code": 400, "message": 'Unknown name "top_k": Cannot find field.', "status": "INVALID"}}]
    script = {CHAT: Status(400, error), "POST /openai/embeddings": Stream([error])}
    async with scripted(script) as vendor, started(gemini(vendor.url)) as provider:
        with pytest.raises(UpstreamRejected, match=r'answered 400: Unknown name "top_k": Cannot find field\.$'):
            await provider.post_chat_completion(CALL, chat())
        with pytest.raises(UpstreamRejected, match="Unknown name"):
            await heard(await provider.post_chat_completion(CALL, chat(stream=True)))
        with pytest.raises(UpstreamError, match="Unknown name"):
            await provider.post_embedding(CALL, embedding())


async def test_its_embeddings_which_have_neither_index_nor_usage_are_read() -> None:
    data = [{"object": "embedding", "embedding": [0.25]}, {"object": "embedding", "embedding": [0.5]}]
    answer = {"object": "list", "data": data, "model": "gemini-embedding-001"}
    async with scripted({"POST /openai/embeddings": answer}) as vendor, started(gemini(vendor.url)) as provider:
        reply = await provider.post_embedding(CALL, embedding(input=["a", "b"]))
    assert [(item.index, item.embedding) for item in reply.data] == [(0, [0.25]), (1, [0.5])]
