"""A stream's chunks put together are what the whole answer would have been."""

from typing import Any

from apps.inference.assembler import Assembler
from apps.inference.schemas import ChatCompletion, ChatCompletionChunk

USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def chunk(*choices: Any, **fields: Any) -> ChatCompletionChunk:
    head = {"id": "chatcmpl-1", "created": 7, "model": "m"}
    return ChatCompletionChunk.model_validate(head | {"choices": choices} | fields)


def part(delta: Any, index: int = 0, **fields: Any) -> Any:
    return {"index": index, "delta": delta, **fields}


def assembled(*chunks: ChatCompletionChunk, choices: int = 1) -> Any:
    assembler = Assembler(choices)
    for item in chunks:
        assembler.add(item)
    assert assembler.finished
    whole = assembler.completion()
    assert whole
    ChatCompletion.model_validate(whole)
    return whole


def test_what_a_vendor_adds_to_a_choice_is_kept() -> None:
    filtered = {"hate": {"filtered": False}}
    whole = assembled(
        chunk(part({"content": "Hi"}, content_filter_results=filtered, stop_reason=None)),
        chunk(part({}, finish_reason="stop", native_finish_reason="eos", content_filter_results={})),
    )
    [choice] = whole["choices"]
    assert (choice["content_filter_results"], choice["native_finish_reason"]) == (filtered, "eos")
    assert "stop_reason" not in choice


def message(*deltas: Any) -> Any:
    """The message of these deltas, as JSON."""
    whole = assembled(*(chunk(part(delta)) for delta in deltas), chunk(part({}, finish_reason="stop")))
    return whole["choices"][0]["message"]


def test_text_is_joined_and_all_else_of_the_answer_kept() -> None:
    whole = assembled(
        chunk(part({"role": "assistant", "content": ""}), system_fingerprint="fp", service_tier=None),
        chunk(part({"content": "The sky"})),
        chunk(part({"content": " is blue."})),
        chunk(part({}, finish_reason="stop")),
        chunk(usage=USAGE, service_tier="default"),
    )
    assert whole == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "The sky is blue.", "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": USAGE,
        "system_fingerprint": "fp",
        "service_tier": "default",
    }


def test_several_choices_come_apart_again() -> None:
    chunks = [chunk(part({"content": text}, index)) for text, index in [("b", 1), ("a", 0), ("B", 1), ("A", 0)]]
    ends = [chunk(part({}, 1, finish_reason="length")), chunk(part({}, 0, finish_reason="stop"))]
    whole = assembled(*chunks, *ends, choices=2)
    told = [(choice["index"], choice["message"]["content"], choice["finish_reason"]) for choice in whole["choices"]]
    assert told == [(0, "aA", "stop"), (1, "bB", "length")]


def test_a_stream_is_finished_when_each_choice_has_ended() -> None:
    assembler = Assembler(2)
    assembler.add(chunk(part({}, 0, finish_reason="stop")))
    assert not assembler.finished
    assembler.add(chunk(part({}, 1, finish_reason="stop")))
    assert assembler.finished


def test_reasoning_and_refusals_are_joined_too() -> None:
    told = message({"reasoning_content": "I "}, {"reasoning_content": "think."}, {"refusal": "N"}, {"refusal": "o."})
    assert (told["reasoning_content"], told["refusal"], told["content"]) == ("I think.", "No.", None)


def test_tool_calls_are_joined_by_their_index() -> None:
    calls = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "weather", "arguments": ""}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "time", "arguments": "{"}},
        {"index": 0, "function": {"arguments": '{"city": '}},
        {"index": 0, "id": "a", "function": {"name": "weather", "arguments": '"Paris"}'}},  # as some vendors repeat it
        {"index": 1, "id": "", "function": {"name": None, "arguments": "}"}},
    ]
    told = message({"role": "assistant", "content": ""}, *({"tool_calls": [call]} for call in calls))
    assert told["content"] is None
    assert told["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}},
        {"id": "b", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]


def test_calls_that_share_an_index_are_told_apart_by_their_ids() -> None:
    calls = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
        {"index": 0, "id": "b", "type": "function", "function": {"name": "time", "arguments": "{"}},
        {"index": 0, "function": {"arguments": "}"}},
    ]
    told = message(*({"tool_calls": [call]} for call in calls))["tool_calls"]
    assert [(call["id"], call["function"]) for call in told] == [
        ("a", {"name": "weather", "arguments": "{}"}),
        ("b", {"name": "time", "arguments": "{}"}),
    ]


def test_a_call_without_an_id_is_put_together_as_it_came() -> None:
    assembler = Assembler(1)
    call = {"index": 0, "function": {"name": "time", "arguments": "{}"}}
    assembler.add(chunk(part({"tool_calls": [call]}, finish_reason="tool_calls")))
    whole = assembler.completion()
    assert whole
    assert whole["choices"][0]["message"]["tool_calls"] == [{"function": {"name": "time", "arguments": "{}"}}]


def test_log_probabilities_grow() -> None:
    one, two = ({"content": [{"token": token, "logprob": -1.0}], "refusal": None} for token in "ab")
    whole = assembled(
        chunk(part({"content": "a"}, logprobs=one)), chunk(part({"content": "b"}, logprobs=two, finish_reason="stop"))
    )
    assert whole["choices"][0]["logprobs"] == {"content": [*one["content"], *two["content"]], "refusal": None}


def test_what_a_vendor_adds_is_kept() -> None:
    audio = [{"id": "x", "data": "QU"}, {"data": "JD", "transcript": "Hel"}, {"transcript": "lo"}]
    told = message(*({"audio": piece, "annotations": [{"n": n}]} for n, piece in enumerate(audio)))
    assert told["audio"] == {"id": "x", "data": "QUJD", "transcript": "Hello"}
    assert told["annotations"] == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_nothing_comes_of_no_chunks() -> None:
    assert Assembler(1).completion() is None
