"""When a call that failed is made once more."""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import aiohttp

from llamastack.egress.failures import Refusal

MOST = 2
STATUSES = frozenset({429, 502, 503, 504, 529})  # the last is Anthropic's, which is overloaded
# Of these the upstream has answered nothing. Our own time-outs are not among them: it may be at work.
BROKEN_CONNECTIONS = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, ConnectionError)
FOR_GOOD = aiohttp.ClientSSLError  # such as a certificate that is not to be trusted
FIRST_PAUSE = 0.5
LONGEST_WAIT = 5.0  # that an upstream may ask for by Retry-After: who is to wait longer is told so, and chooses
SHARE = 0.2
ALLOWANCE = 5.0
SAVED_AT_MOST = 20.0


_replaceable: ContextVar[bool] = ContextVar("replaceable", default=False)


@contextmanager
def replaceable() -> Iterator[None]:
    """While others can answer in this one's place: they are asked sooner than this upstream is once more."""
    before = _replaceable.set(True)
    try:
        yield
    finally:
        _replaceable.reset(before)


class Retries:
    """For all calls to one upstream: at most two each, and together no more than a fifth of the load.

    Each call puts a fifth of a retry aside, and each retry takes one. `first_pause` is in seconds; it doubles, and all
    of it is left to chance, so that calls that failed together do not come back together.
    """

    def __init__(self, first_pause: float = FIRST_PAUSE, chance: Callable[[], float] = random.random) -> None:
        self.first_pause = first_pause
        self.chance = chance
        self.saved = ALLOWANCE

    def called(self) -> None:
        self.saved = min(self.saved + SHARE, SAVED_AT_MOST)

    def pause(self, error: Exception, tries: int, longest: float = math.inf) -> float | None:
        """The seconds until a call that has failed `tries` times is made again, by one of those saved; else None.

        Not where it would take the `longest` seconds that are left: the failure says more than a time-out.
        """
        asked = error.retry_after if isinstance(error, Refusal) else None
        if _replaceable.get() or tries > MOST or self.saved < 1 or not worthwhile(error) or (asked or 0) > LONGEST_WAIT:
            return None
        pause = (asked or 0) + self.first_pause * 2.0 ** (tries - 1) * self.chance()
        if pause >= longest:
            return None
        self.saved -= 1
        return pause


def worthwhile(error: Exception) -> bool:
    """Whether the same call may well be answered a moment later."""
    if isinstance(error, Refusal):
        return error.status in STATUSES and not error.reply.replayed
    return isinstance(error, BROKEN_CONNECTIONS) and not isinstance(error, FOR_GOOD)
