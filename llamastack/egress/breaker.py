"""Leaving alone, for a while, an upstream that is down."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from llamastack.errors import Unavailable

FAILURES = 5
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 30.0  # less than the period of health checks, each of which may thus be a probe


@dataclass(frozen=True)
class Admitted:
    """A call that was let through, and in which `era`: between which two turns. Probes are numbered from 1."""

    era: int
    probe: int = 0


class Breaker:
    """Opens after five calls in a row that failed; then lets one call through each pause, to see whether it closes.

    Who admits a call says how it went: `answered` as soon as the upstream has said anything, and one of `succeeded`,
    `failed` and `abandoned` at its end. What became of calls of an earlier era changes nothing.
    """

    def __init__(self, upstream: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.upstream = upstream
        self.clock = clock
        self.failures = 0
        self.reason = ""
        self.pause = FIRST_PAUSE
        self.next_probe: float | None = None  # None while it is closed
        self.probes = 0
        self.era = 0

    @property
    def is_open(self) -> bool:
        return self.next_probe is not None

    @property
    def refuses(self) -> bool:
        """Whether a call would not be let through now."""
        return self.next_probe is not None and self.next_probe > self.clock()

    def admit(self) -> Admitted:
        """Raises Unavailable where the upstream is left alone.

        A probe that takes longer than a pause makes room for the next one: a slow answer does not shut out everybody.
        """
        if self.next_probe is None:
            return Admitted(self.era)
        seconds = self.next_probe - self.clock()
        if seconds > 0:
            raise self._refusal(seconds)
        self._wait()
        self.probes += 1
        return Admitted(self.era, self.probes)

    def answered(self, call: Admitted) -> None:
        """The upstream is there again; how long it takes for the rest of a probe is of no account."""
        if call.probe and call.era == self.era:
            self._turn(None)

    def succeeded(self, call: Admitted) -> None:
        self.answered(call)
        if call.era == self.era:
            self.failures = 0

    def failed(self, call: Admitted, reason: str) -> None:
        """`reason` follows "because": it is shown to everybody, so it has nothing of a caller's in it."""
        if call.era != self.era:
            return
        self.failures += 1
        self.reason = reason
        if call.probe:
            self.pause = min(2 * self.pause, LONGEST_PAUSE)
            self._wait()
        elif self.failures >= FAILURES:
            self._turn(self.clock() + self.pause)

    def abandoned(self, call: Admitted) -> None:
        """Nobody waits for it any more, so it tells nothing: where it was the probe, the next call is."""
        if call.probe == self.probes and call.era == self.era and self.is_open:
            self.next_probe = self.clock()

    def _wait(self) -> None:
        self.next_probe = self.clock() + self.pause

    def _turn(self, next_probe: float | None) -> None:
        self.era += 1
        self.next_probe = next_probe
        if next_probe is None:
            self.failures, self.pause = 0, FIRST_PAUSE

    def _refusal(self, seconds: float) -> Unavailable:
        message = (
            f"{self.upstream} is left alone for another {max(1, round(seconds))} s, since {self.failures} calls in a "
            f"row failed, the last one because {self.reason.removesuffix('.')}."
        )
        return Unavailable(message, code="breaker_open", retry_after=seconds)
