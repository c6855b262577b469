"""A batch's input file: its lines, and what is wrong with them before any is answered."""

import asyncio
import codecs
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson

from apps.batches.schemas import BatchError
from llamastack import sse
from llamastack.bodies import MAX_DEPTH, depth

MOST_LINES = 50_000
MOST_ERRORS = 100  # that are told of one file
FIELDS = {"custom_id": str, "method": str, "url": str, "body": dict}
WORDS = {str: "text", dict: "a JSON object"}
SHOWN = 100
LOOKED_AT = 200  # lines, which take a millisecond, before others have their turn


@dataclass(frozen=True, slots=True)
class Line:
    """`number` counts from 1, empty lines included."""

    number: int
    text: bytes


@dataclass
class Checked:
    """What a file holds. Its `model` is that of all its lines, or None.

    What is kept of a line is short, however long its names are: of a custom_id its digest, of models the first two.
    """

    endpoint: str
    total: int = 0
    errors: list[BatchError] = field(default_factory=list)
    models: set[str] = field(default_factory=set)
    custom_ids: set[bytes] = field(default_factory=set)

    @property
    def model(self) -> str | None:
        name = next(iter(self.models)) if len(self.models) == 1 else ""
        return name if 0 < len(name) <= 255 and name.isprintable() else None

    @property
    def full(self) -> bool:
        return len(self.errors) >= MOST_ERRORS

    def wrong(self, code: str, message: str, param: str | None = None, line: int | None = None) -> None:
        if not self.full:  # one line alone may have a million fields that are none
            self.errors.append(BatchError(code=code, message=message, param=param, line=line))

    def add(self, line: Line) -> None:
        self.total += 1
        if self.total > MOST_LINES:
            self.wrong("too_many_tasks", f"The file has more than {MOST_LINES:,} requests. Split it.", line=line.number)
            return
        try:
            request = orjson.loads(line.text)
        except orjson.JSONDecodeError as error:
            told = f"This line is not valid JSON: {error.msg}, at character {error.pos + 1}."
            self.wrong("invalid_json_line", told, line=line.number)
            return
        if not isinstance(request, dict):
            self.wrong("invalid_json_line", "This line is not a JSON object.", line=line.number)
        elif depth(request) > MAX_DEPTH + 1:  # its body is one level of it
            self.wrong("invalid_json_line", f"'body' is nested more than {MAX_DEPTH} deep.", "body", line.number)
        elif self._has_its_fields(line.number, request):
            self._check(line.number, request)

    def _has_its_fields(self, number: int, request: dict[str, Any]) -> bool:
        before = len(self.errors)
        for name, kind in FIELDS.items():
            if name not in request:
                self.wrong("missing_required_parameter", f"This line has no '{name}'.", name, number)
            elif not isinstance(request[name], kind):
                self.wrong("invalid_type", f"'{name}' must be {WORDS[kind]}.", name, number)
        for name in request.keys() - FIELDS.keys():
            told = f"{name[:SHOWN]!a} is none of the fields of a line: {', '.join(FIELDS)}."
            self.wrong("unknown_parameter", told, line=number)
        return len(self.errors) == before

    def _check(self, number: int, request: dict[str, Any]) -> None:
        custom_id, body = request["custom_id"], request["body"]
        digest = sha256(custom_id.encode()).digest()
        if digest in self.custom_ids:
            told = f"The custom_id {custom_id[:SHOWN]!a} stands in a line before this one."
            self.wrong("duplicate_custom_id", told, "custom_id", number)
        self.custom_ids.add(digest)
        if request["method"] != "POST":
            self.wrong("invalid_method", "'method' must be POST.", "method", number)
        if request["url"] != self.endpoint:
            told = f"'url' is {request['url'][:SHOWN]!a}; this batch's endpoint is '{self.endpoint}'."
            self.wrong("invalid_url", told, "url", number)
        if not isinstance(body.get("model"), str):
            self.wrong("missing_required_parameter", "'body.model' must name a model.", "body.model", number)
        elif len(self.models) < 2:
            self.models.add(body["model"])
        if body.get("stream"):
            self.wrong("invalid_value", "A batch streams nothing: leave out 'stream'.", "body.stream", number)


async def lines(content: AsyncIterator[bytes]) -> AsyncIterator[Line]:
    """Those that are not empty, without the byte order mark that editors on Windows begin a file with. Raises
    sse.MalformedStream for one of more than 8 MiB."""
    number = 0
    async for read in sse.lines(content):
        number += 1
        text = read.removeprefix(codecs.BOM_UTF8) if number == 1 else read
        if text.strip():
            yield Line(number, text)


async def checked(content: AsyncIterator[bytes], endpoint: str) -> Checked:
    """Read until too much is wrong."""
    found = Checked(endpoint)
    try:
        async for line in lines(content):
            found.add(line)
            if found.full or found.total > MOST_LINES:
                break
            if not found.total % LOOKED_AT:
                await asyncio.sleep(0)  # a piece of the file may hold thousands
    except sse.MalformedStream as error:
        found.wrong("invalid_json_line", f"The file cannot be read: {error}.", line=found.total + 1)
    if not found.total and not found.errors:
        found.wrong("empty_file", "The file holds no request.")
    return found
