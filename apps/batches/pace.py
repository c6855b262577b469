"""How fast a batch goes, as metrics of its job."""

import time
from collections.abc import Callable

SECONDS = 2.0
RARER = 0.01


class Pace:
    """What was done between two looks. The longer it has been going, the rarer they are: a day has some 800."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.began = self.told = clock()
        self.lines = self.tokens = 0

    def add(self, lines: int, tokens: int) -> None:
        self.lines += lines
        self.tokens += tokens

    def due(self) -> dict[str, float] | None:
        """Lines and output tokens a second since this was last told; None where it is too early to tell them."""
        now = self.clock()
        passed = now - self.told
        if passed < max(SECONDS, RARER * (now - self.began)):
            return None
        told = {"lines_per_second": round(self.lines / passed, 3), "tokens_per_second": round(self.tokens / passed, 3)}
        self.told, self.lines, self.tokens = now, 0, 0
        return told
