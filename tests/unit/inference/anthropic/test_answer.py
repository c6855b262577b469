"""A whole answer of the Messages API as a chat completion of OpenAI's."""

import json
from typing import Any

import pytest

from apps.inference.dialect import AnswerFailed, Malformed
from apps.inference.providers.remote.anthropic.answer import completion
from apps.inference.schemas import ChatCompletion
from tests.unit.inference.anthropic.saying import JSON, MODEL, USAGE, message, text, thought, use

PAGE = {
    "type": "web_search_result_location",
    "url": "https://sky.example/",
    "title": "Sky",
    "cited_text": "It is blue.",
    "encrypted_index": "x",
}
PASSAGE = {
    "type": "char_location",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 4,
    "cited_text": "Blue",
}


def choice(*content: JSON, answer_tool: str | None = None, **more: Any) -> JSON:
    """The one choice, as a client reads it."""
    read = ChatCompletion.model_validate(completion(message(*content, **more), "asked-for", answer_tool))
    [made] = read.model_dump(mode="json")["choices"]
    return dict(made)


def usage(**counted: Any) -> Any:
    return completion(message(text("A"), usage=counted), MODEL, None).get("usage")


def test_texts_are_one_and_it_is_told_who_said_them() -> None:
    made = completion(message(text("Hel"), text("lo.")), "asked-for", None)
    assert (made["id"], made["model"], made["object"]) == ("msg_1", MODEL, "chat.completion")
    assert made["choices"][0]["message"]["content"] == "Hello."
    assert completion(message(text("A"), model=None), "asked-for", None)["model"] == "asked-for"


def test_calls_have_arguments_as_text_and_no_text_is_none() -> None:
    made = choice(use("look", "a", city="Paris"), use("wait", "b"), stop_reason="tool_use")
    calls = [
        (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in made["message"]["tool_calls"]
    ]
    assert calls == [("a", "look", '{"city":"Paris"}'), ("b", "wait", "{}")]
    assert (made["message"]["content"], made["finish_reason"]) == (None, "tool_calls")
    assert choice()["message"]["content"] == ""


def test_thoughts_are_told_twice_and_hidden_ones_once() -> None:
    hidden = {"type": "redacted_thinking", "data": "c2VjcmV0"}
    said = choice(thought("Hm."), hidden, text("A"))["message"]
    assert (said["reasoning_content"], said["thinking_blocks"]) == ("Hm.", [thought("Hm."), hidden])
    only = choice(hidden, text("A"))["message"]
    assert (only.get("reasoning_content"), only["thinking_blocks"]) == (None, [hidden])


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_each_end_is_in_openais_word_with_anthropics_beside_it(native: str, reason: str) -> None:
    made = choice(text("A"), stop_reason=native)
    assert (made["finish_reason"], made["native_finish_reason"]) == (reason, native)


def test_the_stop_that_was_met_is_told() -> None:
    assert choice(text("A"), stop_reason="stop_sequence", stop_sequence="END")["stop_sequence"] == "END"


def test_a_refusal_says_why_where_claude_does() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "It could do harm."}
    made = choice(stop_reason="refusal", stop_details=details)
    assert (made["finish_reason"], made["message"]["refusal"]) == ("content_filter", "It could do harm.")
    assert made["stop_details"] == details
    silent = choice(text("A"), stop_reason="refusal", stop_details=details | {"explanation": None})
    assert (silent["finish_reason"], silent["message"]["refusal"]) == ("content_filter", None)


def test_an_answer_by_a_tool_is_the_answer() -> None:
    made = choice(use("answer", city="Paris"), answer_tool="answer", stop_reason="tool_use")
    assert (json.loads(made["message"]["content"]), made["finish_reason"]) == ({"city": "Paris"}, "stop")
    assert "tool_calls" not in made["message"]
    called = choice(use("look"), answer_tool="answer", stop_reason="tool_use")
    assert (called["message"]["content"], called["finish_reason"]) == (None, "tool_calls")


def test_citations_are_kept_and_pages_are_annotations_too() -> None:
    said = choice(text("So: "), text("blue", citations=[PAGE, PASSAGE]))["message"]
    cited = {"url": PAGE["url"], "title": "Sky", "start_index": 4, "end_index": 8}
    assert said["citations"] == [PAGE, PASSAGE]
    assert said["annotations"] == [{"type": "url_citation", "url_citation": cited}]


def test_blocks_of_anthropics_own_tools_are_kept_whole_in_their_order() -> None:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "sky"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    content = [search, found, text("Blue.")]
    said = choice(*content)["message"]
    assert (said["content"], said["extra_content"]) == ("Blue.", {"anthropic": {"content": content}})
    assert "extra_content" not in choice(text("Blue."))["message"]


def test_usage_counts_the_whole_prompt() -> None:
    assert usage(**USAGE) == {
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "total_tokens": 25,
        "prompt_tokens_details": {"cached_tokens": 7, "cache_creation_tokens": 3},
    }
    least = usage(input_tokens=1, output_tokens=2, cache_read_input_tokens=None)
    assert least == {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def test_usage_tells_thoughts_and_anthropics_own_tools() -> None:
    told = usage(
        input_tokens=1, output_tokens=9, output_tokens_details={"thinking_tokens": 4}, server_tool_use={"a": 1}
    )
    assert told["completion_tokens_details"] == {"reasoning_tokens": 4}
    assert told["server_tool_use"] == {"a": 1}


def test_usage_that_is_none_is_not_invented() -> None:
    assert usage() is None


@pytest.mark.parametrize(("told", "ours"), [("standard", "default"), ("priority", "priority"), (None, None)])
def test_the_tier_is_in_openais_word(told: str | None, ours: str | None) -> None:
    made = completion(message(text("A"), usage=USAGE | {"service_tier": told}), MODEL, None)
    assert made.get("service_tier") == ours


@pytest.mark.parametrize(
    "wrong",
    [
        {"content": None},
        {"content": "A"},
        {"content": [7]},
        {"content": [{"type": "text"}]},
        {"content": [{"type": "tool_use", "name": "look"}]},
        {"content": [{"type": "tool_use", "id": "a", "input": {}}]},
        {"stop_reason": None},
    ],
    ids=str,
)
def test_what_is_no_message_is_malformed(wrong: JSON) -> None:
    with pytest.raises(Malformed):
        completion(message(text("A")) | wrong, MODEL, None)


def test_arguments_of_a_depth_that_nobody_writes_are_malformed() -> None:
    deep: Any = {}
    for _ in range(1000):
        deep = {"a": deep}
    with pytest.raises(Malformed, match="cannot be written"):
        completion(message(use("look", **deep)), MODEL, None)


def test_an_answer_that_ended_in_an_error_is_none() -> None:
    with pytest.raises(AnswerFailed):
        completion(message(text("A"), stop_reason="error"), MODEL, None)
