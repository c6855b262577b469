"""A connection to an upstream that carries one exchange after another, and nothing that it need not carry."""

import asyncio

import aiohttp
from aiohttp.client_proto import ResponseHandler

from llamastack.egress.incoming import Endless, Incoming, Unreadable
from llamastack.egress.transport import READ_AHEAD_BYTES

NOTHING = memoryview(b"")
WRITE_BYTES = 256 * 1024  # at once, of a large body: the rest waits until these are on their way


class Connected(ResponseHandler):
    """aiohttp's connector makes, keeps and closes it as one of its own; what is said on it is read and written here."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.incoming: Incoming | None = None
        self.failure: Exception | None = None
        self.exchanges = 0
        self.ahead = READ_AHEAD_BYTES
        self.stopped = False
        self.unsent = NOTHING
        self.arrival: asyncio.Future[None] | None = None

    def ask(self, head: bytes, body: bytes, ahead: int = READ_AHEAD_BYTES) -> Incoming:
        """Sends a request. What comes back is for the one Incoming, until `ended`; `ahead` is as in Outgoing."""
        assert self.incoming is None
        if self.transport is None:  # lost before it could be used
            raise self.exception() or aiohttp.ServerDisconnectedError()
        self.incoming = Incoming()
        self.exchanges += 1
        self.ahead = ahead
        if len(body) <= WRITE_BYTES:
            self._write(head + body)
        else:
            self._write(head)
            self.unsent = memoryview(body)
            self._send()
        return self.incoming

    async def arrived(self) -> None:
        """Waits until something has come, or nothing will."""
        if self.failure is not None:
            raise self.failure
        if self.stopped:
            self.stopped = False
            self._resume_transport_reading()
        self.arrival = self._loop.create_future()
        try:
            await self.arrival
        finally:
            self.arrival = None

    def ended(self) -> bool:
        """Whether it may carry another exchange; otherwise it is closed at once, whatever is still on its way."""
        incoming, self.incoming, self.failure = self.incoming, None, None
        if incoming is not None:
            incoming.drop()
            if incoming.whole and incoming.clean and self._quiet():
                return True
        self.unsent = NOTHING
        self.abort()
        return False

    def _quiet(self) -> bool:
        """Whether it is open, all has been sent, and it listens."""
        transport = self.transport
        return transport is not None and not (self.stopped or self.unsent or transport.get_write_buffer_size())

    # --- what asyncio tells ---

    def data_received(self, data: bytes) -> None:
        incoming = self.incoming
        if incoming is None or incoming.whole:  # nobody has asked for this
            self.abort()
            return
        try:
            incoming.feed(data)
        except Unreadable as unreadable:
            self._failed(_told(incoming.begun, unreadable))
            self.abort()
            return
        if incoming.size > self.ahead and not incoming.whole and not self.stopped:
            self.stopped = True
            self._pause_transport_reading()
        self._wake()

    def connection_lost(self, exc: BaseException | None) -> None:
        by_us = self.transport is None
        super().connection_lost(exc)
        incoming = self.incoming
        if incoming is None or incoming.whole or self.failure is not None:
            return
        if incoming.unbounded and exc is None and not by_us:
            incoming.whole = True
            incoming.clean = False
            self._wake()
        else:
            self._failed(_broken(incoming.begun, exc))

    def resume_writing(self) -> None:
        super().resume_writing()
        self._send()

    def _send(self) -> None:
        while self.unsent and not self._paused and self.transport is not None:
            piece, rest = self.unsent[:WRITE_BYTES], self.unsent[WRITE_BYTES:]
            self.unsent = rest or NOTHING  # an empty part of a body would keep all of it as long as the connection
            self._write(piece)

    def _write(self, data: bytes | memoryview) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def _failed(self, failure: Exception) -> None:
        self.failure = failure
        self._wake()

    def _wake(self) -> None:
        if self.arrival is not None and not self.arrival.done():
            self.arrival.set_result(None)


def _told(begun: bool, unreadable: Unreadable) -> Exception:
    """As aiohttp tells it; of a head that is no HTTP, only who asked can say to whom that was."""
    if begun:
        return aiohttp.ClientPayloadError(f"Response payload is not completed: {unreadable}")
    return aiohttp.ServerDisconnectedError() if isinstance(unreadable, Endless) else unreadable


def _broken(begun: bool, exc: BaseException | None) -> Exception:
    failure: Exception
    if begun:
        failure = aiohttp.ClientPayloadError("Response payload is not completed")
    elif isinstance(exc, OSError):
        failure = aiohttp.ClientOSError(*exc.args)
    else:
        failure = aiohttp.ServerDisconnectedError()
    failure.__cause__ = exc
    return failure
