"""Documents are read in processes of their own, which die with whoever asks, of a limit, or of the document."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from apps.file_processors.parsing.outcomes import Reason, Refused, Task
from apps.file_processors.parsing.zygote import LENGTH, ORDER
from llamastack.errors import Unavailable

ROOT = Path(__file__).resolve().parents[2]
STARTS = 60.0  # seconds that it may take, on a machine with much to do
ANSWER_BYTES = 16  # for each of the text's: JSON writes a sign in up to 12
TRIES = 2
TOO_LONG = (signal.SIGXCPU, signal.SIGKILL)
ENVIRONMENT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TZ")  # nothing that is a secret
THREADS = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Told(BaseModel):
    """What the zygote says of itself."""

    no_network: bool
    no_powers: bool
    no_files: bool


class Answer(BaseModel):
    """What a process says that may have been taken over by its document: pages, or a refusal, or how it died."""

    pages: list[tuple[int | None, str]] = []
    metadata: dict[str, Any] = {}
    refused: Reason | None = None
    why: str = ""
    died: int | None = None


class Zygote:
    """The process that forks for each document, and the socket by which it is told to."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "apps.file_processors.parsing.zygote", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**environment, **THREADS, "PYTHONPATH": path},
            )
        self._control.settimeout(STARTS)
        with self._control.makefile("rb") as stream:
            line = stream.readline()
        if not line:
            self.stop()
            raise Unavailable("The process that reads documents does not start.")
        self.told = Told.model_validate_json(line)

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def begin(self, number: int, peer: socket.socket) -> None:
        socket.send_fds(self._control, [ORDER.pack(b"R", number)], [peer.fileno()])

    def end(self, number: int) -> None:
        """Harmless where it has ended."""
        with suppress(OSError):  # it has died, and all of its children with it
            self._control.send(ORDER.pack(b"K", number))

    def stop(self) -> None:
        self._control.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Sandbox:
    """Reads so many documents at once. Its process starts with the first of them."""

    def __init__(self, at_once: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._numbers = count(1)
        self._starting: asyncio.Task[Zygote] | None = None

    @property
    def told(self) -> Told | None:
        """What its process could give up, once it has started."""
        task = self._starting
        done = task is not None and task.done() and not task.cancelled() and task.exception() is None
        return task.result().told if task is not None and done else None

    async def stop(self) -> None:
        task, self._starting = self._starting, None
        if task is not None:
            found = (await asyncio.gather(task, return_exceptions=True))[0]
            if isinstance(found, Zygote):
                await asyncio.to_thread(found.stop)

    async def read(self, task: Task, content: bytes) -> Answer:
        """Raises Refused where there are no pages. Who is cancelled leaves no process behind."""
        async with self._places:
            for _ in range(TRIES):
                zygote = await self._zygote()
                try:
                    return await self._read(zygote, task, content)
                except (ConnectionError, asyncio.IncompleteReadError):  # no word from the zygote, so it has died
                    await self._forget(zygote)
            raise Refused("broken", "its reader crashed.")

    async def _read(self, zygote: Zygote, task: Task, content: bytes) -> Answer:
        number = next(self._numbers)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            with theirs:
                zygote.begin(number, theirs)
            async with asyncio.timeout(task.limits.seconds):
                return _judged(task, await _exchanged(task, content, reader, writer))
        except TimeoutError:
            raise Refused("exhausted", f"reading it takes more than {task.limits.seconds:g} s.") from None
        finally:
            zygote.end(number)
            writer.close()

    async def _forget(self, zygote: Zygote) -> None:
        task = self._starting
        done = task is not None and task.done() and not task.cancelled() and task.exception() is None
        if task is not None and done and task.result() is zygote:
            await self.stop()

    async def _zygote(self) -> Zygote:
        """The one that runs, or another where it has died."""
        if self._starting is not None and self._starting.done():
            failed = self._starting.cancelled() or self._starting.exception() is not None
            if failed or not self._starting.result().lives:
                await self.stop()
        if self._starting is None:
            self._starting = asyncio.create_task(asyncio.to_thread(Zygote))
        return await asyncio.shield(self._starting)


async def _exchanged(
    task: Task, content: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Mapping[str, Any]:
    header = orjson.dumps(asdict(task))
    writer.write(LENGTH.pack(len(header)) + header)
    writer.write(content)
    await writer.drain()
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if length > task.limits.text_bytes * ANSWER_BYTES:
        raise Refused("too_large", "it holds more text than may be read.")
    data = await reader.readexactly(length)
    try:
        answer = await asyncio.to_thread(orjson.loads, data)
    except orjson.JSONDecodeError:
        raise Refused("broken", "its reader answered nonsense.") from None
    return answer if isinstance(answer, dict) else {}


def _judged(task: Task, found: Mapping[str, Any]) -> Answer:
    try:
        answer = Answer.model_validate(found)
    except ValidationError:
        raise Refused("broken", "its reader answered nonsense.") from None
    if answer.died is not None:
        if -answer.died in TOO_LONG:
            limit = f"{task.limits.cpu_seconds} s of calculation, or more memory than there is."
            raise Refused("exhausted", f"reading it takes more than {limit}")
        raise Refused("broken", "its reader crashed.")
    if answer.refused is not None:
        raise Refused(answer.refused, answer.why)
    return answer
