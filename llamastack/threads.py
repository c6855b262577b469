"""The threads in which Django does what is not async: signals, sync views, closing the answer.

Django starts one for each request, and another one that waits for its end. Here pages have one each, so that sync views
run side by side; it is kept for the next. Requests of the API have none: their views are async, and to go to a thread
and back only to close an answer costs more than all else that Django does for them.
"""

from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

from asgiref.sync import ThreadSensitiveContext

MOST_IDLE = 32


def thread() -> ThreadPoolExecutor:
    """It starts when it is first used."""
    return ThreadPoolExecutor(1, "llama-stack-request")


class Here(Executor):
    """No thread: what is to be done is done at once, where it is asked for."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*arguments, **named))
        except Exception as error:  # of whatever kind: it is told to whoever waits
            done.set_exception(error)
        return done


class Threads:
    def __init__(self) -> None:
        self._here = Here()
        self._idle: list[ThreadPoolExecutor] = []

    async def run(self, application: Callable[..., Awaitable[None]], *arguments: Any, here: bool = False) -> None:
        """Have the application do what it cannot await in a thread of its own; `here`: in the loop's, at once."""
        with nullcontext(self._here) if here else self._lent() as lent:
            async with ThreadSensitiveContext(executor=lent):
                await application(*arguments)

    @contextmanager
    def _lent(self) -> Iterator[ThreadPoolExecutor]:
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
        while self._idle:
            self._idle.pop().shutdown()
