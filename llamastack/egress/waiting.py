"""Limits of time, each of which says what did not come in time."""

import asyncio
import math
from types import TracebackType
from typing import Any, Self


class TooSlow(TimeoutError):
    """A limit of ours has passed. Its text goes on from the upstream's name."""


class Within:
    """An `async with` block that may take so many seconds, None for ever; raises TooSlow with what did not happen."""

    def __init__(self, seconds: float | None, otherwise: str) -> None:
        self.timeout = asyncio.timeout(seconds)
        self.message = otherwise if seconds is None else f"{otherwise} {seconds:g} s"

    @property
    def left(self) -> float:
        """The seconds that are left."""
        end = self.timeout.when()
        return math.inf if end is None else end - asyncio.get_running_loop().time()

    async def __aenter__(self) -> Self:
        await self.timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.timeout.__aexit__(kind, error, trace)
        except TimeoutError as passed:
            raise TooSlow(self.message) from passed


class Moving:
    """A limit for a task that can be moved at no cost: its one timer looks at it again when it fires."""

    __slots__ = ("_due", "_handle", "_loop", "_message", "_passed", "_seconds", "_task", "_when")

    def __init__(self, task: "asyncio.Task[Any]") -> None:
        self._task = task
        self._loop = task.get_loop()
        self._when = self._due = math.inf  # the limit, and when the timer fires
        self._handle: asyncio.TimerHandle | None = None
        self._passed = False
        self._seconds, self._message = 0.0, ""

    def begin(self, seconds: float, otherwise: str) -> None:
        """From now on; `otherwise` is as in Within."""
        self._when, self._seconds, self._message = self._loop.time() + seconds, seconds, otherwise
        if self._when < self._due:
            self._wait()

    def rest(self) -> None:
        """There is none until it begins again."""
        self._when = math.inf

    def passed(self) -> TooSlow | None:
        """What the CancelledError means that the task has just met; None where it is none of this limit's."""
        if not self._passed:
            return None
        self._passed = False
        self._task.uncancel()
        return TooSlow(f"{self._message} {self._seconds:g} s")

    def end(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _wait(self) -> None:
        self.end()
        self._due = self._when
        self._handle = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        self._handle, self._due = None, math.inf
        if self._when == math.inf:
            return
        if self._loop.time() < self._when:
            self._wait()
        else:
            self._passed = True
            self._task.cancel()
