"""How a server is told to stop, whichever it is, and how its process ends."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# How long calls in flight may go on: whoever presses Ctrl-C waits, whoever replaces a server wants no call cut.
GRACE_SECONDS = {signal.SIGINT: 5, signal.SIGTERM: 30}
# Ctrl-C may arrive twice: from the terminal, and passed on by `make`.
SAME_SIGNAL_SECONDS = 1.0


class Signals:
    """The first signal asks to stop within its seconds of grace, one that comes later ends the process."""

    def __init__(self, stop: Callable[[int], object]) -> None:
        self._stop = stop
        self._first: float | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self._first is None:
            self._first = time.monotonic()
            self._stop(GRACE_SECONDS[signal.Signals(number)])
        elif time.monotonic() - self._first > SAME_SIGNAL_SECONDS:
            os._exit(128 + number)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Once one came they stay caught: the second of a pair may come while the interpreter takes itself down."""
        before = {number: signal.signal(number, self.handle) for number in GRACE_SECONDS}
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
