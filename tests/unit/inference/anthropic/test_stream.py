"""The events of a streamed message as chunks of OpenAI's: together they say what the whole answer does."""

import json
from typing import Any

import orjson
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from apps.inference.dialect import AnswerFailed, ChatStream, Malformed, mended
from apps.inference.providers.remote.anthropic.answer import completion
from apps.inference.providers.remote.anthropic.stream import Events
from tests.unit.inference.anthropic.saying import (
    JSON,
    MODEL,
    begun,
    block,
    ended,
    error,
    message,
    piece,
    spoken,
    text,
    thought,
    use,
)
from tests.unit.inference.anthropic.test_answer import PAGE, PASSAGE

HIDDEN = {"type": "redacted_thinking", "data": "c2VjcmV0"}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "sky"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
EVENT: Any = TypeAdapter(RawMessageStreamEvent)


def begins(whole: JSON) -> tuple[JSON, list[JSON]]:
    """How a block begins in a stream, and its deltas."""
    match whole["type"]:
        case "text":
            half = len(whole["text"]) // 2
            pieces = [{"type": "text_delta", "text": part} for part in (whole["text"][:half], whole["text"][half:])]
            cited = [{"type": "citations_delta", "citation": one} for one in whole.get("citations", ())]
            return text(""), [*cited, *pieces]
        case "thinking":
            said = [
                {"type": "thinking_delta", "thinking": part} for part in (whole["thinking"][:1], whole["thinking"][1:])
            ]
            return thought("", ""), [*said, {"type": "signature_delta", "signature": whole["signature"]}]
        case "tool_use" | "server_tool_use":
            written = orjson.dumps(whole["input"]).decode() if whole["input"] else ""
            pieces = [{"type": "input_json_delta", "partial_json": part} for part in ("", written[:3], written[3:])]
            return whole | {"input": {}}, pieces
    return whole, []


def streamed(whole: JSON) -> list[JSON]:
    """A whole message as it would have been streamed."""
    events = [begun(), {"type": "ping"}]
    for index, one in enumerate(whole["content"]):
        start, deltas = begins(one)
        events += block(index, start, *({"type": "content_block_delta", "index": index, "delta": d} for d in deltas))
    details = {"stop_details": whole["stop_details"]} if "stop_details" in whole else {}
    return events + ended(whole["stop_reason"], **details)


def put_together(events: list[JSON], answer_tool: str | None = None) -> JSON:
    """By the pipeline that every vendor's chunks take."""
    reader, stream = Events(MODEL, answer_tool), ChatStream(MODEL, 1, wants_usage=True)
    whole = stream.whole([chunk for event in events for chunk in reader.chunks(event)])
    assert stream.finished
    return whole


def what_is_said(answer: JSON) -> JSON:
    kept = {name: value for name, value in answer.items() if name not in ("created", "object")}
    [choice] = kept["choices"]
    said = {name: value for name, value in choice["message"].items() if value is not None and name != "role"}
    return kept | {"choices": [choice | {"message": said}]}


ANSWERS = {
    "text": message(text("Hello."), text(" And more.")),
    "thoughts": message(thought("Let me see."), HIDDEN, text("Hello.")),
    "calls": message(text("See:"), use("look", "a", city="Paris"), use("wait", "b"), stop_reason="tool_use"),
    "call alone": message(use("look", "a", city="Paris"), stop_reason="tool_use"),
    "thoughts and call": message(thought("Hm."), use("look", "a", city="Paris"), stop_reason="tool_use"),
    "citations": message(text("So: "), text("blue", citations=[PAGE, PASSAGE])),
    "own tools": message(SEARCH, FOUND, text("Blue.", citations=[PAGE])),
    "a pause": message(SEARCH, stop_reason="pause_turn"),
    "length": message(text("Hel"), stop_reason="max_tokens"),
    "refusal": message(
        text("No"),
        stop_reason="refusal",
        stop_details={"type": "refusal", "category": "bio", "explanation": "It could do harm."},
    ),
}


@pytest.mark.parametrize("whole", ANSWERS.values(), ids=ANSWERS)
def test_a_stream_says_what_a_whole_answer_says(whole: JSON) -> None:
    Message.model_validate(whole)
    events = streamed(whole)
    for event in events[:1] + events[2:]:
        EVENT.validate_python(event)
    assert what_is_said(put_together(events)) == what_is_said(mended(completion(whole, MODEL, None), MODEL))


def test_an_answer_by_a_tool_comes_as_text() -> None:
    whole = message(use("answer", city="Paris"), stop_reason="tool_use")
    [choice] = put_together(streamed(whole), "answer")["choices"]
    assert (json.loads(choice["message"]["content"]), choice["finish_reason"]) == ({"city": "Paris"}, "stop")
    assert "tool_calls" not in choice["message"]
    empty = put_together(streamed(message(use("answer"), stop_reason="tool_use")), "answer")
    assert empty["choices"][0]["message"]["content"] == "{}"


def test_what_is_not_known_is_passed_over() -> None:
    strange = [{"type": "something_new", "index": 7}, {"type": "ping"}, piece(0, "something_delta", data=1)]
    events = spoken("Hel", "lo.")
    events[4:4] = strange
    assert put_together(events)["choices"][0]["message"]["content"] == "Hello."


def test_a_block_may_begin_with_what_it_says() -> None:
    events = [begun(), *block(0, thought("Hm.")), *block(1, text("Hel"), piece(1, "text_delta", text="lo.")), *ended()]
    said = put_together(events)["choices"][0]["message"]
    assert (said["content"], said["reasoning_content"], said["thinking_blocks"]) == ("Hello.", "Hm.", [thought("Hm.")])
    called = [begun(), *block(0, use("look", "a", city="Paris")), *ended("tool_use")]
    [call] = put_together(called)["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}


def test_the_newest_count_of_tokens_holds() -> None:
    events = spoken("Hello.")
    events[-2]["usage"] = {"output_tokens": 6, "input_tokens": 12, "cache_read_input_tokens": None}
    told = put_together(events)["usage"]
    assert (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]) == (22, 6, 28)


def test_an_error_is_none_of_the_answer() -> None:
    with pytest.raises(AnswerFailed, match="Overloaded"):
        list(Events(MODEL, None).chunks(error("overloaded_error", "Overloaded")))


@pytest.mark.parametrize(
    "event",
    [
        {"type": "message_start"},
        {"type": "message_delta", "delta": "end"},
        {"type": "content_block_start", "index": 0},
        {"type": "content_block_start", "content_block": text("")},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "a"}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": "look"}},
        {"type": "content_block_stop", "index": 7},
        piece(7, "text_delta", text="A"),
        piece(0, "text_delta"),
        piece(0, "text_delta", text=7),
        piece(0, "input_json_delta", partial_json=None),
        piece(0, "citations_delta", citation="A"),
    ],
    ids=str,
)
def test_an_event_that_is_none_is_malformed(event: JSON) -> None:
    reader = Events(MODEL, None)
    for before in spoken()[:3]:
        list(reader.chunks(before))
    with pytest.raises(Malformed):
        list(reader.chunks(event))


def test_the_input_of_an_own_tool_that_is_no_json_is_malformed() -> None:
    cut = piece(0, "input_json_delta", partial_json="{")
    with pytest.raises(Malformed):
        put_together([begun(), *block(0, SEARCH | {"input": {}}, cut), *ended()])
