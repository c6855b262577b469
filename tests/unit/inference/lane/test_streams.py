"""Events on their way through the fast lane, beside the functions that put them right in the other one."""

import json
from typing import Any

import pytest

from apps.inference.dialect import ChatStream, TextStream
from apps.inference.lane.streams import Passing

HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "sky"}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
MORE = {"index": 0, "function": {"arguments": "{}"}}


def chunk(delta: Any = None, reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return HEAD | {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": reason}]} | fields


FIRST = chunk({"role": "assistant", "content": ""})
STRAIGHT = {
    "text": [FIRST, chunk({"content": "Hi"}), chunk({}, "stop")],
    "usage": [FIRST, chunk({"content": "Hi"}, "length"), HEAD | {"choices": [], "usage": USAGE}],
    "a call": [FIRST, chunk({"tool_calls": [CALL]}), chunk({"tool_calls": [MORE]}), chunk({}, "tool_calls")],
    "two calls": [
        FIRST,
        chunk({"tool_calls": [CALL]}),
        chunk({"tool_calls": [CALL | {"index": 1, "id": "b"}]}),
        chunk({"tool_calls": [MORE]}),
        chunk({}, "tool_calls"),
    ],
    "two choices": [
        FIRST,
        HEAD | {"choices": [{"index": 1, "delta": {"role": "assistant"}, "finish_reason": None}]},
        chunk({}, "stop"),
        HEAD | {"choices": [{"index": 1, "delta": {"content": "x"}, "finish_reason": "stop"}]},
    ],
    "what a vendor adds": [FIRST | {"system_fingerprint": "fp"}, chunk({"content": "a", "mood": 1}, "stop", more={})],
}
BENT = {
    "no role": chunk({"content": "a"}),
    "no reason": HEAD | {"choices": [{"index": 0, "delta": {"role": "assistant"}}]},
    "content that is no text": chunk({"role": "assistant", "content": 1}),
    "a reason of the vendor's": chunk({"role": "assistant"}, "eos"),
    "a whole answer": HEAD | {"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]},
    "a call without an id": chunk({"role": "assistant", "tool_calls": [MORE]}),
    "a call that ends as text does": chunk({"role": "assistant", "tool_calls": [CALL]}, "stop"),
    "no time": {name: value for name, value in FIRST.items() if name != "created"},
    "usage beside a choice": chunk({"role": "assistant"}, usage=USAGE),
    "an error": FIRST | {"error": {"message": "no"}},
    "no choice": HEAD | {"choices": []},
}


def passing(model: str = "mine", own_id: str | None = "own") -> Passing:
    return Passing(ChatStream("sky", 1, True), model, own_id)


def wire(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


@pytest.mark.parametrize("events", STRAIGHT.values(), ids=STRAIGHT)
def test_what_needs_nothing_put_right_passes_under_our_name_and_id(events: list[dict[str, Any]]) -> None:
    lane, other = passing(), ChatStream("sky", 1, True)
    for event in events:
        expected = [HEAD | made | {"id": "own", "model": "mine"} for made in other.chunks(event)]
        passed = lane.passed(wire(event))
        assert passed is not None
        assert [json.loads(passed)] == expected if expected else passed == b""
    assert (lane.stream.begun, lane.stream.ended) == (other.begun, other.ended)


@pytest.mark.parametrize("event", BENT.values(), ids=BENT)
def test_what_has_to_be_put_right_does_not_pass(event: dict[str, Any]) -> None:
    assert passing().passed(wire(event)) is None


AFTER = {
    "another time": chunk({"content": "a"}) | {"created": 2},
    "another id": chunk({"content": "a"}) | {"id": "c2"},
    "a role again": chunk({"role": "assistant", "content": "a"}),
    "a call's id again": chunk({"tool_calls": [CALL]}),
    "a call's name again": chunk({"tool_calls": [MORE | {"function": {"name": "f", "arguments": "x"}}]}),
    "a call out of turn": chunk({"tool_calls": [CALL | {"index": 5, "id": "z"}]}),
    "the end of a call as of text": chunk({}, "stop"),
    "usage beside the end": chunk({}, "tool_calls", usage=USAGE),
}


@pytest.mark.parametrize("event", AFTER.values(), ids=AFTER)
def test_from_the_first_that_does_not_pass_the_rest_is_put_right_as_if_all_had_been(event: dict[str, Any]) -> None:
    before = [FIRST, chunk({"tool_calls": [CALL]}), chunk({"tool_calls": [MORE]})]
    lane, other = passing(own_id=None), ChatStream("sky", 1, True)
    for one in before:
        assert lane.passed(wire(one)) is not None
        list(other.chunks(one))
    assert lane.passed(wire(event)) is None
    assert list(lane.stream.chunks(event)) == list(other.chunks(event))
    end = chunk({}, "tool_calls")
    assert list(lane.stream.chunks(end)) == list(other.chunks(end))


def test_what_follows_the_end_of_a_choice_is_told_as_its_end() -> None:
    lane = passing()
    assert [lane.passed(wire(event)) is not None and lane.ended for event in STRAIGHT["text"]] == [False, False, True]
    assert lane.passed(wire(chunk({}, "stop"))) is None


def test_heads_are_found_however_they_are_spaced() -> None:
    spaced = json.dumps(FIRST, separators=(" ,\t", " : ")).encode()
    passed = passing('a "model"').passed(spaced)
    assert passed is not None
    assert json.loads(passed) == FIRST | {"id": "own", "model": 'a "model"'}


def test_an_event_of_several_lines_is_told_in_one() -> None:
    """What follows the first line would be no part of the event otherwise, or an event of the upstream's own making."""
    lane = passing()
    assert lane.passed(json.dumps(FIRST, indent=1).encode()) is None


def test_a_usage_that_has_passed_is_not_forgotten_by_who_puts_the_rest_right() -> None:
    lane = passing()
    for event in [*STRAIGHT["text"], HEAD | {"choices": [], "usage": USAGE}]:
        lane.passed(wire(event))
    lane.give_way()
    assert lane.stream.usage == USAGE


def test_texts_that_look_like_a_head_are_left_alone() -> None:
    said = '","model":"sky","id":"c1'
    lane = passing()
    lane.passed(wire(FIRST))
    passed = lane.passed(wire(chunk({"content": said})))
    assert passed is not None
    assert json.loads(passed)["choices"][0]["delta"]["content"] == said


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b'{"choices":[]', b"\xff", wire(FIRST).replace(b'""', b'"\xff"')])
def test_what_is_no_json_does_not_pass(broken: bytes) -> None:
    assert passing().passed(broken) is None


def test_completions_pass_too() -> None:
    lane = Passing(TextStream("sky", 1, True), "mine", None)
    event = {"id": "c1", "object": "text_completion", "created": 1, "model": "sky"}
    event["choices"] = [{"index": 0, "text": "a", "finish_reason": "stop", "logprobs": None}]
    passed = lane.passed(wire(event))
    assert passed is not None
    assert json.loads(passed) == event | {"model": "mine"}
    assert lane.ended
