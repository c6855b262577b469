"""When a line that failed is tried once more: what an upstream's bad minute does is no fault of the line."""

import random
import time
from collections.abc import Callable, Sequence

from llamastack.egress.failures import cause_of, is_outage
from llamastack.egress.retries import FOR_GOOD
from llamastack.errors import StackError

PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)  # seconds, a quarter more or less by chance
LONGEST_PAUSE = 60.0
PATIENCE = 180.0  # seconds from the first failure: what times out after ten minutes is tried once more, not seven times
MAY_PASS = (429, 503, 504)
LEFT_ALONE = "breaker_open"


class Tries:
    """Those of one line. `told` is its error, if it has no other end: an upstream's own word, where it has said one."""

    def __init__(
        self,
        pauses: Sequence[float] = PAUSES,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pauses = pauses
        self.chance = chance
        self.clock = clock
        self.count = 0
        self.first: float | None = None
        self.told: StackError | None = None

    def pause(self, error: StackError) -> float:
        """Seconds until it is tried once more after this error. Raises what was told where it is not."""
        if self.told is None or error.code != LEFT_ALONE:
            self.told = error
        now = self.clock()
        self.first = now if self.first is None else self.first
        if not may_pass(error) or self.count == len(self.pauses) or now - self.first >= PATIENCE:
            raise self.told
        pause = self.pauses[self.count] * (0.75 + 0.5 * self.chance())
        self.count += 1
        return min(max(pause, error.retry_after or 0), LONGEST_PAUSE)


def may_pass(error: StackError) -> bool:
    """Whether the same line may well be answered later: never where the request is at fault, or the answer is."""
    if error.status in MAY_PASS:
        return True
    cause = cause_of(error)
    return cause is not None and is_outage(cause) and not isinstance(cause, FOR_GOOD)
