"""Connections that wait for their next exchange."""

import asyncio
from collections import defaultdict, deque

from aiohttp.connector import Connection


class Kept:
    """Kept for so many seconds at most, by the origin they lead to. aiohttp's connector has made them and will close
    them, but is not told that they are idle: to give one back to it and to ask for it again takes longer.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        # Each with the time since when it is idle, the latest last.
        self._idle: defaultdict[str, deque[tuple[float, Connection]]] = defaultdict(deque)
        self._timer: asyncio.TimerHandle | None = None

    def take(self, origin: str) -> Connection | None:
        """The one that was used last, if it is still open."""
        idle = self._idle.get(origin)
        while idle:
            since, connection = idle.pop()
            protocol = connection.protocol
            if protocol is not None and protocol.is_connected() and since > self._latest():
                return connection
            connection.close()
        return None

    def keep(self, origin: str, connection: Connection) -> None:
        if not self.seconds:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        self._idle[origin].append((loop.time(), connection))
        if self._timer is None:
            self._timer = loop.call_later(self.seconds, self._look)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for idle in self._idle.values():
            for _, connection in idle:
                connection.close()
        self._idle.clear()

    def _latest(self) -> float:
        """Since when one may be idle."""
        return asyncio.get_running_loop().time() - self.seconds

    def _look(self) -> None:
        """Close those that have waited too long, and look again when the next one will have."""
        self._timer = None
        latest = self._latest()
        for origin, idle in list(self._idle.items()):
            while idle and idle[0][0] <= latest:
                idle.popleft()[1].close()
            if not idle:
                del self._idle[origin]
        if self._idle:
            first = min(idle[0][0] for idle in self._idle.values())
            self._timer = asyncio.get_running_loop().call_at(first + self.seconds, self._look)
