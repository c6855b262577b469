"""How a line's reply is written, and what is counted of it, whatever a vendor tells."""

import json
from typing import Any

import pytest

from apps.batches.answers import tokens, unanswered, written
from apps.batches.lines import Line
from apps.inference.schemas import EmbeddingUsage, Usage
from llamastack.call import Call, Principal

TOLD = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}


@pytest.mark.parametrize(
    ("more", "counted"),
    [
        ({}, (5, 0, 4, 0)),
        ({"prompt_tokens_details": {"cached_tokens": 3}}, (5, 3, 4, 0)),
        ({"completion_tokens_details": {"reasoning_tokens": 2}}, (5, 0, 4, 2)),
        ({"prompt_tokens_details": None, "completion_tokens_details": "none"}, (5, 0, 4, 0)),
        ({"prompt_tokens_details": {"cached_tokens": -1}}, (5, 0, 4, 0)),
        ({"completion_tokens": 2**80}, (5, 0, 0, 0)),
    ],
)
def test_tokens_are_counted_where_they_are_told(more: dict[str, Any], counted: tuple[int, int, int, int]) -> None:
    assert tokens(Usage.model_validate(TOLD | more)) == counted


def test_of_embeddings_and_of_nothing() -> None:
    assert tokens(EmbeddingUsage(prompt_tokens=3, total_tokens=3)) == (3, 0, 0, 0)
    assert tokens(None) == (0, 0, 0, 0)


def test_an_answer_that_an_upstream_indents_is_one_line() -> None:
    body = {"choices": [{"message": {"content": "two\nlines\r\n"}}]}
    indented = json.dumps(body, indent=2).replace("\n", "\r\n").encode()
    line = written("a", Call(Principal("ada")), 200, indented)
    assert (line.splitlines(), json.loads(line)["response"]["body"]) == ([line], body)


def test_what_python_takes_for_the_end_of_a_line_ends_none() -> None:
    content = "one\u2028two\u2029three\x85four\\\u2028five"
    body = json.dumps({"content": content}, ensure_ascii=False).encode()
    line = written(content, Call(Principal("ada")), 200, body).decode()
    assert (line.splitlines(), json.loads(line)["response"]["body"]["content"]) == ([line], content)
    request = json.dumps({"custom_id": content, "body": {}}, ensure_ascii=False).encode()
    expired = unanswered(Line(1, request), "batch_expired", "Too late.").text.decode()
    assert (expired.splitlines(), json.loads(expired)["custom_id"]) == ([expired], content)
