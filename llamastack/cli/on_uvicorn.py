"""Serving by uvicorn, in this process, until SIGINT or SIGTERM; a second signal ends it at once."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llamastack import settings
from llamastack.cli.address import Address, refusal
from llamastack.cli.signals import Signals, end

APPLICATION = "llamastack.asgi:application"
# A read of the event loop is 256 KiB at most, and may hold the end of one request before the head of the next.
MAX_HEAD_BYTES = 512 * 1024


class Server(uvicorn.Server):
    """Uvicorn that says when it is ready and ends with exit code 0 when it was asked to stop."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """The Stack has stopped when this ends: at most a thread still loads a model, and cannot be told to stop."""
        await super().serve(sockets)
        if self.started:
            end()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with Signals(self._leave).caught():
            yield

    def _leave(self, seconds: int) -> None:
        self.config.timeout_graceful_shutdown = seconds
        self.should_exit = True


class Http(HttpToolsProtocol):
    """Uvicorn's, with the bounds it lacks: it waits for ever for its client, and keeps a head of any length."""

    head_seconds = 30  # for a whole head
    body_seconds = 60  # between two pieces of a body
    reader_seconds = 60  # for a reader that takes nothing while more than 64 KiB wait for it
    head: int | None = None  # the bytes received of a head that has not ended
    owed: asyncio.TimerHandle | None = None
    stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self.expect(self.head_seconds)

    def on_message_begin(self) -> None:
        self.head = 0
        self.expect(self.head_seconds)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.head = None
        self.expect(self.body_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.expect(self.body_seconds)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.expect(None)
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.head is not None and not self.transport.is_closing():
            self.head += len(data)
            if self.head > MAX_HEAD_BYTES:
                self.send_400_response("The request's URL and headers are too long.")

    def expect(self, seconds: int | None) -> None:
        """Close the connection unless the client sends more in time; None expects nothing."""
        if self.owed is not None:
            self.owed.cancel()
        self.owed = None if seconds is None else self.loop.call_later(seconds, self.transport.close)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stalled = self.loop.call_later(self.reader_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.stalled is not None:
            self.stalled.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self.expect(None)
        super().connection_lost(exc)


def serve(address: Address, ready: Callable[[], None]) -> None:
    """Serve on the sockets of `address`. Returns once it was told to stop and has stopped."""
    config = uvicorn.Config(
        APPLICATION,
        loop="uvloop",
        http=Http,
        ws="websockets-sansio",
        ws_max_size=settings.MAX_BODY_BYTES,
        lifespan="on",
        log_config=None,  # Django's LOGGING holds
        access_log=False,
        server_header=False,
        proxy_headers=settings.HTTPS,
    )
    try:
        for bound in address.sockets:
            bound.listen(config.backlog)  # uvloop says nothing where this fails
        Server(config, ready).run(address.sockets)
    except OSError as error:
        raise refusal(error, address.host, address.port) from error
