"""The threads in which Django does what is not async: signals, sync views, closing the answer.

Django starts one for each request, and another one that waits for its end. Here requests of the API share one, since
their views are async, and pages have one each, so that sync views run side by side; it is kept for the next.
"""

from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from asgiref.sync import ThreadSensitiveContext

MOST_IDLE = 32


def thread() -> ThreadPoolExecutor:
    """It starts when it is first used."""
    return ThreadPoolExecutor(1, "llama-stack-request")


class Threads:
    def __init__(self) -> None:
        self._shared = thread()
        self._idle: list[ThreadPoolExecutor] = []

    async def run(self, application: Callable[..., Awaitable[None]], *arguments: Any, shared: bool = False) -> None:
        """Have the application do in one thread what it cannot await: in its own, or in the one that is shared."""
        with self._lent(shared) as lent:
            async with ThreadSensitiveContext(executor=lent):
                await application(*arguments)

    @contextmanager
    def _lent(self, shared: bool) -> Iterator[ThreadPoolExecutor]:
        if shared:
            yield self._shared
            return
        lent = self._idle.pop() if self._idle else thread()
        try:
            yield lent
        finally:
            if len(self._idle) < MOST_IDLE:
                self._idle.append(lent)
            else:
                lent.shutdown(wait=False)

    def end(self) -> None:
        """End those that nobody uses."""
        ended = [self._shared, *self._idle]
        self._shared, self._idle = thread(), []
        for executor in ended:
            executor.shutdown()
