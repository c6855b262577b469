"""The file of one request: plain JSON, which a person can read, write and compare."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llamastack.errors import StackError

WIDTH = 120
KINDS = frozenset({"json", "text", "base64"})


class RecordingFault(StackError):
    """A recording, or what says where recordings are, cannot be used; the message says what to do."""


class Kept(BaseModel):
    model_config = ConfigDict(extra="forbid")


class KeptRequest(Kept):
    """`body` is of one kind: {"json": …}, {"text": …}, or of large ones {"sha256": …, "bytes": …}."""

    method: str
    path: str
    query: list[tuple[str, str]] = []
    body: dict[str, Any] | None = None


class KeptReply(Kept):
    """A `body` of one kind: {"json": …}, {"text": …} or {"base64": …}; or the `events` of a stream."""

    status: Annotated[int, Field(ge=100, le=599)]
    headers: dict[str, str] = {}
    body: dict[str, Any] | None = None
    events: list[dict[str, Any]] | None = None

    @model_validator(mode="after")
    def says_something(self) -> "KeptReply":
        if (self.body is None) == (self.events is None):
            raise ValueError("a reply has a body or events")
        if self.body is not None and (len(self.body) != 1 or not self.body.keys() <= KINDS):
            raise ValueError("a body is one of json, text and base64")
        if any(("data" in event) == isinstance(event.get("text"), str) for event in self.events or ()):
            raise ValueError("an event has data or text")
        return self


class Recording(Kept):
    """A request and what came, one after the other, each time that it was sent."""

    version: Literal[1] = Field(alias="schema")
    area: str
    upstream: str
    request: KeptRequest
    replies: Annotated[list[KeptReply], Field(min_length=1)]


def read(file: Path) -> dict[str, Any]:
    """A recording as it stands in its file. Raises FileNotFoundError, or RecordingFault where it is none."""
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
        Recording.model_validate(found)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RecordingFault(f"The recording {file} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordingFault(f"{file} is not a recording: '{where}': {first['msg']}. Record it anew.") from None
    except ValueError as error:
        raise RecordingFault(f"{file} is not a recording: {error}. Record it anew.") from None
    return found


def write(file: Path, recording: dict[str, Any]) -> None:
    """All of it or nothing, whoever else writes the same file. Raises RecordingFault."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=file.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as part:
                part.write(laid_out(recording) + "\n")
            Path(name).chmod(0o644)
            Path(name).replace(file)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise RecordingFault(f"The recording {file} cannot be written: {error.strerror}.") from None


def laid_out(value: Any, depth: int = 0, width: int = WIDTH) -> str:
    """JSON in which what fits stands on one line, and so does each event of a stream, however long."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + 2 * depth <= width or not isinstance(value, dict | list):
        return line
    indent = "  " * (depth + 1)
    parts = ",\n".join(indent + part for part in _parts(value, depth + 1))
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{parts}\n{'  ' * depth}{closing}"


def _parts(value: dict[str, Any] | list[Any], depth: int) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (
            f"{json.dumps(name, ensure_ascii=False)}: {laid_out(inner, depth)}" for name, inner in value.items()
        )
    elif all(isinstance(item, int | float) for item in value):
        yield ", ".join(json.dumps(item) for item in value)  # a vector
    else:
        yield from (laid_out(item, depth, sys.maxsize if _is_event(item) else WIDTH) for item in value)


def _is_event(item: Any) -> bool:
    return isinstance(item, dict) and bool(item) and item.keys() <= {"event", "data", "text"}
