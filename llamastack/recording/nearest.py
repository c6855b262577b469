"""What a request that was not recorded lacks: how it differs from the recordings there are."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from llamastack.errors import StackError
from llamastack.recording import files
from llamastack.recording.asked import Asked

DIFFERENCES = 5
CHARACTERS = 60
BEFORE = 20  # of these, how many stand before the first character that differs


class RecordingMissing(StackError):
    """A replay that has nothing to replay.

    Its status is one that official clients do not try again, and that no test expects of an API.
    """

    status = 424
    code = "recording_missing"


class Difference(NamedTuple):
    place: str
    recorded: Any
    asked: Any

    def __str__(self) -> str:
        recorded, asked = shown(self.recorded, self.asked)
        return f"{self.place}: recorded {recorded}, asked {asked}"


class Absent:
    def __repr__(self) -> str:
        return "nothing"


ABSENT = Absent()


def missing(asked: Asked, folders: Iterable[Path]) -> RecordingMissing:
    """The error that says what was asked, where it was looked for, and what comes nearest."""
    folder, *others = folders
    candidates = [found for place in (folder, *others) for found in _of_path(place, asked)]
    message = f"No recording of {asked.summary} in {folder}. {_nearest(asked, candidates)}"
    remedy = "Record it once with LLAMA_STACK_TEST_INFERENCE_MODE=record-if-missing."
    return RecordingMissing(f"{message} {remedy}")


def _of_path(folder: Path, asked: Asked) -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in sorted(folder.glob("*.json")):
        try:
            found = files.read(file)
        except (files.RecordingFault, FileNotFoundError):  # only a request of its own needs it
            continue
        if (found["request"]["method"], found["request"]["path"]) == (asked.method, asked.path):
            yield file, found


def _nearest(asked: Asked, candidates: list[tuple[Path, dict[str, Any]]]) -> str:
    if not candidates:
        return f"There is none of {asked.method} {asked.path} at all."
    compared = [(list(_against(found, asked)), file) for file, found in candidates]
    differences, file = min(compared, key=lambda one: (len(one[0]), one[1].name))
    told = "; ".join(str(one) for one in differences[:DIFFERENCES])
    more = len(differences) - DIFFERENCES
    return (
        f"The nearest of {len(candidates)}, {file.name}, differs in {told}{f'; and {more} more' if more > 0 else ''}."
    )


def _against(found: dict[str, Any], asked: Asked) -> Iterator[Difference]:
    if found["upstream"] != asked.upstream:
        yield Difference("provider", found["upstream"], asked.upstream)
    told, recorded = asked.told, found["request"]
    yield from differences(recorded.get("query"), told.get("query"), "query")
    bodies = recorded.get("body") or {}, told.get("body") or {}
    if all("json" in body for body in bodies):
        yield from differences(bodies[0]["json"], bodies[1]["json"])
    else:
        yield from differences(*bodies, "body")


def differences(recorded: Any, asked: Any, place: str = "") -> Iterator[Difference]:
    """Where two JSON values differ, spelled as in `messages[0].content`."""
    if isinstance(recorded, dict) and isinstance(asked, dict):
        for name in [*recorded, *(name for name in asked if name not in recorded)]:
            inner = f"{place}.{name}" if place else name
            yield from differences(recorded.get(name, ABSENT), asked.get(name, ABSENT), inner)
    elif isinstance(recorded, list) and isinstance(asked, list):
        for number in range(max(len(recorded), len(asked))):
            old, new = (value[number] if number < len(value) else ABSENT for value in (recorded, asked))
            yield from differences(old, new, f"{place}[{number}]")
    elif recorded != asked or isinstance(recorded, bool) != isinstance(asked, bool):
        yield Difference(place or "body", recorded, asked)


def shown(recorded: Any, asked: Any) -> tuple[str, str]:
    """Both, cut to what differs."""
    one, other = repr(recorded), repr(asked)
    same = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    begin = max(0, same - BEFORE) if max(len(one), len(other)) > CHARACTERS else 0
    return _cut(one, begin), _cut(other, begin)


def _cut(text: str, begin: int) -> str:
    end = begin + CHARACTERS
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"
