"""Serving by uvicorn or daphne, in this process, until SIGINT or SIGTERM; a second signal ends it at once."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llamastack.cli.address import Address, refusal

APPLICATION = "llamastack.asgi:application"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS = 5
# Ctrl-C may arrive twice: from the terminal, and passed on by `make`.
SAME_SIGNAL_SECONDS = 1.0
# A read of the event loop is 256 KiB at most, and may hold the end of one request before the head of the next.
MAX_HEAD_BYTES = 512 * 1024


class Signals:
    """The first signal asks to stop, one that comes later ends the process."""

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self._first: float | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self._first is None:
            self._first = time.monotonic()
            self._stop()
        elif time.monotonic() - self._first > SAME_SIGNAL_SECONDS:
            os._exit(128 + number)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Once one came they stay caught: the second of a pair may come while the interpreter takes itself down."""
        before = {number: signal.signal(number, self.handle) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items() if self._first is None else ():
                signal.signal(number, handler)


def end() -> None:
    """Leave with exit code 0, and not by way of the interpreter, which a second signal would still catch."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


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

    def _leave(self) -> None:
        self.should_exit = True


class Http(HttpToolsProtocol):
    """Uvicorn's, with the bound it lacks: it keeps a request's head whole in memory, however long it is."""

    head: int | None = None  # the bytes received of a head that has not ended

    def on_message_begin(self) -> None:
        self.head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.head = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.head is not None and not self.transport.is_closing():
            self.head += len(data)
            if self.head > MAX_HEAD_BYTES:
                self.send_400_response("The request's URL and headers are too long.")


def by_uvicorn(address: Address, ready: Callable[[], None]) -> None:
    """Serve on the sockets of `address`. Returns once it was told to stop and has stopped."""
    from llamastack import settings

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
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    try:
        for bound in address.sockets:
            bound.listen(config.backlog)  # uvloop says nothing where this fails
        Server(config, ready).run(address.sockets)
    except OSError as error:
        raise refusal(error, address.host, address.port) from error


def by_daphne(address: Address, ready: Callable[[], None]) -> None:
    """Serve on the same addresses. Daphne knows no lifespan: the Stack is started and stopped beside it."""
    from daphne.endpoints import build_endpoint_description_strings
    from daphne.server import Server as Daphne
    from twisted.internet import defer, reactor

    from llamastack import settings, stack
    from llamastack.asgi import application

    places = [bound.getsockname()[:2] for bound in address.sockets]
    address.close()
    endpoints = [place for host, port in places for place in build_endpoint_description_strings(host=host, port=port)]
    limits = dict.fromkeys(("websocket_max_message_size", "websocket_max_frame_size"), settings.MAX_BODY_BYTES)
    daphne = Daphne(application, endpoints, signal_handlers=False, server_name="", **limits)
    failures: list[BaseException] = []

    async def start() -> None:
        try:
            await stack.start()
            ready()
        except Exception as error:  # whatever it is, it ends the server and is raised below
            failures.append(error)
            daphne.stop()

    def started() -> Any:
        return defer.Deferred.fromFuture(asyncio.ensure_future(start()))

    async def stop() -> None:
        # Daphne would end them, but fails on a connection that became a WebSocket (KeyError: 'application_instance').
        kept = [found for found in daphne.connections.values() if "application_instance" in found]
        await _cancelled([found["application_instance"] for found in kept])
        await stack.stop()

    def stopped() -> Any:
        return defer.Deferred.fromFuture(asyncio.ensure_future(stop()))

    untyped: Any = reactor
    untyped.callWhenRunning(started)
    untyped.addSystemEventTrigger("before", "shutdown", stopped)
    with Signals(lambda: untyped.callFromThread(daphne.stop)).caught():
        daphne.run()
    if failures:
        raise failures[0]
    if not daphne.listening_addresses:
        raise refusal(_in_use(), address.host, address.port)
    end()


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=GRACE_SECONDS)


def _in_use() -> OSError:
    import errno

    return OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


SERVERS = {"uvicorn": by_uvicorn, "daphne": by_daphne}
