"""`${env.X}`: what is replaced, what it becomes, and what stays as it was written."""

import random
from pathlib import Path
from typing import Any

import pytest

from llamastack.config import ConfigError, env_paths, expand, references

ENV = {"URL": "http://x:1", "EMPTY": "", "PORT": "5432", "RATE": "0.5", "YES": "True", "HOME_DIR": "~/models"}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${env.URL}", "http://x:1"),
        ("${env.URL:=http://default}", "http://x:1"),
        ("${env.NONE:=http://default}", "http://default"),
        ("${env.EMPTY:=http://default}", "http://default"),
        ("${env.NONE:=}", None),
        ("${env.URL:+ollama}", "ollama"),
        ("${env.NONE:+ollama}", None),
        ("${env.EMPTY:+ollama}", None),
        ("${env.URL:+}", None),
        ("${env.PORT}", 5432),
        ("${env.NONE:=-7}", -7),
        ("${env.RATE}", 0.5),
        ("${env.YES}", True),
        ("${env.NONE:=FALSE}", False),
        ("${env.URL}/v1", "http://x:1/v1"),
        ("${env.PORT}${env.PORT}", 54325432),
        ("${env.NONE:=a}-${env.PORT}-${env.NONE:+b}", "a-5432-"),
        ("${env.NONE:=http://h:1/a=b}", "http://h:1/a=b"),
    ],
)
def test_a_reference_is_replaced_and_the_whole_string_converted(written: str, expected: Any) -> None:
    expanded = expand(written, ENV)
    assert expanded == expected
    assert type(expanded) is type(expected)


@pytest.mark.parametrize(
    "written", ["5432", "true", "", "~/x", "null", "$URL", "${URL}", "${env.lower}", "${env.X:-d}"]
)
def test_a_string_without_a_reference_stays_as_written(written: str) -> None:
    assert expand(written, ENV) == written


@pytest.mark.parametrize("written", ["${env.HOME_DIR}", "${env.NONE:=~/models}", "${env.URL:+~/models}"])
def test_a_tilde_is_expanded_in_what_was_substituted(written: str) -> None:
    assert expand(f"{written}/a", ENV) == f"{Path.home()}/models/a"


def test_a_value_that_looks_like_a_reference_is_not_expanded_again() -> None:
    assert expand("${env.A}", {"A": "${env.URL}", "URL": "x"}) == "${env.URL}"


def test_every_missing_variable_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError) as raised:
        expand({"a": "${env.NONE}", "b": ["x", {"c": "${env.EMPTY}"}]}, ENV)
    first, second = raised.value.problems
    assert (first.place, second.place) == (("a",), ("b", 1, "c"))
    assert str(first).startswith("a: the environment variable NONE is not set or empty")
    assert "EMPTY" in second.message


def test_a_disabled_entry_is_dropped_before_its_config_is_looked_at() -> None:
    entries = [
        {"provider_id": "${env.ENABLE:=__disabled__}", "config": {"url": "${env.NONE}"}},
        {"provider_id": "${env.URL:+on}", "config": {"url": "${env.URL}"}},
        {"provider_id": "${env.NONE:+off}"},
    ]
    assert expand(entries, ENV) == [{"provider_id": "on", "config": {"url": "http://x:1"}}, {"provider_id": None}]


def test_references_names_every_variable_once() -> None:
    assert references({"a": "${env.A:=1}${env.B:+2}", "b": ["${env.A}", 3, None]}) == {"A", "B"}


def test_env_paths_are_those_whose_variable_has_a_value() -> None:
    declared = {"url": "${env.URL:=d}", "key": "${env.NONE:=d}", "list": [{"x": "a/${env.PORT}"}], "plain": "text"}
    assert env_paths(declared, ENV) == {("url",), ("list", 0, "x")}


def anything(chance: random.Random, depth: int = 0) -> Any:
    """A random value as YAML may hold it, without a reference."""
    kind = chance.randrange(4 if depth > 3 else 6)
    if kind == 4:
        return [anything(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind == 5:
        return {anything_textual(chance): anything(chance, depth + 1) for _ in range(chance.randrange(4))}
    return [anything_textual(chance), chance.randint(-(10**6), 10**6), chance.random(), chance.choice([None, True])][
        kind
    ]


def anything_textual(chance: random.Random) -> str:
    return "".join(chance.choice("aZ09 ~/$%:=+-_.é\n") for _ in range(chance.randrange(9)))


@pytest.mark.parametrize("seed", range(50))
def test_what_has_no_reference_is_left_as_it_is(seed: int) -> None:
    value = anything(random.Random(seed))
    assert expand(value, ENV) == value
    assert references(value) == set()
