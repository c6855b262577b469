"""`${env.X}` in configuration: replaced by the environment's values as 0.3.5 replaces them (core/stack.py there).

    ${env.X}        the value of X; an error where it has none
    ${env.X:=d}     the value of X, else d
    ${env.X:+w}     w where X has a value, else nothing

An empty variable has no value. After a substitution the whole string is converted: empty is null, then a boolean, an
integer, a float; else it stays text.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from llamastack.config.source import ConfigError, Place, Problem

Environment = Mapping[str, str]

DISABLED = "__disabled__"

_REFERENCE = re.compile(r"\$\{env\.([A-Z0-9_]+)(?::([=+])([^}]*))?\}")
_ALMOST = re.compile(r"\$\{env[^}]*\}?")


def expand(value: Any, env: Environment, place: Place = (), text: Collection[Place] = ()) -> Any:
    """`value` with its references replaced; what has none stays as it is.

    Of a list, entries whose `provider_id` comes out as `__disabled__` are dropped before the rest of them is looked at.
    Strings at the places in `text` are not converted. Raises ConfigError that names every missing variable and where
    it is asked for, counted from `place`.
    """
    problems: list[Problem] = []
    expanded = _expand(value, env, place, text, problems)
    if problems:
        raise ConfigError(*problems)
    return expanded


def _expand(value: Any, env: Environment, place: Place, text: Collection[Place], problems: list[Problem]) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, env, (*place, key), text, problems) for key, item in value.items()}
    if isinstance(value, list):
        return [
            _expand(item, env, (*place, index), text, problems)
            for index, item in enumerate(value)
            if not _disabled(item, env)
        ]
    if isinstance(value, str):
        return _substitute(value, env, place, place not in text, problems)
    return value


def _disabled(item: Any, env: Environment) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("provider_id"), str):
        return False
    return bool(_substitute(item["provider_id"], env, (), False, []) == DISABLED)


def _substitute(written: str, env: Environment, place: Place, convert: bool, problems: list[Problem]) -> Any:
    def replacement(match: re.Match[str]) -> str:
        name, operator, word = match.groups()
        value = env.get(name)
        if operator == "+":
            return os.path.expanduser(word) if value else ""
        if operator is None and not value:
            problems.append(Problem(_missing(name), place))
        return os.path.expanduser(value or word or "")

    expanded, count = _REFERENCE.subn(replacement, written)
    return _converted(expanded) if count and convert else expanded


def _missing(name: str) -> str:
    return (
        f"the environment variable {name} is not set or empty: set it, "
        f"give a default with ${{env.{name}:=value}}, or make the entry conditional with ${{env.{name}:+value}}"
    )


def _converted(text: str) -> Any:
    if text == "":
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def references(value: Any) -> set[str]:
    """The variables that a value mentions."""
    return {match[1] for _, written in strings(value) for match in _REFERENCE.finditer(written)}


def env_paths(declared: Any, env: Environment | None = None) -> set[Place]:
    """The places in `declared` whose value is decided by a variable that is set: what an edit cannot change."""
    env = os.environ if env is None else env
    return {
        place
        for place, written in strings(declared)
        if any(env.get(match[1]) for match in _REFERENCE.finditer(written))
    }


def strays(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """What looks like a reference but is none: `${env.lower}`, `${env.X:-d}`. It stays in the text as written."""
    for where, written in strings(value, place):
        for match in _ALMOST.finditer(_REFERENCE.sub("", written)):
            yield where, match[0]


def strings(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every string in a value, with its place."""
    if isinstance(value, str):
        yield place, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from strings(item, (*place, key))
