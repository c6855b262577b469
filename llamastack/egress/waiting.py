"""Limits of time, each of which says what did not come in time."""

import asyncio
import math
from types import TracebackType
from typing import Self


class TooSlow(TimeoutError):
    """A limit of ours has passed. Its text goes on from the upstream's name."""


class Within:
    """An `async with` block that may take so many seconds, None for ever; raises TooSlow with what did not happen."""

    def __init__(self, seconds: float | None, otherwise: str) -> None:
        self.timeout = asyncio.timeout(seconds)
        self.message = otherwise if seconds is None else f"{otherwise} {seconds:g} s"

    @property
    def left(self) -> float:
        """The seconds that are left."""
        end = self.timeout.when()
        return math.inf if end is None else end - asyncio.get_running_loop().time()

    async def __aenter__(self) -> Self:
        await self.timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.timeout.__aexit__(kind, error, trace)
        except TimeoutError as passed:
            raise TooSlow(self.message) from passed
