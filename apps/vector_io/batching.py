"""Texts of whatever files are being read, embedded together: a request has as many as wait, and not one file's."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from apps.vector_io.protocol import Vector
from llamastack.errors import BadRequest, RateLimited, StackError, Unavailable, UpstreamError, UpstreamTimeout

AT_ONCE = 2  # requests under way
MOST_TEXTS = 128  # of one request
MOST_CHARACTERS = 400_000  # of one request: vendors take some 300,000 tokens
TRIES = 4
LONGEST_WAIT = 20.0  # seconds until a request is sent again
PASSING = (RateLimited, Unavailable, UpstreamTimeout, UpstreamError)
Embed = Callable[[Sequence[str]], Awaitable[list[Vector]]]
Waiting = tuple[str, asyncio.Future[Vector]]


class Batching:
    """`embed` is asked for some texts at once. To be used as a context: its tasks end with it."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._waiting: deque[Waiting] = deque()
        self._more = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Batching":
        self._tasks = [asyncio.create_task(self._run()) for _ in range(AT_ONCE)]
        return self

    async def __aexit__(self, *failure: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def vectors(self, texts: Sequence[str]) -> list[Vector]:
        """One a text. Raises what `embed` does, after a few tries where that may pass."""
        loop = asyncio.get_running_loop()
        waiting: list[Waiting] = [(text, loop.create_future()) for text in texts]
        async with self._more:
            self._waiting.extend(waiting)
            self._more.notify_all()
        try:
            return [await future for _, future in waiting]
        finally:
            for _, future in waiting:
                future.cancel()
                if future.done() and not future.cancelled():
                    future.exception()  # told by the first of them

    async def _run(self) -> None:
        while True:
            async with self._more:
                await self._more.wait_for(lambda: bool(self._waiting))
                taken = self._taken()
            if taken:
                await self._answer(taken)

    def _taken(self) -> list[Waiting]:
        taken: list[Waiting] = []
        characters = 0
        while self._waiting and len(taken) < MOST_TEXTS:
            text, future = self._waiting[0]
            if taken and characters + len(text) > MOST_CHARACTERS:
                break
            self._waiting.popleft()
            if not future.done():
                taken.append((text, future))
                characters += len(text)
        return taken

    async def _answer(self, taken: list[Waiting]) -> None:
        try:
            vectors = await self._tried([text for text, _ in taken])
        except BadRequest as error:
            if len(taken) == 1:
                _fail(taken, error)
                return
            half = len(taken) // 2  # one of them is at fault, and the others are not
            await self._answer(taken[:half])
            await self._answer(taken[half:])
        except StackError as error:
            _fail(taken, error)
        except Exception as error:  # whatever it was: the files it was for say so, and this task goes on
            _fail(taken, error)
        else:
            for (_, future), vector in zip(taken, vectors, strict=True):
                if not future.done():
                    future.set_result(vector)

    async def _tried(self, texts: Sequence[str]) -> list[Vector]:
        for attempt in range(1, TRIES):
            try:
                return await self._embed(texts)
            except PASSING as error:
                await asyncio.sleep(min(LONGEST_WAIT, error.retry_after or 0.25 * 2**attempt))
        return await self._embed(texts)


def _fail(taken: list[Waiting], error: Exception) -> None:
    for _, future in taken:
        if not future.done():
            future.set_exception(error)
