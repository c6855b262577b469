"""Whether exchanges with upstreams are recorded or replayed, and where the recordings are."""

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from llamastack.recording import files
from llamastack.recording.asked import Asked
from llamastack.recording.files import RecordingFault
from llamastack.recording.nearest import missing
from llamastack.recording.reply import Answer
from llamastack.recording.secrets import Secrets, of_request

MODE = "LLAMA_STACK_TEST_INFERENCE_MODE"
FOLDER = "LLAMA_STACK_TEST_RECORDING_DIR"
# After these a call is made again: of what came, only the last is what the caller was given.
PASSING = frozenset({429, 502, 503, 504})


class Mode(StrEnum):
    live = "live"
    record = "record"
    replay = "replay"
    record_if_missing = "record-if-missing"


class Tape:
    """The recordings of a folder, and how far each has been replayed. Its methods wait for the disk.

    A request that is sent again is answered by the next reply in its file, and in the end by the last one over and
    over. Recording begins a file anew with a process' first request of its kind.
    """

    def __init__(self, mode: Mode, folder: Path) -> None:
        self.mode = mode
        self.folder = folder
        self._lock = threading.Lock()
        self._replayed: dict[Path, int] = {}
        self._made: dict[Path, list[dict[str, Any]]] = {}

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Tape | None":
        """What the variables ask for; None where upstreams are asked as ever. Raises RecordingFault."""
        given = environ.get(MODE) or Mode.live
        if given not in list(Mode):
            raise RecordingFault(f"{MODE} is '{given}', and can be {', '.join(Mode)}.")
        mode = Mode(given)
        if mode is Mode.live:
            return None
        if not (named := environ.get(FOLDER)):
            raise RecordingFault(f"{MODE} is {mode}, which needs {FOLDER}: the folder of the recordings.")
        folder = Path(named).expanduser().absolute()
        _check(folder, mode)
        return cls(mode, folder)

    def __str__(self) -> str:
        if self.mode is Mode.replay:
            return f"{MODE}=replay: no upstream is asked, answers come from {self.folder}"
        return f"{MODE}={self.mode}: what upstreams answer is written to {self.folder}"

    def take(self, asked: Asked, folders: list[Path]) -> dict[str, Any]:
        """The next reply. Raises RecordingMissing."""
        for folder in folders:
            file = folder / asked.file_name
            try:
                replies = files.read(file)["replies"]
            except FileNotFoundError:
                continue
            with self._lock:
                number = self._replayed.get(file, 0)
                self._replayed[file] = number + 1
            reply: dict[str, Any] = replies[min(number, len(replies) - 1)]
            return reply
        raise missing(asked, folders)

    def replays(self, asked: Asked, folders: list[Path]) -> bool:
        """Whether the upstream is not to be asked. What this process records itself it goes on recording."""
        if self.mode is not Mode.record_if_missing:
            return self.mode is Mode.replay
        places = [folder / asked.file_name for folder in folders]
        return not self._made.keys() & set(places) and any(file.exists() for file in places)

    def keep(self, asked: Asked, area: str, folder: Path, reply: dict[str, Any]) -> None:
        file = folder / asked.file_name
        with self._lock:
            replies = self._made.setdefault(file, [])
            if replies and replies[-1]["status"] in PASSING:
                replies.pop()
            if not replies or replies[-1] != reply:
                replies.append(reply)
                recording = {"schema": 1, "area": area, "upstream": asked.upstream, "request": asked.told}
                files.write(file, recording | {"replies": replies})


def _check(folder: Path, mode: Mode) -> None:
    if mode is Mode.replay:
        if not folder.is_dir():
            raise RecordingFault(f"{FOLDER} is {folder}, which is no folder. Record into it first, by {MODE}=record.")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordingFault(f"{FOLDER} is {folder}, which cannot be made: {error.strerror}.") from None


@dataclass(frozen=True)
class Track:
    """One provider's exchanges: its API's name is the area, its id the upstream's name; `secrets` are its config's."""

    tape: Tape
    area: str
    upstream: str
    secrets: tuple[str, ...] = ()

    def folders(self) -> list[Path]:
        """Where a recording may be, and the first of them where it goes: the test's own, if it said one."""
        area = self.tape.folder / self.area
        test = _test.get()
        return [area / test, area] if test else [area]

    def secrets_with(self, url: str, headers: Mapping[str, str]) -> Secrets:
        return Secrets([*self.secrets, *of_request(url, headers)])

    def take(self, asked: Asked) -> dict[str, Any]:
        return self.tape.take(asked, self.folders())

    def replays(self, asked: Asked) -> bool:
        return self.tape.replays(asked, self.folders())

    def keep(self, asked: Asked, answer: Answer, secrets: Secrets) -> None:
        """Raises Unmaskable."""
        reply = answer.kept(f"recorded-{asked.hash[:12]}", secrets)
        self.tape.keep(asked, self.area, self.folders()[0], reply)


_track: ContextVar[Track | None] = ContextVar("track", default=None)
_test: ContextVar[str] = ContextVar("test", default="")


def current() -> Track | None:
    """Whose exchanges what is made here carries; None where they go out as ever."""
    return _track.get()


@contextmanager
def keeping(track: Track | None) -> Iterator[None]:
    """While a provider is made, started or called, so that every Egress it makes keeps to this track."""
    before = _track.get()
    _track.set(track)
    try:
        yield
    finally:
        _track.set(before)  # not reset: a stream may be closed by another task than the one that began it


def of_test(name: object) -> None:
    """The test that the rest of this task works for (`__test_id` of provider data): its recordings lie apart."""
    _test.set(_folder(name) if isinstance(name, str) and name else "")


def _folder(name: str) -> str:
    """A folder's name that tells the test, and tells it from others."""
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:80]
    told_apart = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{readable}.{told_apart}".lstrip(".")
