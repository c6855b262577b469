"""Who may ask Chroma about a collection at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Searches pass together, and a change alone, which those who come later let pass.

    While Chroma applies a change, its tables know of chunks that its index of vectors has not yet: searches would fail.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._waiting = 0
        self._turn = asyncio.Condition()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        async with self._turn:
            await self._turn.wait_for(lambda: not self._waiting)
            self._inside += 1
        try:
            yield
        finally:
            async with self._turn:
                self._inside -= 1
                self._turn.notify_all()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        async with self._turn:
            self._waiting += 1
            try:
                await self._turn.wait_for(lambda: not self._inside)
                yield
            finally:
                self._waiting -= 1
                self._turn.notify_all()
