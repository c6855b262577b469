"""YAML with the line of every key, and the error that names file, line and place."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from llamastack.errors import StackError

Place = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_VALUES = 50_000
MAX_DEPTH = 50
MOST_TOLD = 50  # problems, in a message: of thousands the first say enough

_TAG = "tag:yaml.org,2002:"
_SCALARS = {_TAG + name for name in ("null", "bool", "int", "float", "str")}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (`place` from the document's root, `line` from 1) and what."""

    message: str
    place: Place = ()
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        position = [self.file] if self.file else []
        position += [str(self.line)] if self.line else []
        place = [spell(self.place)] if self.place else []
        return ": ".join([":".join(position)] * bool(position) + place + [self.message])


class ConfigError(StackError):
    """A configuration that cannot be used; nothing was started. `problems` holds all that was found, first first."""

    code = "invalid_config"

    def __init__(self, *problems: Problem) -> None:
        more = len(problems) - MOST_TOLD
        told = [*map(str, problems[:MOST_TOLD]), *([f"… and {more:,} more"] if more > 0 else [])]
        super().__init__("\n".join(told))
        self.problems = problems

    @property
    def file(self) -> str:
        return self.problems[0].file

    @property
    def line(self) -> int | None:
        return self.problems[0].line


def spell(place: Sequence[str | int]) -> str:
    """`("providers", "inference", 1)` -> `providers.inference[1]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


@dataclass
class Source:
    """A document as written, and the line where each of its places stands."""

    file: str
    data: dict[str, Any]
    lines: dict[Place, int] = field(default_factory=dict)

    def line(self, place: Place) -> int:
        """The line of a place, or of the nearest place around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def located(self, problem: Problem) -> Problem:
        return replace(problem, file=self.file, line=self.line(problem.place))

    def move(self, old: Place, new: Place) -> None:
        """What stood at `old` is from now on found at `new`; its lines stay what they are."""
        for place, line in list(self.lines.items()):
            if place[: len(old)] == old:
                self.lines[new + place[len(old) :]] = line

    def error(self, problems: Sequence[Problem]) -> ConfigError:
        located = [self.located(problem) for problem in problems]
        return ConfigError(*sorted(located, key=lambda problem: problem.line or 0))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ConfigError for a file that is no readable, sane YAML mapping."""
        return cls.parse(_text(path), str(path))

    @classmethod
    def parse(cls, text: str, file: str) -> Self:
        loader = yaml.SafeLoader("")
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            raise ConfigError(_syntax(error, file)) from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise ConfigError(Problem("a character that YAML does not allow", (), file, line)) from None
        except RecursionError:
            raise ConfigError(Problem(f"nested deeper than {MAX_DEPTH} levels", (), file)) from None
        if not isinstance(node, MappingNode):
            raise ConfigError(Problem("expected a mapping with keys such as version and providers", (), file, 1))
        source = cls(file, {})
        source.data = _Builder(source.lines, file, loader).value(node, ())
        return source


def _text(path: Path) -> str:
    file = str(path)
    try:
        if os.path.getsize(path) > MAX_BYTES:
            raise ConfigError(Problem(f"larger than {MAX_BYTES:,} bytes: no run.yaml is", (), file))
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(Problem(f"cannot be read: {error.strerror}", (), file)) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(Problem("not UTF-8 text", (), file, line)) from None


def _syntax(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    said = ", ".join(part for part in (error.context, error.problem) if part)
    return Problem(said, (), file, mark.line + 1 if mark else None)


class _Builder:
    """Turns YAML nodes into values. Counts them, so that a few aliases cannot grow into a document without end."""

    def __init__(self, lines: dict[Place, int], file: str, loader: yaml.SafeLoader) -> None:
        self.lines = lines
        self.file = file
        self.loader = loader
        self.count = 0

    def value(self, node: Node, place: Place) -> Any:
        self.count += 1
        if self.count > MAX_VALUES:
            raise self.error(f"more than {MAX_VALUES:,} values, aliases counted each time", node, ())
        if len(place) > MAX_DEPTH:
            raise self.error(f"nested deeper than {MAX_DEPTH} levels", node, ())
        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, MappingNode):
            return self.mapping(node, place)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*place, index)) for index, item in enumerate(node.value)]
        return self.scalar(node, place)

    def mapping(self, node: MappingNode, place: Place) -> dict[str, Any]:
        built: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged = {**self.merge(value_node, place), **merged}
                continue
            key = self.key(key_node, place)
            if key in built:
                raise self.error("this key stands here twice", key_node, (*place, key))
            self.lines[(*place, key)] = key_node.start_mark.line + 1
            built[key] = self.value(value_node, (*place, key))
        return {**merged, **built}

    def merge(self, node: Node, place: Place) -> dict[str, Any]:
        """What `<<:` brings in; of several mappings the first wins."""
        nodes = node.value if isinstance(node, SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for item in nodes:
            if not isinstance(item, MappingNode):
                raise self.error("<< takes a mapping or a list of mappings", item, place)
            merged = {**self.value(item, (*place, "<<")), **merged}
        return merged

    def key(self, node: Node, place: Place) -> str:
        if not isinstance(node, ScalarNode):
            raise self.error("a key must be text", node, place)
        return str(node.value)

    def scalar(self, node: Node, place: Place) -> Any:
        """A value that JSON can hold as well, since what is written here is kept in the database."""
        if node.tag == _TAG + "timestamp":
            return node.value
        if node.tag not in _SCALARS:
            raise self.error(f"the tag {node.tag.replace(_TAG, '!!')} is not supported", node, place)
        try:
            value = self.loader.construct_object(node)
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, KeyError):
            raise self.error(f"not a value of the type {node.tag.replace(_TAG, '!!')}", node, place) from None
        if isinstance(value, str) and "\0" in value:
            raise self.error("a NUL character, which the database cannot hold", node, place)
        return value

    def error(self, message: str, node: Node, place: Place) -> ConfigError:
        return ConfigError(Problem(message, place, self.file, node.start_mark.line + 1))
