"""What benchmarks/gateway.py finds in the database of a server that has stopped: each missing or wrong row is told."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks._kept import DATABASE, told
from benchmarks._targets import OURS, Target

Change = Callable[[sqlite3.Connection], object]
USAGE = "operation, status, whole, input_tokens, output_tokens, lane"
WRONG: dict[str, tuple[str, str]] = {
    "a completion is missing": ("DELETE FROM inference_storedcompletion WHERE id = 'c1'", "1 of the 2 completions"),
    "a completion says another thing": (
        "UPDATE inference_storedcompletion SET completion = replace(completion, 'number 1', 'number 2')",
        "1 of the 2 completions",
    ),
    "a usage record is missing": ("DELETE FROM access_usage WHERE rowid = 1", "'chat': 1"),
    "a usage record is there twice": (
        "INSERT INTO access_usage SELECT * FROM access_usage WHERE rowid = 1",
        "'chat': 3",
    ),
    "tokens are wrong": ("UPDATE access_usage SET input_tokens = 9 WHERE rowid = 1", "1 usage records are wrong"),
    "a stream was not whole": ("UPDATE access_usage SET whole = 0 WHERE rowid = 2", "1 usage records are wrong"),
    "a stream has no tokens": (
        "UPDATE access_usage SET input_tokens = NULL WHERE operation = 'chat'",
        "2 usage records are wrong",
    ),
    "another lane": ("UPDATE access_usage SET lane = 'django'", "lanes by their usage records {'django': 3}"),
}


def completion(text: str) -> str:
    return json.dumps({"choices": [{"message": {"content": f"You said: {text}"}}]})


@pytest.fixture
def target(tmp_path: Path) -> Target:
    said = {"c1": "number 1", "c2": "number 2"}
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection, connection:
        connection.execute("CREATE TABLE inference_storedcompletion (id, input_messages, completion)")
        connection.execute(f"CREATE TABLE access_usage ({USAGE})")
        for name, text in said.items():
            row = (name, json.dumps([{"role": "user", "content": text}]), completion(text))
            connection.execute("INSERT INTO inference_storedcompletion VALUES (?, ?, ?)", row)
            connection.execute("INSERT INTO access_usage VALUES ('chat', 200, 1, 8, 8, 'fast')")
        connection.execute("INSERT INTO access_usage VALUES ('embedding', 200, 1, 64, NULL, 'fast')")
    target = Target(OURS, 0, 0, home=tmp_path, said=said)
    target.asked, target.lanes = Counter(chat=2, embedding=1), Counter(fast=3)
    return target


def change(target: Target, statement: str) -> None:
    assert target.home
    with closing(sqlite3.connect(target.home / DATABASE)) as connection, connection:
        connection.execute(statement)


def test_whatever_was_answered_is_there(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(target)
    assert "usage: 3 records of the 3 calls" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_found(wrong: str, target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    statement, said = WRONG[wrong]
    change(target, statement)
    assert not told(target)
    assert said in capsys.readouterr().out


def test_a_call_that_was_not_answered_is_in_nobody_s_count(target: Target) -> None:
    target.asked["chat"] += 1
    assert not told(target)
