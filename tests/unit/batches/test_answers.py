"""How a line's reply is written, and what is counted of it, whatever a vendor tells."""

import json
from typing import Any

import pytest

from apps.batches.answers import tokens, written
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
