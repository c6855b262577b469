"""A thread for each request, in which Django does what is not async: signals, sync views, closing the answer.

Django starts one for each request and another one that waits for its end. Here they are kept for the requests to come.
"""

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import ThreadSensitiveContext

MOST_IDLE = 32


class Threads:
    """As many as there are requests under way, so that sync views run side by side, and a few that are idle."""

    def __init__(self) -> None:
        self._idle: list[ThreadPoolExecutor] = []

    async def run(self, application: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        thread = self._idle.pop() if self._idle else ThreadPoolExecutor(1, "llama-stack-request")
        try:
            async with ThreadSensitiveContext(executor=thread):
                await application(*arguments)
        finally:
            if len(self._idle) < MOST_IDLE:
                self._idle.append(thread)
            else:
                thread.shutdown(wait=False)

    def end(self) -> None:
        """End those that are idle."""
        while self._idle:
            self._idle.pop().shutdown()
