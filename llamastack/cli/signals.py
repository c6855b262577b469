"""How a server is told to stop, whichever it is, and how its process ends."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple


class Leave(NamedTuple):
    """How a server leaves: calls in flight may go on for `seconds`, and connections without any for `idle_seconds`.

    A request may be on its way on a connection that is idle. Whoever closes it at once fails that request.
    """

    seconds: int
    idle_seconds: float


# Whoever presses Ctrl-C waits, whoever replaces a server wants no call cut, and whoever replaces a worker has time.
LEAVES = {signal.SIGINT: Leave(5, 0.0), signal.SIGTERM: Leave(30, 1.0), signal.SIGHUP: Leave(600, 10.0)}
# Ctrl-C may arrive twice: from the terminal, and passed on by `make`.
SAME_SIGNAL_SECONDS = 1.0


class Signals:
    """The first signal asks to stop within its seconds of grace, one that comes later ends the process.

    SIGHUP is caught where somebody has a use for it.
    """

    def __init__(self, stop: Callable[[signal.Signals], object], hang_up: Callable[[], object] | None = None) -> None:
        self._stop = stop
        self._hang_up = hang_up
        self._first: float | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP and self._hang_up:
            self._hang_up()
        elif self._first is None:
            self._first = time.monotonic()
            self._stop(signal.Signals(number))
        elif time.monotonic() - self._first > SAME_SIGNAL_SECONDS:
            os._exit(128 + number)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Once one came they stay caught: the second of a pair may come while the interpreter takes itself down."""
        caught = [number for number in LEAVES if number != signal.SIGHUP or self._hang_up]
        before = {number: signal.signal(number, self.handle) for number in caught}
        try:
            yield
        finally:
            for number, handler in before.items() if self._first is None else ():
                signal.signal(number, handler)


def end() -> None:
    """Leave with exit code 0, and not by way of the interpreter, which a second signal would still catch."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
