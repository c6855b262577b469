"""One contract for every inference provider that can run here: vendors on a small upstream, engines on real models,
and our own server on uvicorn and on daphne, which is a vendor like any other to whoever calls it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from apps.inference.protocol import Inference
from apps.inference.schemas import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Completion,
    CompletionChunk,
    CompletionRequest,
    EmbeddingRequest,
    ToolCall,
)
from llamastack.apis import Api
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.errors import NotSupported, StackError
from llamastack.providers import Provider, load, specs
from tests.conformance.vendors import NATIVES
from tests.live import EMBEDDING, SERVERS, Live
from tests.upstream import serving

CALL = Call(ANONYMOUS_ADMIN)
LOCAL_CHAT = "HuggingFaceTB/SmolLM2-135M-Instruct"
LOCAL_EMBEDDING = "sentence-transformers/all-MiniLM-L6-v2"
REMOTE = {
    "remote::openai": "base_url",
    "remote::vllm": "url",
    "remote::ollama": "base_url",
    "remote::llama-openai-compat": "openai_compat_api_base",
    "remote::llama-cpp-server": "base_url",
    "remote::cerebras": "base_url",
    "remote::databricks": "base_url",
    "remote::fireworks": "url",
    "remote::groq": "url",
    "remote::nvidia": "base_url",
    "remote::passthrough": "url",
    "remote::runpod": "url",
    "remote::sambanova": "url",
    "remote::together": "url",
}
LOCAL = {"inline::meta-reference": LOCAL_CHAT, "inline::sentence-transformers": LOCAL_EMBEDDING}


@dataclass
class Served:
    provider: Provider
    inference: Inference
    model: str
    embedding: str


async def started(kind: str, servers: Callable[[str], Live], stack: AsyncExitStack) -> Served:
    if kind in LOCAL:
        provider_type, model, config = kind, LOCAL[kind], {"model": LOCAL[kind]}
    elif kind in SERVERS:
        ours = await asyncio.to_thread(servers, kind)
        provider_type, model, config = "remote::llamastack", "openai/sky-1", {"base_url": ours.url}
    else:
        upstream = await stack.enter_async_context(serving())
        provider_type, model, config = kind, "sky-1", {REMOTE[kind]: upstream.url}
    provider_class = load(specs(Api.inference)[provider_type])
    provider: Any = provider_class("under-test", provider_class.config_class.model_validate(config))
    await provider.start()
    stack.push_async_callback(provider.stop)
    return Served(provider, provider, model, EMBEDDING if kind in SERVERS else model)


def each(*provider_types: str) -> Any:
    """Parameters, with the engines marked as needing their weights."""
    return [
        pytest.param(kind, marks=[pytest.mark.local_model] if kind in LOCAL else [], id=kind) for kind in provider_types
    ]


@pytest.fixture
async def served(request: pytest.FixtureRequest, servers: Callable[[str], Live]) -> AsyncIterator[Served]:
    async with AsyncExitStack() as stack:
        yield await started(request.param, servers, stack)


CHATS = pytest.mark.parametrize("served", each("inline::meta-reference", *REMOTE, *SERVERS), indirect=True)
OBEDIENT = [kind for kind in REMOTE if kind != "remote::ollama"]  # which ignores tool_choice, so that is refused there
CALLS = pytest.mark.parametrize("served", each("inline::meta-reference", *OBEDIENT), indirect=True)
EMBEDS = pytest.mark.parametrize("served", each("inline::sentence-transformers", *REMOTE, *SERVERS), indirect=True)
ALL = pytest.mark.parametrize("served", each(*LOCAL, *REMOTE, *SERVERS), indirect=True)


def request(model: str, **fields: Any) -> ChatCompletionRequest:
    hello = [{"role": "user", "content": "Say hello."}]
    given = {"model": model, "messages": hello, "temperature": 0, "max_tokens": 12, **fields}
    return ChatCompletionRequest.model_validate(given)


async def whole(served: Served, **fields: Any) -> ChatCompletion:
    reply = await served.inference.post_chat_completion(CALL, request(served.model, **fields))
    assert isinstance(reply, ChatCompletion)
    return reply


async def streamed(served: Served, **fields: Any) -> list[ChatCompletionChunk]:
    reply = await served.inference.post_chat_completion(CALL, request(served.model, stream=True, **fields))
    assert not isinstance(reply, ChatCompletion)
    return [chunk async for chunk in reply]


def prompted(served: Served, **fields: Any) -> CompletionRequest:
    given = {"model": served.model, "prompt": "The sky is", "temperature": 0, "max_tokens": 12, **fields}
    return CompletionRequest.model_validate(given)


async def completed(served: Served, **fields: Any) -> Completion:
    reply = await served.inference.post_completion(CALL, prompted(served, **fields))
    assert isinstance(reply, Completion)
    return reply


async def completed_in_chunks(served: Served, **fields: Any) -> list[CompletionChunk]:
    reply = await served.inference.post_completion(CALL, prompted(served, stream=True, **fields))
    assert not isinstance(reply, Completion)
    return [chunk async for chunk in reply]


def test_every_provider_is_under_this_contract() -> None:
    """But for those whose servers have other paths than the small upstream: they are under that of test_vendors.py."""
    another_name = {"inline::transformers"}
    clouds = {"remote::azure", "remote::oci", "remote::watsonx", *(vendor.provider_type for vendor in NATIVES)}
    other_paths = {"remote::hf::endpoint", "remote::hf::serverless", "remote::tgi", *clouds}
    ours = {"remote::llamastack"}
    assert set(specs(Api.inference)) - another_name - other_paths == {*LOCAL, *REMOTE, *ours}


@CHATS
async def test_a_chat_has_text_a_reason_and_usage_that_adds_up(served: Served) -> None:
    reply = await whole(served)
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.usage.prompt_tokens > 0


@CHATS
async def test_a_stream_says_the_same_as_the_whole(served: Served) -> None:
    chunks = await streamed(served)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == (await whole(served)).choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1


@CHATS
async def test_usage_comes_last_in_a_stream_that_asks_for_it(served: Served) -> None:
    *body, last = await streamed(served, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage == (await whole(served)).usage
    assert all(chunk.usage is None for chunk in body)


@CHATS
async def test_a_stream_that_is_left_does_not_harm_the_next(served: Served) -> None:
    for _ in range(3):
        chunks: Any = await served.inference.post_chat_completion(CALL, request(served.model, stream=True))
        await anext(chunks)
        await chunks.aclose()
    assert (await whole(served)).choices


@CHATS
async def test_several_chats_at_once_each_get_their_own(served: Served) -> None:
    alone = await whole(served)
    replies = await asyncio.gather(*(whole(served) for _ in range(4)))
    assert len({reply.id for reply in replies}) in (1, 4)  # the small upstream always answers with the same id
    assert {reply.usage.total_tokens for reply in replies if reply.usage} == {
        alone.usage.total_tokens if alone.usage else 0
    }


SCHEMA = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
CALLING = {
    "tools": [WEATHER],
    "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    "max_tokens": 60,
}


@CALLS
async def test_a_tool_that_must_be_called_is_called_with_arguments_of_its_schema(served: Served) -> None:
    [choice] = (await whole(served, **CALLING)).choices
    [call] = choice.message.tool_calls or ()
    assert isinstance(call, ToolCall)
    assert (choice.finish_reason, choice.message.content, call.function.name) == ("tool_calls", None, "get_weather")
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")


@CALLS
async def test_a_streamed_call_says_the_same_as_the_whole(served: Served) -> None:
    choices = [choice for chunk in await streamed(served, **CALLING) for choice in chunk.choices]
    first, *rest = [call for choice in choices for call in choice.delta.tool_calls or ()]
    assert first.function is not None
    assert (first.index, bool(first.id), first.type, first.function.name) == (0, True, "function", "get_weather")
    assert all((call.index, call.id) == (0, None) for call in rest)
    arguments = "".join(call.function.arguments or "" for call in [first, *rest] if call.function)
    [whole_call] = (await whole(served, **CALLING)).choices[0].message.tool_calls or ()
    assert isinstance(whole_call, ToolCall)
    assert arguments == whole_call.function.arguments
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["tool_calls"]
    assert not any(choice.delta.content for choice in choices)


@CHATS
async def test_the_result_of_a_call_is_answered(served: Served) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    turns = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
    ]
    asked = [{"role": "user", "content": "How is the weather in Paris?"}, *turns]
    reply = await whole(served, messages=asked, tools=[WEATHER])
    assert reply.choices[0].message.content
    assert reply.choices[0].message.tool_calls is None


@CHATS
async def test_a_completion_has_text_a_reason_and_usage_that_adds_up(served: Served) -> None:
    reply = await completed(served)
    assert reply.object == "text_completion"
    assert reply.choices[0].text
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.usage.prompt_tokens > 0


@CHATS
async def test_a_streamed_completion_says_the_same_as_the_whole(served: Served) -> None:
    *chunks, last = await completed_in_chunks(served, stream_options={"include_usage": True})
    reply = await completed(served)
    assert "".join(chunk.choices[0].text for chunk in chunks) == reply.choices[0].text
    assert [chunk.choices[0].finish_reason is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert (last.choices, last.usage) == ([], reply.usage)
    assert len({(chunk.id, chunk.created) for chunk in [*chunks, last]}) == 1


@pytest.mark.parametrize("served", each("inline::sentence-transformers"), indirect=True)
async def test_what_only_embeds_says_so(served: Served) -> None:
    with pytest.raises(NotSupported):
        await served.inference.post_completion(CALL, prompted(served))


@EMBEDS
async def test_each_input_gets_its_vector_in_order(served: Served) -> None:
    body = EmbeddingRequest.model_validate({"model": served.embedding, "input": ["one", "two", "three"]})
    reply = await served.inference.post_embedding(CALL, body)
    assert [item.index for item in reply.data] == [0, 1, 2]
    assert len({len(item.embedding) for item in reply.data}) == 1
    assert len({tuple(item.embedding) for item in reply.data}) == 3
    assert reply.usage.prompt_tokens > 0


@ALL
async def test_it_is_well_and_says_so(served: Served) -> None:
    assert (await served.provider.health()).ok


@pytest.mark.parametrize("served", each(*LOCAL, "remote::openai", "remote::vllm", *SERVERS), indirect=True)
async def test_it_lists_what_it_serves(served: Served) -> None:
    listed = {model.provider_model_id: model for model in await served.inference.get_models(CALL)}
    assert served.model in listed
    for model in listed.values():
        assert model.model_type != "embedding" or model.metadata["embedding_dimension"] > 0


@pytest.mark.parametrize("served", each(*LOCAL), indirect=True)
async def test_what_it_does_not_serve_is_an_error_that_says_so(served: Served) -> None:
    with pytest.raises(StackError):
        await served.inference.post_chat_completion(CALL, request("no/such-model"))
