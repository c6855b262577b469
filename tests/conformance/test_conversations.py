"""What property tests send is valid, and its normal form tells apart what is different and nothing else."""

from typing import Any

import pytest
from hypothesis import given

from apps.inference.schemas import ChatCompletionRequest
from tests.conversations import meaning, requests

HELLO = {"role": "user", "content": "Hello there"}
TOOL = {"type": "function", "function": {"name": "f"}}
CALLS = [{"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in ("a", "b")]
CALLED = [HELLO, {"role": "assistant", "tool_calls": CALLS}]
RESULTS = [{"role": "tool", "tool_call_id": i, "content": "1"} for i in ("a", "b")]


@given(requests())
def test_each_is_a_valid_request_and_means_the_same_once_it_is_read(body: dict[str, Any]) -> None:
    read = ChatCompletionRequest.model_validate(body)
    assert meaning(read.model_dump(exclude_unset=True, mode="json")) == meaning(body)


@given(requests(images=False, without=("tools", "system", "user")))
def test_what_is_left_out_is_not_there(body: dict[str, Any]) -> None:
    assert not {"tools", "tool_choice", "parallel_tool_calls", "user"} & body.keys()
    assert {message["role"] for message in body["messages"]} <= {"user", "assistant"}
    assert "image_url" not in str(body)


SAME: list[tuple[Any, Any]] = [
    ({"messages": [HELLO]}, {"messages": [HELLO | {"content": [{"type": "text", "text": " Hello\nthere "}]}]}),
    ({"messages": [HELLO]}, {"messages": [HELLO | {"content": "Hello"}, HELLO | {"content": "there"}]}),
    ({"messages": [*CALLED, *RESULTS]}, {"messages": [*CALLED, *reversed(RESULTS)]}),
    ({"messages": [HELLO], "tools": [TOOL], "tool_choice": "none"}, {"messages": [HELLO]}),
    ({"messages": [HELLO], "max_tokens": 2, "n": 1}, {"messages": [HELLO], "max_completion_tokens": 2}),
    ({"messages": [HELLO], "response_format": {"type": "text"}, "stop": []}, {"messages": [HELLO]}),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_is_said_in_two_ways_means_the_same(one: Any, other: Any) -> None:
    assert meaning(one) == meaning(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"messages": [HELLO]}, {"messages": [HELLO | {"role": "assistant"}]}),
        ({"messages": [*CALLED, *RESULTS]}, {"messages": [*CALLED, RESULTS[0], RESULTS[1] | {"content": "2"}]}),
        ({"messages": [HELLO], "tools": [TOOL]}, {"messages": [HELLO], "tools": [TOOL], "tool_choice": "required"}),
        ({"messages": [HELLO], "tools": [TOOL]}, {"messages": [HELLO]}),
        ({"messages": [HELLO], "stop": "a"}, {"messages": [HELLO]}),
        ({"messages": [HELLO], "response_format": {"type": "json_object"}}, {"messages": [HELLO]}),
        ({"messages": [HELLO, HELLO | {"role": "system"}]}, {"messages": [HELLO]}),
    ],
)
def test_what_says_something_else_means_something_else(one: Any, other: Any) -> None:
    assert meaning(one) != meaning(other)
