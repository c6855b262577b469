"""Serving by uvicorn until SIGINT or SIGTERM; a second signal ends it at once."""

import asyncio
import math
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from llamastack import metrics, settings
from llamastack.call import AT_ONCE
from llamastack.cli.address import Address, refusal
from llamastack.cli.signals import LEAVES, Leave, Signals, end

APPLICATION = "llamastack.asgi:application"
# A read of the event loop is 256 KiB at most, and may hold the end of one request before the head of the next.
MAX_HEAD_BYTES = 512 * 1024
# Of an answer: with what egress reads ahead of a stream, 64 KiB are held for a client that takes nothing.
UNREAD_BYTES = 2**15
JOINED_BYTES = 2**14  # of a body that is sent with its head: to copy these costs less than another call of the system
# Longer than clients and balancers keep a connection that is idle (5 to 60 s): then it is they who close it, and no
# request meets a connection that has just been closed here.
KEEP_ALIVE_SECONDS = 75
NEVER = math.inf


class State(ServerState):
    """What uvicorn's connections share; with how the server leaves, once it does."""

    leave: Leave | None = None


class Server(uvicorn.Server):
    """Uvicorn that says when it is ready and ends with exit code 0 when it was asked to stop.

    A worker leaves at SIGHUP too, slowly: another one has taken its place.
    """

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], *, worker: bool = False) -> None:
        super().__init__(config)
        self.server_state: State = State()
        self._ready = ready
        self._worker = worker
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """The Stack has stopped when this ends: at most a thread still loads a model, and cannot be told to stop."""
        await super().serve(sockets)
        if self.started:
            end()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        metrics.workers_ready.set(0)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        hang_up = (lambda: self.leave(signal.SIGHUP)) if self._worker else None
        with Signals(self.leave, hang_up).caught():
            yield

    def leave(self, number: signal.Signals) -> None:
        """Stop soon; sooner, where this was asked before with more patience."""
        leave = LEAVES[number]
        if self.server_state.leave is None:
            self.server_state.leave = leave
            self.config.timeout_graceful_shutdown = leave.seconds
            self.should_exit = True
        elif leave < self.server_state.leave and self._loop:
            self.server_state.leave = leave
            self._loop.call_soon_threadsafe(self._hurry, leave)

    def _hurry(self, leave: Leave) -> None:
        for connection in list(self.server_state.connections):
            connection.shutdown()
        asyncio.get_running_loop().call_later(leave.seconds, self._cut)

    def _cut(self) -> None:
        for task in self.server_state.tasks:
            task.cancel()


class Http(HttpToolsProtocol):
    """Uvicorn's, with the bounds it lacks: it waits for ever for its client, and keeps a head of any length.

    A server that leaves answers what is still asked on its connections, says `Connection: close`, and closes those on
    which nothing comes any more late: uvicorn would cut a request that is on its way.
    """

    server_state: State

    head_seconds = 30  # for a whole head
    body_seconds = 60  # between two pieces of a body
    reader_seconds = 60  # for a reader that takes nothing while more than UNREAD_BYTES wait for it
    head: int | None = None  # the bytes received of a head that has not ended
    due = NEVER  # when it is closed unless more has come
    alarm: asyncio.TimerHandle | None = None
    rings = NEVER
    stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=UNREAD_BYTES)
        self.expect(self.head_seconds)
        if self.server_state.leave:
            self.shutdown()

    def on_message_begin(self) -> None:
        self.head = 0
        self.expect(self.head_seconds)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.head = None
        self.expect(self.body_seconds)
        super().on_headers_complete()
        if self.server_state.leave and self.cycle:
            self.cycle.keep_alive = False

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

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cycle.scope[AT_ONCE] = partial(self.answer, cycle)  # type: ignore[literal-required]
        super()._start_asgi_task(cycle, app)

    async def answer(self, cycle: RequestResponseCycle, lines: bytes, body: bytes) -> None:
        """What uvicorn does for the two messages of a whole answer of status 200, in one call of the system."""
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        dated = b"".join([b"%b: %b\r\n" % header for header in cycle.default_headers])
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        if len(body) <= JOINED_BYTES:
            self.transport.write(b"".join((STATUS_LINE[200], dated, lines, end, body)))
        else:
            self.transport.write(b"".join((STATUS_LINE[200], dated, lines, end)))
            self.transport.write(body)
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def on_response_complete(self) -> None:
        """As uvicorn's, with the one alarm instead of another timer for each request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.head is None:  # or else the next request has begun
            self.expect(self.timeout_keep_alive)

    def expect(self, seconds: float | None) -> None:
        """Close the connection unless the client sends more in time; None expects nothing.

        It is called four times a request: the alarm is not set anew each time, but finds out how it is when it rings.
        """
        self.due = NEVER if seconds is None else self.loop.time() + seconds
        if self.due < self.rings:
            self._ring()

    def _ring(self) -> None:
        if self.alarm is not None:
            self.alarm.cancel()
        self.rings = self.due
        self.alarm = None if self.due == NEVER else self.loop.call_at(self.due, self._rang)

    def _rang(self) -> None:
        if self.due <= self.loop.time():
            self.due = NEVER
            self.transport.close()
        self._ring()

    def shutdown(self) -> None:
        """An answer that has begun can no longer say that it is the last: its connection waits for one more request."""
        seconds = self.server_state.leave.idle_seconds if self.server_state.leave else 0.0
        self.timeout_keep_alive = min(self.timeout_keep_alive, seconds)  # type: ignore[assignment]  # as call_later
        if self.cycle and not self.cycle.response_complete:
            self.cycle.keep_alive &= self.cycle.response_started and seconds > 0
        elif not seconds:
            self.transport.close()
        elif self.head is None:
            self.expect(seconds)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stalled = self.loop.call_later(self.reader_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.stalled is not None:
            self.stalled.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self.expect(None)
        self._ring()
        super().connection_lost(exc)


def config() -> uvicorn.Config:
    return uvicorn.Config(
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
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )


def serve(address: Address, ready: Callable[[], None]) -> None:
    """Serve on the sockets of `address`, in this process. Returns once it was told to stop and has stopped."""
    chosen = config()
    try:
        for bound in address.sockets:
            bound.listen(chosen.backlog)  # uvloop says nothing where this fails
        Server(chosen, ready).run(address.sockets)
    except OSError as error:
        raise refusal(error, address.host, address.port) from error


def work(sockets: list[socket.socket], ready: Callable[[], None]) -> None:
    """Serve as one of several processes, on sockets that listen already."""
    Server(config(), ready, worker=True).run(sockets)
