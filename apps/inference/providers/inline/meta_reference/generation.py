"""One generation as its caller sees it: an asynchronous iterator of token ids."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

from llamastack.errors import StackError
from llamastack.sampling import Strategy

if TYPE_CHECKING:
    from apps.inference.providers.inline.meta_reference.adjustment import Adjustment

Finish = Literal["stop", "length"]


class Generation:
    """Yields tokens as the engine finds them, the end-of-sequence token included.

    `finish_reason` is set when the iterator has ended by itself. `aclose` takes effect before the next step.
    """

    def __init__(
        self,
        tokens: Sequence[int],
        strategy: Strategy,
        limit: int,
        random: Random,
        adjustment: "Adjustment | None" = None,
    ) -> None:
        self.tokens = tokens
        self.strategy = strategy
        self.limit = limit
        self.random = random
        self.adjustment = adjustment
        self.count = 0  # of tokens the engine has found
        self.cancelled = False
        self.finish_reason: Finish | None = None
        self.loop = asyncio.get_running_loop()
        self._ready: deque[int] = deque()
        self._error: StackError | None = None
        self._changed = asyncio.Event()

    def __aiter__(self) -> "Generation":
        return self

    async def __anext__(self) -> int:
        while not self.cancelled:
            if self._ready:
                return self._ready.popleft()
            if self._error is not None:
                raise self._error
            if self.finish_reason is not None:
                break
            self._changed.clear()
            await self._changed.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop the generation. Harmless to repeat."""
        self.cancelled = True
        self._changed.set()

    def receive(self, event: "Event") -> None:
        """Take what a step has brought; called on this generation's loop."""
        if event.token is not None:
            self._ready.append(event.token)
        self.finish_reason = event.finish_reason
        self._error = event.error
        self._changed.set()


@dataclass(frozen=True, slots=True)
class Event:
    """What a step did for one generation: a token, perhaps the last; or an error."""

    generation: Generation
    token: int | None = None
    finish_reason: Finish | None = None
    error: StackError | None = None


def publish(events: Iterable[Event]) -> None:
    """Hand events to their loops: one wake-up a loop. A generation whose loop has ended is cancelled."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Event]] = {}
    for event in events:
        by_loop.setdefault(event.generation.loop, []).append(event)
    for loop, batch in by_loop.items():
        try:
            loop.call_soon_threadsafe(_deliver, batch)
        except RuntimeError:  # the loop is closed
            for event in batch:
                event.generation.cancelled = True


def _deliver(events: list[Event]) -> None:
    for event in events:
        event.generation.receive(event)
