"""One contract for all vendors: whatever a vendor's server writes, our callers read OpenAI's dialect.

Each scenario runs against a scripted upstream of each vendor (vendors/), through the vendor's provider. What goes wrong
is in test_vendors_failing.py.
"""

import json
from dataclasses import replace
from typing import Any

import pytest

from apps.inference.schemas import (
    Completion,
    CompletionChunk,
    EmbeddingRequest,
    RerankRequest,
)
from llamastack.apis import Api
from llamastack.errors import (
    NotSupported,
    RateLimited,
    StackError,
    UnsupportedParameter,
    UpstreamError,
    UpstreamRejected,
)
from llamastack.provider_data import ProviderData
from llamastack.providers import specs
from tests.conformance.vendors import PASSTHROUGH, VENDORS
from tests.conformance.vendors.script import ARGUMENTS, HELLO, SAID, SEEN, THOUGHT, TOOL
from tests.conformance.vendors.served import (
    CALL,
    CALLERS,
    PNG,
    SCHEMA,
    Served,
    asked,
    each,
    given,
    heard,
    offering,
    provider_class,
    reasons,
    serving,
    spoken,
    text,
)
from tests.conformance.vendors.vendor import COMPLETIONS, EMBEDDINGS, KEY, USAGE, WRONG_KEY, Vendor
from tests.conversations import meaning, plain_schema


def test_every_remote_vendor_has_its_wire_format_here() -> None:
    remote = {provider_type for provider_type in specs(Api.inference) if provider_type.startswith("remote::")}
    assert remote == {vendor.provider_type for vendor in VENDORS}


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_every_wire_format_says_where_it_is_from(vendor: Vendor) -> None:
    assert vendor.source


@each()
async def test_a_chat_is_read_whole(served: Served) -> None:
    reply = await served.whole()
    [choice] = reply.choices
    assert (choice.index, choice.message.role, choice.message.content) == (0, "assistant", SAID)
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    assert (reply.object, reply.model) == ("chat.completion", served.model())
    assert reply.id
    assert isinstance(reply.created, int)
    assert reply.usage is not None
    assert reply.usage.model_dump().items() >= USAGE.items()


@each()
async def test_what_a_vendor_adds_is_kept(served: Served) -> None:
    reply = json.loads((await served.whole()).model_dump_json())
    for name, value in served.vendor.head.items():
        assert name in ("id", "object") or reply[name] == value
    for name, value in served.vendor.extras.items():
        assert value is None or reply["usage"][name] == value
    if reason := served.vendor.reasons.get("stop"):
        assert reply["choices"][0]["native_finish_reason"] == reason


@each()
async def test_a_stream_says_the_same_as_the_whole_in_chunks_of_one_reply(served: Served) -> None:
    chunks = await served.streamed()
    assert text(chunks) == SAID
    assert reasons(chunks) == ["stop"]
    assert [choice.delta.role for chunk in chunks for choice in chunk.choices][:2] == ["assistant", None]
    assert len({(chunk.id, chunk.created, chunk.object) for chunk in chunks}) == 1
    assert chunks[0].id
    assert all(len(chunk.choices) == 1 and chunk.usage is None for chunk in chunks)


