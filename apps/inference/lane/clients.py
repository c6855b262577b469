"""The clients of the fast lane: what they have sent, which Django may have to read again, and when they go."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from apps.inference.lane.requests import Refused
from llamastack import settings
from llamastack.guards import DISCONNECT

LOOK_SECONDS = 0.25
AtOnce = Callable[[bytes, bytes], Awaitable[None]]


class Client:
    """The `receive` of a request and its task. What was read already it gives to whoever is handed it next.

    `at_once` is how its server sends a whole answer, where it has a way to.
    """

    __slots__ = ("_ignored", "_listening", "_messages", "_receive", "at_once", "gone", "task")

    def __init__(
        self, receive: Callable[[], Awaitable[Any]], task: "asyncio.Task[Any]", at_once: AtOnce | None = None
    ) -> None:
        self.task = task
        self.at_once = at_once
        self._receive = receive
        self._messages: list[Any] = []
        self._listening: asyncio.Task[None] | None = None
        self._ignored = False
        self.gone = False

    async def __call__(self) -> Any:
        return self._messages.pop(0) if self._messages else DISCONNECT if self.gone else await self._receive()

    async def body(self) -> bytes:
        """Raises Refused where it is too large, or its client has gone: others know what is to be said then."""
        parts, size, more = self._messages, 0, True
        while more:
            message = await self._receive()
            parts.append(message)
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
            if size > settings.MAX_BODY_BYTES or message["type"] == "http.disconnect":
                raise Refused
        return parts[0]["body"] if len(parts) == 1 else b"".join([part.get("body", b"") for part in parts])

    def listen(self) -> None:
        """Cancel the request's task as soon as its client goes, unless that is no matter."""
        if self._listening is None and not self._ignored:
            self._listening = asyncio.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.task.cancel()

    def ignore(self) -> None:
        """Whether it goes is no matter any more."""
        self._ignored = True
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None

    def left(self) -> None:
        """Its task has met the CancelledError, and goes on."""
        self.task.uncancel()


class Clients:
    """Listens for those that wait longer than a moment: a task for each would cost more than their requests do."""

    def __init__(self) -> None:
        self._new: set[Client] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, client: Client) -> None:
        self._new.add(client)
        if self._timer is None:
            self._timer = client.task.get_loop().call_later(LOOK_SECONDS, self._look)

    def remove(self, client: Client) -> None:
        self._new.discard(client)
        client.ignore()

    def _look(self) -> None:
        self._timer = None
        for client in self._new:
            client.listen()
        self._new.clear()
