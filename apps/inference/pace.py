"""Calls that nobody waits for, such as lines of batches, give way to those that somebody does."""

import asyncio
import time
from collections.abc import Awaitable, Callable

LIVE_SECONDS = 1.0  # after a call that somebody waits for, in which the next one is expected
GAP_SECONDS = 0.008


class Pace:
    """They share a loop, whose passes take as long as all that is due in one: of the others, that is one call then."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._live_until = self._next = 0.0

    def live(self) -> None:
        """Somebody waits for an answer."""
        self._live_until = self._clock() + LIVE_SECONDS

    async def turn(self) -> None:
        """Wait for the turn of a call that nobody waits for."""
        now = self._clock()
        if now < self._live_until:
            self._next = max(self._next, now) + GAP_SECONDS
            await self._sleep(self._next - now)
