"""Anthropic's API as a provider: its address, key, list of models, and a chat there and back."""

from typing import Any

import pytest

from apps.inference.providers.remote.anthropic import Anthropic, AnthropicConfig
from apps.inference.schemas import ChatCompletion, ChatCompletionChunk, CompletionRequest
from llamastack.call import Call
from llamastack.errors import (
    AuthenticationError,
    NotSupported,
    RateLimited,
    StackError,
    UnsupportedParameter,
    UpstreamError,
    UpstreamRejected,
)
from tests.unit.inference.anthropic import saying
from tests.unit.inference.scripted import (
    CALL,
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

MESSAGES = "POST /v1/messages"
MODELS = "GET /v1/models?limit=1000"
HELLO = saying.message(saying.text("Hello."))


def anthropic(url: str, **config: Any) -> Anthropic:
    return Anthropic("claude", AnthropicConfig.model_validate({"base_url": url, "api_key": "k", **config}))


def asking(**fields: Any) -> Any:
    return chat(model=saying.MODEL, **fields)


async def whole(line: Line, call: Call = CALL, **fields: Any) -> ChatCompletion:
    async with scripted({MESSAGES: line}) as vendor, started(anthropic(vendor.url)) as provider:
        reply: ChatCompletion = await provider.post_chat_completion(call, asking(**fields))
    return reply


async def streamed(*events: Any, line: Line = None, **fields: Any) -> list[ChatCompletionChunk]:
    line = line or Stream(list(events), done=False)
    async with scripted({MESSAGES: line}) as vendor, started(anthropic(vendor.url)) as provider:
        chunks = await provider.post_chat_completion(CALL, asking(stream=True, **fields))
        return [chunk async for chunk in chunks]


async def test_a_chat_is_asked_with_key_and_version_and_answered() -> None:
    async with scripted({MESSAGES: HELLO}) as vendor, started(anthropic(vendor.url)) as provider:
        reply = await provider.post_chat_completion(CALL, asking(max_completion_tokens=7))
    [asked] = vendor.asked
    assert (asked.headers["x-api-key"], asked.headers["anthropic-version"]) == ("k", "2023-06-01")
    assert "Authorization" not in asked.headers
    hi = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
    assert asked.body == {"model": saying.MODEL, "max_tokens": 7, "messages": [hi]}
    [choice] = reply.choices
    assert (reply.id, reply.model, choice.message.content, choice.finish_reason) == (
        "msg_1",
        saying.MODEL,
        "Hello.",
        "stop",
    )
    assert reply.usage.model_dump() == {
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "total_tokens": 25,
        "prompt_tokens_details": {"cached_tokens": 7, "cache_creation_tokens": 3},
    }


async def test_a_stream_says_the_same_as_a_whole_answer() -> None:
    *body, last = await streamed(*saying.spoken("Hel", "lo."), stream_options={"include_usage": True})
    assert "".join(choice.delta.content or "" for chunk in body for choice in chunk.choices) == "Hello."
    assert [choice.finish_reason for chunk in body for choice in chunk.choices if choice.finish_reason] == ["stop"]
    assert body[0].choices[0].delta.role == "assistant"
    assert {(chunk.id, chunk.model) for chunk in [*body, last]} == {("msg_1", saying.MODEL)}
    assert last.choices == []
    assert last.usage == (await whole(HELLO)).usage


async def test_an_address_may_end_in_the_version() -> None:
    async with scripted({MESSAGES: HELLO}) as vendor, started(anthropic(f"{vendor.url}/v1/")) as provider:
        assert (await provider.post_chat_completion(CALL, asking())).choices[0].message.content == "Hello."


async def test_a_configured_limit_holds_where_the_request_has_none() -> None:
    async with scripted({MESSAGES: HELLO}) as vendor, started(anthropic(vendor.url, max_tokens=99)) as provider:
        await provider.post_chat_completion(CALL, asking())
        await provider.post_chat_completion(CALL, asking(max_tokens=5))
    assert [asked.body["max_tokens"] for asked in vendor.asked] == [99, 5]


async def test_the_key_of_a_caller_goes_before_the_configured_one() -> None:
    async with scripted({MESSAGES: HELLO}) as vendor, started(anthropic(vendor.url)) as provider:
        await provider.post_chat_completion(with_data(anthropic_api_key="theirs"), asking())
    [asked] = vendor.asked
    assert (asked.headers["x-api-key"], asked.headers["anthropic-version"]) == ("theirs", "2023-06-01")


async def test_without_a_key_its_own_address_is_not_asked() -> None:
    async with started(Anthropic("claude", AnthropicConfig())) as provider:
        with pytest.raises(AuthenticationError, match="anthropic_api_key"):
            await provider.post_chat_completion(CALL, asking())
        with pytest.raises(AuthenticationError, match="anthropic_api_key"):
            await provider.get_models(CALL)
        assert "anthropic_api_key" in (await provider.health()).message


def listed(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "2025-09-29T00:00:00Z", **more}


async def test_models_are_listed_page_by_page_with_how_much_they_read_and_write() -> None:
    limits = {"max_input_tokens": 200_000, "max_tokens": 64_000}
    first = {"data": [listed("a", **limits), listed("b")], "has_more": True, "last_id": "b"}
    second = {"data": [listed("c", lifecycle="retired"), listed("d", max_input_tokens=None)], "has_more": False}
    script = {MODELS: first, f"{MODELS}&after_id=b": second | {"last_id": "d"}}
    async with scripted(script) as vendor, started(anthropic(vendor.url)) as provider:
        models = await provider.get_models(CALL)
        assert (await provider.health()).message == "4 models"
    assert [(model.provider_model_id, model.metadata) for model in models] == [
        ("a", {"context_length": 200_000, "max_output_tokens": 64_000}),
        ("b", {}),
        ("d", {}),
    ]
    assert {model.model_type for model in models} == {"llm"}


async def test_only_allowed_models_are_offered() -> None:
    page = {"data": [listed("a"), listed("b")], "has_more": False, "last_id": "b"}
    async with scripted({MODELS: page}) as vendor:
        async with started(anthropic(vendor.url, allowed_models=["b"])) as provider:
            assert [model.provider_model_id for model in await provider.get_models(CALL)] == ["b"]


@pytest.mark.parametrize("page", [[], {"data": None}, {"data": [{"name": "a"}]}, {"data": ["a"]}])
async def test_a_list_that_is_none_is_told(page: Any) -> None:
    async with scripted({MODELS: page}) as vendor, started(anthropic(vendor.url)) as provider:
        with pytest.raises(UpstreamError, match="'claude' answered /models with something that is not a list"):
            await provider.get_models(CALL)


async def test_a_list_without_an_end_is_told() -> None:
    page = {"data": [listed("a")], "has_more": True, "last_id": "a"}
    async with scripted({MODELS: page, f"{MODELS}&after_id=a": page}) as vendor:
        async with started(anthropic(vendor.url)) as provider:
            with pytest.raises(UpstreamError, match="lists models without an end"):
                await provider.get_models(CALL)


async def test_what_anthropic_lacks_is_told_with_what_to_use() -> None:
    async with started(anthropic("http://127.0.0.1:9")) as provider:
        with pytest.raises(NotSupported, match="Send a chat completion instead"):
            await provider.post_completion(CALL, CompletionRequest(model=saying.MODEL, prompt="Hi"))
        with pytest.raises(NotSupported, match="use one of another provider"):
            await provider.post_embedding(CALL, embedding())


async def test_what_cannot_be_expressed_is_refused_or_left_out_as_the_config_says() -> None:
    async with scripted({MESSAGES: HELLO}) as vendor:
        async with started(anthropic(vendor.url)) as provider:
            with pytest.raises(UnsupportedParameter, match="'claude' does not support 'n'") as caught:
                await provider.post_chat_completion(CALL, asking(n=2))
        assert (caught.value.param, vendor.asked) == ("n", [])
        async with started(anthropic(vendor.url, drop_unsupported=True)) as provider:
            reply = await provider.post_chat_completion(CALL, asking(logprobs=True, seed=7))
    assert reply.choices[0].message.content == "Hello."
    assert vendor.asked[0].body.keys() == {"model", "max_tokens", "messages"}


@pytest.mark.parametrize("stream", [False, True])
async def test_one_choice_is_whole_where_others_were_left_out(stream: bool) -> None:
    line = Stream(saying.spoken("Hello."), done=False) if stream else HELLO
    async with scripted({MESSAGES: line}) as vendor:
        async with started(anthropic(vendor.url, drop_unsupported=True)) as provider:
            reply = await provider.post_chat_completion(CALL, asking(n=2, stream=stream))
            said = await heard(reply) if stream else reply.choices[0].message.content
    assert said == "Hello."


@pytest.mark.parametrize(
    ("status", "kind", "said", "type_", "ours"),
    [
        (400, "invalid_request_error", "max_tokens: too many", UpstreamRejected, 400),
        (401, "authentication_error", "invalid x-api-key", UpstreamRejected, 401),
        (403, "permission_error", "not yours", UpstreamRejected, 403),
        (404, "not_found_error", "model: nope", UpstreamRejected, 404),
        (413, "request_too_large", "over 32 MB", UpstreamRejected, 413),
        (429, "rate_limit_error", "slow down", RateLimited, 429),
        (500, "api_error", "Internal server error", UpstreamError, 502),
        (529, "overloaded_error", "Overloaded", UpstreamError, 502),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_is_told_in_anthropics_words(
    status: int, kind: str, said: str, type_: type[StackError], ours: int, stream: bool
) -> None:
    refused = Status(status, saying.error(kind, said))
    with pytest.raises(type_, match=f"'claude' answered {status}: {said}") as caught:
        await (streamed(line=refused) if stream else whole(refused))
    assert caught.value.status == ours


async def test_an_error_with_status_200_is_one_all_the_same() -> None:
    with pytest.raises(UpstreamError, match="Overloaded"):
        await whole(saying.error("overloaded_error", "Overloaded"))


async def test_an_error_within_a_stream_ends_it() -> None:
    begin = saying.spoken("Hel")[:4]
    with pytest.raises(UpstreamError, match="broke off the stream: Overloaded"):
        await streamed(*begin, saying.error("overloaded_error", "Overloaded"))


@pytest.mark.parametrize("kept", [1, 4, 6])
async def test_a_stream_that_is_cut_is_broken(kept: int) -> None:
    events = saying.spoken("Hel", "lo.")[:kept]
    with pytest.raises(UpstreamError, match="it ended before the answer did"):
        await streamed(*events)


@pytest.mark.parametrize("answer", [{}, {"type": "message"}, {"type": "message", "content": [7]}, {"choices": []}, []])
async def test_an_answer_that_is_no_message_is_told(answer: Any) -> None:
    with pytest.raises(UpstreamError, match="'claude'"):
        await whole(answer)


async def test_json_where_a_stream_was_asked_for_is_taken_apart() -> None:
    async with scripted({MESSAGES: HELLO}) as vendor, started(anthropic(vendor.url)) as provider:
        chunks = [chunk async for chunk in await provider.post_chat_completion(CALL, asking(stream=True))]
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == "Hello."


async def test_a_stream_where_none_was_asked_for_is_put_together() -> None:
    reply = await whole(Stream(saying.spoken("Hel", "lo."), done=False))
    [choice] = reply.choices
    assert (choice.message.content, choice.finish_reason) == ("Hello.", "stop")
    assert reply.usage == (await whole(HELLO)).usage


async def test_whether_and_how_reasoning_comes_back_from_a_chat() -> None:
    thought = saying.thought("Let me see.")
    reply = await whole(saying.message(thought, saying.text("Hello.")))
    said = reply.choices[0].message.model_dump()
    assert (said["reasoning_content"], said["thinking_blocks"]) == ("Let me see.", [thought])
