"""Another Llama Stack server as a provider: 0.3.5, OGX, or one of ours."""

import json
from dataclasses import replace
from typing import Any

import pytest

from apps.inference.providers.remote.llamastack import LlamaStackConfig, LlamaStackServer
from apps.inference.schemas import CompletionRequest
from llamastack.errors import UpstreamError
from llamastack.provider_data import ProviderData
from tests.unit.inference.scripted import CALL, Stream, chat, chunk, heard, said, scripted, started

CHAT = "POST /v1/chat/completions"
OF_0_3_5 = [
    {"identifier": "ollama/llama3.2:3b", "type": "model", "model_type": "llm", "metadata": {}, "provider_id": "ollama"},
    {"identifier": "st/minilm", "type": "model", "model_type": "embedding", "metadata": {"embedding_dimension": 384}},
]
OF_OGX = [
    {"id": "ollama/llama3.2:3b", "object": "model", "custom_metadata": {"model_type": "llm", "provider_id": "ollama"}},
    {
        "id": "st/minilm",
        "object": "model",
        "custom_metadata": {"model_type": "embedding", "provider_id": "st", "embedding_dimension": 384},
    },
]
OURS = [ogx | old for ogx, old in zip(OF_OGX, OF_0_3_5, strict=True)]


def stack(url: str, **config: Any) -> LlamaStackServer:
    return LlamaStackServer("behind", LlamaStackConfig(base_url=url, **config))


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
@pytest.mark.parametrize("items", [OF_0_3_5, OF_OGX, OURS])
async def test_models_of_every_type_come_over(items: list[dict[str, Any]], tail: str) -> None:
    voice = {"id": "voice", "identifier": "voice", "model_type": "speech"}
    async with scripted({"GET /v1/models": {"data": [*items, voice]}}) as vendor:
        async with started(stack(vendor.url + tail, api_key="key")) as provider:
            chats, embeds = await provider.get_models(CALL)
            assert (await provider.health()).message == "2 models"
    assert (chats.provider_model_id, chats.model_type, chats.metadata) == ("ollama/llama3.2:3b", "llm", {})
    assert (embeds.provider_model_id, embeds.model_type) == ("st/minilm", "embedding")
    assert embeds.metadata == {"embedding_dimension": 384}
    assert vendor.asked[0].headers["Authorization"] == "Bearer key"


@pytest.mark.parametrize("answer", [{"data": [{"name": "x"}]}, {"data": None}, []])
async def test_a_list_that_is_none_is_a_bad_gateway(answer: object) -> None:
    async with scripted({"GET /v1/models": answer}) as vendor, started(stack(vendor.url)) as provider:
        with pytest.raises(UpstreamError, match="not a list"):
            await provider.get_models(CALL)


def test_keys_that_are_forwarded_are_the_callers_own() -> None:
    data = ProviderData({"groq_api_key": "theirs"})
    assert stack("http://127.0.0.1:9", forward_provider_data="X-OGX-Provider-Data").uses(data)
    assert not stack("http://127.0.0.1:9").uses(data)


@pytest.mark.parametrize("done", [True, False])
async def test_a_whole_stream_needs_no_done(done: bool) -> None:
    both = [chunk("Bl", choices=[each]) for each in _ended(0)] + [chunk(choices=[each]) for each in _ended(1)]
    async with scripted({CHAT: Stream(both, done=done)}) as vendor, started(stack(vendor.url)) as provider:
        assert await heard(await provider.post_chat_completion(CALL, chat(stream=True, n=2))) == "Blue.Blue."


def _ended(index: int) -> list[dict[str, Any]]:
    said_first = {"index": index, "delta": {"content": "Blue."}, "finish_reason": None}
    return [said_first, {"index": index, "delta": {}, "finish_reason": "stop"}]


@pytest.mark.parametrize("events", [[chunk("Bl")], [chunk("Blue.", finish="stop")], []])
async def test_a_stream_that_lacks_the_end_of_a_choice_was_cut(events: list[Any]) -> None:
    async with scripted({CHAT: Stream(events, done=False)}) as vendor, started(stack(vendor.url)) as provider:
        with pytest.raises(UpstreamError, match="ended before"):
            await heard(await provider.post_chat_completion(CALL, chat(stream=True, n=2)))


async def test_a_stream_that_nobody_asked_for_is_put_together_if_it_is_whole() -> None:
    whole = [chunk("Bl"), chunk("ue.", finish="stop")]
    async with scripted({CHAT: Stream(whole, done=False)}) as vendor, started(stack(vendor.url)) as provider:
        reply = await provider.post_chat_completion(CALL, chat())
        assert reply.choices[0].message.content == "Blue."
        vendor.script[CHAT] = Stream(whole[:1], done=False)
        with pytest.raises(UpstreamError, match="ended before"):
            await provider.post_chat_completion(CALL, chat())


async def test_each_prompt_of_a_streamed_completion_has_its_end() -> None:
    def part(index: int) -> dict[str, Any]:
        choice = {"index": index, "text": "x", "finish_reason": "stop"}
        return {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}

    request = CompletionRequest(model="m", prompt=["a", "b"], stream=True)
    script = {"POST /v1/completions": Stream([part(0), part(1)], done=False)}
    async with scripted(script) as vendor, started(stack(vendor.url)) as provider:
        assert len([each async for each in await provider.post_completion(CALL, request)]) == 2
        script["POST /v1/completions"] = Stream([part(0)], done=False)
        with pytest.raises(UpstreamError, match="ended before"):
            assert [each async for each in await provider.post_completion(CALL, request)]


@pytest.mark.parametrize("header", [None, "X-LlamaStack-Provider-Data", "X-OGX-Provider-Data"])
async def test_callers_keys_go_on_only_where_the_operator_says_so(header: str | None) -> None:
    call = replace(CALL, provider_data=ProviderData({"groq_api_key": "gsk", "tenant": "ä"}))
    async with scripted({CHAT: said()}) as vendor:
        async with started(stack(vendor.url, forward_provider_data=header)) as provider:
            await provider.post_chat_completion(call, chat())
            await provider.post_chat_completion(CALL, chat())
    first, second = ({k: v for k, v in asked.headers.items() if "Provider" in k} for asked in vendor.asked)
    assert second == {}
    assert {name: json.loads(data) for name, data in first.items()} == (
        {header: {"groq_api_key": "gsk", "tenant": "ä"}} if header else {}
    )