@each()
async def test_usage_comes_last_where_it_is_asked_for(served: Served) -> None:
    *body, last = await served.streamed(stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.model_dump().items() >= USAGE.items()
    assert all(chunk.usage is None for chunk in body)
    asked = None if served.vendor.usage == "always" else {"include_usage": True}
    assert served.script.sent.get("stream_options") == asked


@each()
async def test_a_tool_is_called(served: Served) -> None:
    [choice] = (await served.whole(tools=[TOOL])).choices
    [call] = choice.message.tool_calls or ()
    assert (choice.finish_reason, choice.message.content or None) == ("tool_calls", None)
    function = call.model_dump()["function"]
    assert (function["name"], given(served, function["arguments"])) == ("get_weather", given(served, ARGUMENTS))
    assert call.id
    assert served.script.sent["tools"] == [TOOL]


@each()
async def test_a_streamed_call_is_begun_once_and_its_arguments_add_up(served: Served) -> None:
    chunks = await served.streamed(tools=[TOOL])
    first, *rest = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert first.function is not None
    assert (first.index, first.type, first.function.name) == (0, "function", "get_weather")
    assert first.id
    assert all((call.index, call.id, call.type) == (0, None, None) for call in rest)
    assert not any(call.function.name for call in rest if call.function)
    arguments = "".join(call.function.arguments or "" for call in [first, *rest] if call.function)
    assert given(served, arguments) == given(served, ARGUMENTS)
    assert reasons(chunks) == ["tool_calls"]


@each()
async def test_two_calls_come_apart(served: Served) -> None:
    tools = [TOOL, {"type": "function", "function": {"name": "get_time"}}]
    called = (await served.whole(tools=tools)).choices[0].message.tool_calls or ()
    assert [call.model_dump()["function"]["name"] for call in called] == ["get_weather", "get_time"]
    chunks = await served.streamed(tools=tools)
    parts = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    for index, name in enumerate(["get_weather", "get_time"]):
        functions = [part.function for part in parts if part.index == index and part.function]
        assert [function.name for function in functions if function.name] == [name]
        arguments = "".join(function.arguments or "" for function in functions)
        assert given(served, arguments) == given(served, ARGUMENTS)
    assert len({part.id for part in parts if part.id}) == 2


@each()
async def test_the_result_of_a_call_reaches_the_vendor(served: Served) -> None:
    call = {"id": "call_abc", "type": "function", "function": {"name": "get_weather", "arguments": ARGUMENTS}}
    turns = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "call_abc", "content": "20"}]
    reply = await served.whole(tools=[TOOL], messages=HELLO + turns)
    assert reply.choices[0].message.content == SAID
    assert heard(served) == spoken(served, HELLO + turns)


@each()
async def test_a_schema_reaches_the_vendor_and_its_json_comes_back(served: Served) -> None:
    reply = await served.whole(response_format=SCHEMA)
    assert json.loads(reply.choices[0].message.content or "") == {"city": "Paris"}
    if served.vendor.native:
        assert meaning(served.script.sent)["format"] == plain_schema(SCHEMA["json_schema"]["schema"])
    else:
        assert served.script.sent["response_format"] == SCHEMA


@each(lambda vendor: vendor.sees)
async def test_an_image_reaches_the_vendor(served: Served) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PNG}}]
    reply = await served.whole(messages=[{"role": "user", "content": parts}])
    assert reply.choices[0].message.content == "".join(SEEN)
    assert heard(served) == spoken(served, [{"role": "user", "content": parts}])


@each()
@pytest.mark.parametrize("stream", CALLERS)
async def test_a_stop_ends_the_answer(served: Served, stream: bool) -> None:
    reply = await asked(served, "sky", stream=stream, stop=["is"])
    said = text(reply) if stream else reply.choices[0].message.content
    ended = reasons(reply) if stream else [reply.choices[0].finish_reason]
    assert (said, ended) == ("The sky ", ["stop"])


@each()
@pytest.mark.parametrize("stream", CALLERS)
@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_a_limit_cuts_the_answer(served: Served, stream: bool, limit: str) -> None:
    reply = await asked(served, "sky", stream=stream, **{limit: 2})
    said = text(reply) if stream else reply.choices[0].message.content
    ended = reasons(reply) if stream else [reply.choices[0].finish_reason]
    assert (said, ended) == ("The sky ", ["length"])


@each()
async def test_a_developers_message_reaches_every_model(served: Served) -> None:
    reply = await served.whole(messages=[{"role": "developer", "content": "Be brief."}, *HELLO])
    role = "developer" if served.vendor.developer else "system"
    assert reply.choices[0].message.content == SAID
    assert heard(served) == spoken(served, [{"role": role, "content": "Be brief."}, *HELLO])


@each(lambda vendor: vendor.several)
async def test_two_choices_come_apart_and_both_must_end(served: Served) -> None:
    reply = await served.whole(n=2)
    assert [(choice.index, choice.message.content) for choice in reply.choices] == [(0, SAID), (1, SAID)]
    chunks = await served.streamed(n=2)
    for index in (0, 1):
        own = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert "".join(choice.delta.content or "" for choice in own) == SAID
        assert [choice.finish_reason for choice in own if choice.finish_reason] == ["stop"]
    with pytest.raises(UpstreamError):
        await served.streamed("half", n=2)


@each(lambda vendor: not vendor.several)
async def test_what_gives_one_choice_refuses_to_give_two(served: Served) -> None:
    with pytest.raises(UnsupportedParameter, match="'under-test'") as caught:
        await served.whole(n=2)
    assert (caught.value.param, served.script.asked) == ("n", [])


