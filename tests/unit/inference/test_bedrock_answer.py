"""What Amazon's Converse answers, whole or streamed, in OpenAI's words; and conversations there and back."""

import json
from typing import Any

import pytest
from hypothesis import assume, given

from apps.inference.dialect import ChatStream, Malformed, mended
from apps.inference.providers.remote.bedrock.answer import Converse
from apps.inference.providers.remote.bedrock.config import BedrockConfig
from apps.inference.schemas import ChatCompletion, ChatCompletionRequest
from tests.bedrock import check
from tests.conformance.vendors import BEDROCK
from tests.conformance.vendors.vendor import CHAT
from tests.conversations import meaning, requests
from tests.unit.inference.scripted import chat

CLAUDE, NOVA = "anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-pro-v1:0"
USAGE = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}
PLACE = {"type": "json_schema", "json_schema": {"name": "place", "schema": {"type": "object"}}}
WEATHER = {"type": "function", "function": {"name": "get_weather"}}


def converse(model: str = CLAUDE, **fields: Any) -> Converse:
    return Converse(chat(model=model, **fields), "Provider 'b'", BedrockConfig())


def answer(*content: Any, reason: str = "end_turn", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": list(content)}
    return {"output": {"message": message}, "stopReason": reason, "usage": USAGE, "metrics": {"latencyMs": 1}, **more}


def whole(told: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """As the pipeline reads it."""
    return ChatCompletion.model_validate(mended(converse(**fields).whole(told), "m")).model_dump(exclude_unset=True)


def message(told: dict[str, Any], **fields: Any) -> Any:
    return whole(told, **fields)["choices"][0]["message"]


def streamed(*events: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The events put together again."""
    translation, stream = converse(stream=True, **fields), ChatStream("m", 1, wants_usage=True)
    parts = [part for event in events for part in translation.chunks(event)]
    made = stream.whole(parts)
    assert stream.finished
    return made


def block(index: int, *deltas: Any, start: Any = None) -> list[dict[str, Any]]:
    begun = [{"contentBlockStart": {"contentBlockIndex": index, "start": start}}] if start else []
    said = [{"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}} for delta in deltas]
    return [*begun, *said, {"contentBlockStop": {"contentBlockIndex": index}}]


def stop(reason: str = "end_turn") -> list[dict[str, Any]]:
    return [{"messageStop": {"stopReason": reason}}, {"metadata": {"usage": USAGE, "metrics": {"latencyMs": 1}}}]


START: dict[str, Any] = {"messageStart": {"role": "assistant"}}


def use(name: str = "get_weather", **given: Any) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": "tooluse_1", "name": name, "input": given}}


def test_texts_are_one_and_say_why_they_end() -> None:
    told = whole(
        answer({"text": "The sky "}, {"citationsContent": {"content": [{"text": "is blue."}], "citations": []}})
    )
    assert told["choices"][0]["message"]["content"] == "The sky is blue."
    assert told["choices"][0]["finish_reason"] == "stop"
    assert told["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}


@pytest.mark.parametrize(("told", "meant"), REASONS.items())
def test_each_end_has_openais_word_and_bedrocks_beside_it(told: str, meant: str) -> None:
    choice = whole(answer({"text": "a"}, reason=told))["choices"][0]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == (meant, told)
    choice = streamed(START, *block(0, {"text": "a"}), *stop(told))["choices"][0]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == (meant, told)


def test_calls_are_calls() -> None:
    told = message(answer({"text": "I look."}, use(city="Paris"), use(), reason="tool_use"), tools=[WEATHER])
    assert told["content"] == "I look."
    assert [json.loads(call["function"]["arguments"]) for call in told["tool_calls"]] == [{"city": "Paris"}, {}]
    assert message(answer(use(), reason="tool_use"), tools=[WEATHER])["content"] is None


def test_streamed_calls_come_apart_and_one_without_input_has_none() -> None:
    begun = [{"toolUse": {"toolUseId": name, "name": name}} for name in ("a", "b")]
    pieces = [{"toolUse": {"input": piece}} for piece in ("", '{"city"', ':"Paris"}')]
    made = streamed(START, *block(1, *pieces, start=begun[0]), *block(2, start=begun[1]), *stop("tool_use"))
    [choice] = made["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert [(call["id"], call["function"]) for call in choice["message"]["tool_calls"]] == [
        ("a", {"name": "a", "arguments": '{"city":"Paris"}'}),
        ("b", {"name": "b", "arguments": "{}"}),
    ]


REASONING = [
    {"type": "thinking", "thinking": "Air scatters.", "signature": "sig"},
    {"type": "redacted_thinking", "data": "cmVkYWN0ZWQ="},
]


def test_reasoning_comes_with_its_signature() -> None:
    thought = {"reasoningContent": {"reasoningText": {"text": "Air scatters.", "signature": "sig"}}}
    hidden = {"reasoningContent": {"redactedContent": "cmVkYWN0ZWQ="}}
    told = message(answer(thought, hidden, {"text": "Blue."}))
    assert (told["content"], told["reasoning_content"], told["thinking_blocks"]) == (
        "Blue.",
        "Air scatters.",
        REASONING,
    )


def test_streamed_reasoning_comes_with_its_signature_too() -> None:
    deltas = [{"text": "Air "}, {"text": "scatters."}, {"signature": "si"}, {"signature": "g"}]
    thought = block(0, *({"reasoningContent": delta} for delta in deltas))
    hidden = block(1, {"reasoningContent": {"redactedContent": "cmVkYWN0ZWQ="}})
    told = streamed(START, *thought, *hidden, *block(2, {"text": "Blue."}), *stop())["choices"][0]["message"]
    assert (told["content"], told["reasoning_content"], told["thinking_blocks"]) == (
        "Blue.",
        "Air scatters.",
        REASONING,
    )


def test_what_is_answered_can_be_sent_back() -> None:
    thought = {"reasoningContent": {"reasoningText": {"text": "Air scatters.", "signature": "sig"}}}
    said = (thought, {"text": "I look."}, use(city="Paris"))
    told = message(answer(*said, reason="tool_use"), tools=[WEATHER])
    result = {"role": "tool", "tool_call_id": told["tool_calls"][0]["id"], "content": "20"}
    body = converse(
        messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", **told}, result], tools=[WEATHER]
    ).body
    check(body)
    assert body["messages"][1] == {"role": "assistant", "content": list(said)}


def test_the_input_of_the_answers_tool_is_the_answer() -> None:
    told = whole(answer(use("place", city="Paris"), reason="tool_use"), model=NOVA, response_format=PLACE)
    [choice] = told["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"city":"Paris"}', "stop")
    assert "tool_calls" not in choice["message"]
    start, pieces = (
        {"toolUse": {"toolUseId": "t", "name": "place"}},
        ({"toolUse": {"input": p}} for p in ('{"city":', "7}")),
    )
    made = streamed(START, *block(0, *pieces, start=start), *stop("tool_use"), model=NOVA, response_format=PLACE)
    [choice] = made["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"city":7}', "stop")
    assert "tool_calls" not in choice["message"]


def test_a_tool_called_in_place_of_the_answer_is_a_call() -> None:
    told = whole(answer(use(), reason="tool_use"), model=NOVA, response_format=PLACE, tools=[WEATHER])
    assert told["choices"][0]["finish_reason"] == "tool_calls"
    assert told["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_weather"


def test_tokens_of_a_cache_count_as_asked_ones() -> None:
    cached = USAGE | {"cacheReadInputTokens": 10, "cacheWriteInputTokens": 20}
    assert whole(answer({"text": "a"}) | {"usage": cached})["usage"] == {
        "prompt_tokens": 33,
        "completion_tokens": 4,
        "total_tokens": 37,
        "prompt_tokens_details": {"cached_tokens": 10, "cache_creation_tokens": 20},
    }


def test_what_bedrock_tells_of_the_call_is_kept() -> None:
    trace = {"guardrail": {"actionReason": "It names a person."}}
    more = {"trace": trace, "serviceTier": {"type": "flex"}, "additionalModelResponseFields": {"stop_sequence": "."}}
    told = whole(answer({"text": "Blocked."}, reason="guardrail_intervened", **more))
    assert (told["trace"], told["service_tier"]) == (trace, "flex")
    assert told["choices"][0]["message"]["refusal"] == "It names a person."
    made = streamed(START, *block(0, {"text": "a"}), *stop()[:1], {"metadata": {"usage": USAGE, "trace": trace}})
    assert made["trace"] == trace


def test_events_that_are_not_known_yet_say_nothing() -> None:
    translation = converse(stream=True)
    event = {"somethingNew": {"a": 1}}
    assert translation.is_reply(event)
    assert list(translation.chunks(event)) == []
    assert not translation.is_reply({"message": "It ran out of memory."})


@pytest.mark.parametrize(
    "odd",
    [
        {"output": {}},
        {"output": {"message": {"content": "a"}}},
        {"output": {"message": {"content": [{"text": 7}]}}},
        {"output": {"message": {"content": [{"toolUse": {"name": "a"}}]}}, "stopReason": "tool_use"},
        {"output": {"message": {"content": []}}},
    ],
)
def test_an_answer_that_is_none_is_malformed(odd: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        converse().whole(odd)


def test_paths_hold_the_model_as_botocore_writes_it() -> None:
    assert converse().path == "model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0"
    path = "model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.amazon.nova-pro-v1%3A0"
    assert converse(arn, stream=True).path == f"{path}/converse-stream"


# What is refused, alone or beside other fields, or not said in words of OpenAI's.
UNKNOWN = ("parallel_tool_calls", "user", "reasoning_effort", "top_p")


@given(requests(addresses=False, without=UNKNOWN, model=CLAUDE))
def test_a_conversation_there_and_back_keeps_its_meaning(body: dict[str, Any]) -> None:
    """Where none may be called, a conversation with calls has its tools defined all the same: nobody can tell."""
    assume(body.get("tool_choice") != "none" or not any(turn.get("tool_calls") for turn in body["messages"]))
    request = ChatCompletionRequest.model_validate(body)
    sent = Converse(request, "Provider 'b'", BedrockConfig()).body
    assert meaning(BEDROCK.question(CHAT, sent)) == meaning(body)
