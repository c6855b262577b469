"""One request to our own ASGI application, made from another thread or loop, with an answer that streams.

The application runs on the Stack's loop; what it sends goes into the caller's inbox: first a Head, then bytes, at the
end None, or the error that it broke off with. The caller's going away is told as a server tells it: `http.disconnect`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from llamastack.errors import StackError

AHEAD = 64  # pieces that may wait for a slow reader before the application has to
logger = logging.getLogger(__name__)
Application = Callable[[Any, Any, Any], Awaitable[None]]


class BrokenOff(StackError):
    """An answer that has no end: the Stack was closed, or failed, while it was given."""


@dataclass(frozen=True, slots=True)
class Head:
    """A status, the headers, and what came with them of the body: all of it where it is `whole`."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    whole: bool


Piece = Head | bytes | BrokenOff | None


class Inbox(Protocol):
    """Where the pieces of an answer wait for the caller. `put` is called on the Stack's loop and never waits."""

    def put(self, piece: Piece, /) -> None: ...

    def qsize(self) -> int: ...


class Exchange:
    def __init__(self, loop: asyncio.AbstractEventLoop, scope: dict[str, Any], body: bytes, inbox: Inbox) -> None:
        self._loop = loop
        self._scope = scope
        self._body: bytes | None = body
        self._inbox = inbox
        self._start: Any = None
        self._begun = self._ended = self._waits = False
        self._gone = asyncio.Event()
        self._room = asyncio.Event()

    # --- on the Stack's loop ---

    async def run(self, application: Application) -> None:
        """The whole exchange. Whatever becomes of the application, the caller is told an end."""
        try:
            await application(self._scope, self._receive, self._send)
        except Exception:  # what a server answers with 500
            logger.exception("A request failed")
            if self._start is None:
                from llamastack.guards import refuse  # reads Django's settings, which are made by now

                await refuse(StackError("The stack failed to answer this request; the log says more."), self._send)
        finally:
            if not self._ended:
                self._put(BrokenOff("The Stack ended before its answer did."), ends=True)

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        """The head waits for the first piece of the body: it is one wake of the caller instead of two."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        body, ends = message.get("body", b""), not message.get("more_body")
        if not self._begun:
            self._begun = True
            self._put(Head(self._start["status"], list(self._start["headers"]), body, whole=ends), ends)
            return
        if body:
            self._put(body)
        if ends:
            self._put(None, ends)
        elif self._inbox.qsize() >= AHEAD:
            await self._until_read()

    def _put(self, piece: Piece, ends: bool = False) -> None:
        self._ended = self._ended or ends
        self._inbox.put(piece)

    async def _until_read(self) -> None:
        """`_waits` is set before the next look, so that no reader who empties the inbox now is missed."""
        self._waits = True
        while self._inbox.qsize() >= AHEAD and not self._gone.is_set():
            self._room.clear()
            await self._room.wait()
        self._waits = False

    def leave(self) -> None:
        self._gone.set()
        self._room.set()

    # --- on the caller's side ---

    def taken(self) -> None:
        """A piece has been taken from the inbox."""
        if self._waits and self._inbox.qsize() < AHEAD // 2:
            self._tell(self._room.set)

    def cancel(self) -> None:
        """The caller has gone; harmless to repeat, after the end, and once the loop has ended."""
        if not self._ended:
            self._tell(self.leave)

    def _tell(self, what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(what)
