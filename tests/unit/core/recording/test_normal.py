"""What is made equal in a reply, so that two recordings of the same can be compared, and what is left alone."""

from typing import Any

import pytest

from llamastack.recording.normal import Equal


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"id": "chatcmpl-7", "choices": [], "created": 1763870000}, {"id": "mark", "choices": [], "created": 0}),
        ({"id": "rerank-7", "results": []}, {"id": "mark", "results": []}),
        ({"created_at": "2026-11-23T05:00:00Z"}, {"created_at": "1970-01-01T00:00:00Z"}),
        (
            {"system_fingerprint": "fp_1", "request_id": "1"},
            {"system_fingerprint": "recorded", "request_id": "recorded"},
        ),
        ({"x_groq": {"id": "req_01"}}, {"x_groq": {"id": "recorded"}}),
        ({"usage": {"queue_time": 0.2, "total_tokens": 7}}, {"usage": {"queue_time": 0, "total_tokens": 7}}),
        ({"timings": {"prompt_ms": 7.5, "cached": True}}, {"timings": {"prompt_ms": 0, "cached": True}}),
    ],
)
def test_ids_and_times_are_made_equal(said: Any, kept: Any) -> None:
    assert Equal("mark").body(said) == kept


@pytest.mark.parametrize(
    "said",
    [
        {"data": [{"id": "gpt-5", "object": "model"}], "object": "list"},
        {"id": "file-abc", "object": "file", "bytes": 7},
        {"choices": [{"message": {"tool_calls": [{"id": "call_1"}, {"id": "functions.get_weather:0"}, {}]}}]},
        {"tool_calls": [{"id": "get_weather"}, {"id": "getWeather"}, {"id": None}, "x"]},
        {"choices": [{"logprobs": {"content": [{"token": "a", "logprob": -0.1}]}}]},
        {"created": None, "system_fingerprint": None},
        [1, "two", None, True],
        "req_1",
    ],
)
def test_what_is_asked_for_later_and_what_was_said_stays(said: Any) -> None:
    assert Equal("mark").body(said) == said


def test_ids_of_calls_are_made_equal_in_the_form_they_had() -> None:
    def ids(*given: str) -> list[str]:
        one = Equal("mark")
        return [one.body({"tool_calls": [{"id": name}]})["tool_calls"][0]["id"] for name in given]

    first, again, other, nine = ids("call_01a206f9da18", "call_01a206f9da18", "call_7531beefbeef", "a7B9c1D3e")
    assert first == again != other
    assert [len(name) for name in (first, nine)] == [len("call_01a206f9da18"), 9]
    assert first.startswith("call_")
    assert nine.isalnum()
    assert ids("call_ffffffff0000", "call_ffffffff0000", "call_ffffffff1111", "x7B9c1D3e") == [
        first,
        again,
        other,
        nine,
    ]
    assert Equal("another").body({"tool_calls": [{"id": "call_01a206f9da18"}]})["tool_calls"][0]["id"] != first
