"""One generation as its caller sees it: an asynchronous iterator of token ids."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

from llamastack.errors import StackError
from llamastack.sampling import SamplingParams

if TYPE_CHECKING:
    from apps.inference.providers.inline.meta_reference.adjustment import Adjustment
    from apps.inference.providers.inline.meta_reference.constraint import Matcher

Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Logprob:
    """How likely a token was, as the natural logarithm; `top` are the likeliest ones, each with its own."""

    value: float
    top: tuple[tuple[int, float], ...] = ()


class Generation:
    """Yields tokens as the engine finds them, the end-of-sequence token included.

    `logprob` is that of the token yielded last, and `prompt_logprobs` are there once `begun`: one a token of the prompt
    but its first. Both only where the sampling parameters ask. `finish_reason` is set when the iterator has ended by
    itself. `aclose` takes effect before the next step.
    """

    def __init__(
        self,
        tokens: Sequence[int],
        sampling: SamplingParams,
        limit: int,
        random: Random,
        adjustment: "Adjustment | None" = None,
        matcher: "Matcher | None" = None,
    ) -> None:
        self.tokens = tokens
        self.sampling = sampling
        self.limit = limit
        self.random = random
        self.adjustment = adjustment
        self.matcher = matcher
        self.count = 0  # of tokens the engine has found
        self.cancelled = False
        self.finish_reason: Finish | None = None
        self.loop = asyncio.get_running_loop()
        self.logprob: Logprob | None = None
        self.prompt_logprobs: list[Logprob] = []
        self._ready: deque[tuple[int, Logprob | None]] = deque()
        self._error: StackError | None = None
        self._changed = asyncio.Event()

    def __aiter__(self) -> "Generation":
        return self

    async def __anext__(self) -> int:
        await self.begun()
        if self.cancelled or not self._ready:
            raise StopAsyncIteration
        token, self.logprob = self._ready.popleft()
        return token

    async def begun(self) -> None:
        """Wait until there is a token or the end. Raises the error that came instead."""
        while not (self.cancelled or self._ready or self.finish_reason):
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()

    async def aclose(self) -> None:
        """Stop the generation. Harmless to repeat."""
        self.cancelled = True
        self._changed.set()

    def receive(self, event: "Event") -> None:
        """Take what a step has brought; called on this generation's loop."""
        if event.token is not None:
            self._ready.append((event.token, event.logprob))
        self.finish_reason = event.finish_reason
        self._error = event.error
        self._changed.set()


@dataclass(frozen=True, slots=True)
class Event:
    """What a step did for one generation: a token, perhaps the last; or an error, or the end without a token."""

    generation: Generation
    token: int | None = None
    logprob: Logprob | None = None
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