@each(lambda vendor: vendor.thinks)
@pytest.mark.parametrize("stream", CALLERS)
async def test_what_a_model_thinks_comes_apart_from_what_it_says(served: Served, stream: bool) -> None:
    reply = await asked(served, "sky", stream=stream, reasoning_effort="high", max_tokens=8192)
    if stream:
        deltas = [choice.delta for chunk in reply for choice in chunk.choices]
        assert "".join(delta.reasoning_content or "" for delta in deltas) == THOUGHT
        assert (text(reply), reasons(reply)) == (SAID, ["stop"])
    else:
        message = reply.choices[0].message
        assert (message.reasoning_content, message.content) == (THOUGHT, SAID)
    assert served.script.sent["reasoning_effort"]


@each()
@pytest.mark.parametrize("stream", CALLERS)
async def test_an_answer_that_is_held_back_for_safety_says_so(served: Served, stream: bool) -> None:
    reply = await asked(served, "refusing", stream=stream)
    ended = reasons(reply) if stream else [choice.finish_reason for choice in reply.choices]
    assert ended == ["content_filter"]


CHOICES = ("auto", "required", "none", {"type": "function", "function": {"name": "get_time"}})


@each(lambda vendor: vendor.chooses)
@pytest.mark.parametrize("choice", CHOICES, ids=str)
async def test_who_must_call_a_tool_must_at_the_vendor(served: Served, choice: Any) -> None:
    two = [TOOL, {"type": "function", "function": {"name": "get_time"}}]
    given: dict[str, Any] = {"tools": two, "tool_choice": choice}
    await served.whole(**given)
    assert meaning(served.script.sent) == meaning({"messages": HELLO, **given}) | limit_of(served)


def limit_of(served: Served) -> dict[str, Any]:
    """Some must be told one."""
    limit = served.script.sent.get("max_tokens")
    return {"limit": limit} if limit else {}


@each()
@pytest.mark.parametrize("stream", CALLERS)
async def test_only_what_was_asked_for_leaves(served: Served, stream: bool) -> None:
    await asked(served, "sky", stream=stream)
    sent = served.script.sent
    assert sent.keys() <= {"model", "messages", "stream", "max_tokens"}
    assert sent["model"] == served.vendor.model
    assert bool(sent.get("stream")) == stream


@offering(COMPLETIONS)
async def test_a_completion_says_the_same_whole_and_streamed(served: Served) -> None:
    reply = await served.provider.post_completion(CALL, served.prompt())
    assert isinstance(reply, Completion)
    assert (reply.choices[0].text, reply.choices[0].finish_reason) == (SAID, "stop")
    asking = served.prompt(stream=True, stream_options={"include_usage": True})
    chunks: list[CompletionChunk] = [chunk async for chunk in await served.provider.post_completion(CALL, asking)]
    *body, last = chunks
    assert "".join(chunk.choices[0].text for chunk in body) == SAID
    assert reasons(body) == ["stop"]
    assert (last.choices, last.usage) == ([], reply.usage)
    assert len({(chunk.id, chunk.created, chunk.object) for chunk in chunks}) == 1


@offering(EMBEDDINGS)
async def test_each_input_gets_its_vector(served: Served) -> None:
    body = EmbeddingRequest.model_validate({"model": served.model(), "input": ["one", "two", "three"]})
    reply = await served.provider.post_embedding(CALL, body)
    assert [(item.index, item.embedding) for item in reply.data] == [(0, [0.0, 0.5]), (1, [1.0, 0.5]), (2, [2.0, 0.5])]
    assert (reply.usage is None) == (served.vendor.embedding_usage is None)
    # Some take one text a call, and those may come in any order.
    assert sorted(text for asked in served.script.asked for text in asked.body["input"]) == ["one", "three", "two"]


def ranking(served: Served, model: str = "sky", **fields: Any) -> RerankRequest:
    items = ["cats sleep", "the sky is blue", "is it"]
    return RerankRequest.model_validate(
        {"model": served.model(model), "query": "is the sky blue", "items": items, **fields}
    )


@each(lambda vendor: vendor.ranking is not None)
async def test_items_come_by_their_relevance_whatever_the_vendor_calls_it(served: Served) -> None:
    how = served.vendor.ranking
    assert how is not None
    reply = await served.provider.rerank(CALL, ranking(served))
    assert [(item.index, item.relevance_score) for item in reply.data] == [(1, 1.0), (2, 0.25), (0, 0.0)]
    assert served.script.sent.keys() == {"model", "query", how.documents}
    two = await served.provider.rerank(CALL, ranking(served, max_num_results=2))
    assert [item.index for item in two.data] == [1, 2]
    assert how.most is None or served.script.sent[how.most] == 2


@each(lambda vendor: vendor.ranking is None)
async def test_what_does_not_rerank_says_so(served: Served) -> None:
    with pytest.raises(NotSupported, match="'under-test' does not rerank") as caught:
        await served.provider.rerank(CALL, ranking(served))
    assert caught.value.status == 501


@each(lambda vendor: vendor.ranking is not None)
@pytest.mark.parametrize(
    ("model", "kind"),
    [("busy", RateLimited), ("failing", UpstreamError), ("page", UpstreamError), ("sign-in", UpstreamError)],
)
async def test_a_reranking_that_fails_is_told(served: Served, model: str, kind: type[StackError]) -> None:
    with pytest.raises(kind, match="'under-test'"):
        await served.provider.rerank(CALL, ranking(served, model))


LACKING = [
    pytest.param(vendor, operation, id=f"{vendor.name}-{operation}")
    for vendor in VENDORS
    for operation in (COMPLETIONS, EMBEDDINGS)
    if operation not in vendor.offers
]


@pytest.mark.parametrize(("vendor", "operation"), LACKING)
async def test_an_operation_that_a_vendor_lacks_is_said_to_be_lacking(vendor: Vendor, operation: str) -> None:
    async with serving(vendor) as served:
        embedding = EmbeddingRequest.model_validate({"model": served.model(), "input": "one"})
        completes = operation == COMPLETIONS
        ask = served.provider.post_completion if completes else served.provider.post_embedding
        with pytest.raises(StackError, match="'under-test'") as caught:
            await ask(CALL, served.prompt() if completes else embedding)
    assert caught.value.status in (404, 501)


# A passthrough's callers name an address with their key.
KEYED = [vendor for vendor in VENDORS if provider_class(vendor).data_key and vendor is not PASSTHROUGH]


@pytest.mark.parametrize("vendor", KEYED, ids=lambda vendor: vendor.name)
@pytest.mark.parametrize("stream", CALLERS)
async def test_a_callers_own_key_goes_before_the_configured_one(vendor: Vendor, stream: bool) -> None:
    async with serving(vendor, key=WRONG_KEY) as served:
        theirs = ProviderData({served.provider.data_key: KEY})
        reply = await served.provider.post_chat_completion(
            replace(CALL, provider_data=theirs), served.chat(stream=stream)
        )
        said = text([chunk async for chunk in reply]) if stream else reply.choices[0].message.content
        assert said == SAID
        assert not any(WRONG_KEY in value for value in served.script.asked[-1].headers.values())
        with pytest.raises(UpstreamRejected):
            await asked(served, "sky", stream=stream)


@each(lambda vendor: vendor.native)
async def test_a_listed_model_answers_by_its_listed_name(served: Served) -> None:
    [model] = await served.provider.get_models(CALL)
    assert model.model_type == "llm"
    asking = served.chat().model_copy(update={"model": model.provider_model_id})
    reply = await served.provider.post_chat_completion(CALL, asking)
    assert (reply.choices[0].message.content, served.script.sent["model"]) == (SAID, served.vendor.model)
    health = await served.provider.health()
    assert health.ok


@each()
async def test_a_zipped_answer_is_read(served: Served) -> None:
    assert (await served.whole("zipped")).choices[0].message.content == SAID
    assert text(await served.streamed("zipped")) == SAID


@each()
async def test_a_stream_where_none_was_asked_for_is_put_together(served: Served) -> None:
    reply = await served.whole("contrary")
    plain = await served.whole()
    assert reply.choices[0].message.content == SAID
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is None or plain.usage is None or reply.usage.total_tokens == plain.usage.total_tokens
    [choice] = (await served.whole("contrary", tools=[TOOL])).choices
    [call] = choice.message.tool_calls or ()
    assert choice.finish_reason == "tool_calls"
    assert given(served, call.model_dump()["function"]["arguments"]) == given(served, ARGUMENTS)


@each()
async def test_json_where_a_stream_was_asked_for_is_taken_apart(served: Served) -> None:
    *body, last = await served.streamed("contrary", stream_options={"include_usage": True})
    assert text(body) == SAID
    assert reasons(body) == ["stop"]
    assert (last.choices, last.usage and last.usage.total_tokens) == ([], USAGE["total_tokens"])
    chunks = await served.streamed("contrary", tools=[TOOL])
    [call] = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert call.function is not None
    assert (call.index, reasons(chunks)) == (0, ["tool_calls"])
    assert given(served, call.function.arguments) == given(served, ARGUMENTS)
