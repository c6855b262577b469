"""Serving by daphne, in this process, until SIGINT or SIGTERM; a second signal ends it at once.

Daphne knows no lifespan, reads a body to its end before the application hears of it, and waits for no call in flight.
"""

import asyncio
import errno
import os
from collections.abc import Callable
from typing import Any

import orjson
from daphne.endpoints import build_endpoint_description_strings
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.server import Server  # before the reactor: it installs the one of asyncio
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import defer, reactor

from llamastack import collector, guards, settings, stack
from llamastack.asgi import application
from llamastack.cli.address import Address, refusal
from llamastack.cli.signals import LEAVES, Signals, end
from llamastack.errors import render

SERVICE_RESTART = 1012  # RFC 6455: what uvicorn closes WebSockets with when it stops
CANCEL_SECONDS = 5


class Request(WebRequest):
    """Daphne's, with a bound on its body, and deaf to the header by which anybody may shift all paths."""

    received = 0
    refused = False

    def gotLength(self, length: int | None) -> None:
        too_large = length is not None and length > settings.MAX_BODY_BYTES
        super().gotLength(0 if too_large else length)
        if too_large:
            self.refuse()

    def handleContentChunk(self, data: bytes) -> None:
        self.received += len(data)
        if self.refused:
            return
        if self.received > settings.MAX_BODY_BYTES:
            self.refuse()
        else:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if not self.refused:
            super().requestReceived(command, path, version)

    def process(self) -> Any:
        self.requestHeaders.removeHeader(b"daphne-root-path")
        return super().process()

    def refuse(self) -> None:
        self.refused = True
        status, body = render(guards.too_large())
        content = orjson.dumps(body)
        head = f"HTTP/1.1 {status} Content Too Large\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self.channel.transport.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        self.channel.loseConnection()


class Factory(HTTPFactory):
    def buildProtocol(self, address: Any) -> Any:
        protocol = super().buildProtocol(address)
        protocol.requestFactory = Request
        return protocol


class Daphne(Server):
    """Daphne with a Stack beside it, which it starts, and stops once the calls in flight have ended."""

    def __init__(self, *args: Any, ready: Callable[[], None], **options: Any) -> None:
        super().__init__(*args, **options)
        self.ready = ready
        self.grace = 0
        self.ports: list[Any] = []
        self.failure: Exception | None = None

    @property
    def http_factory(self) -> Factory:
        return self._factory

    @http_factory.setter
    def http_factory(self, made: HTTPFactory) -> None:
        """Daphne makes one of its own class when it runs."""
        self._factory = Factory(self)

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        self.ports.append(port)

    async def start(self) -> None:
        collector.serve()
        try:
            (await stack.start()).watch.start()
            self.ready()
        except Exception as error:  # whatever it is, it ends the server and is raised by `serve`
            self.failure = error
            self.stop()

    def leave(self, seconds: int) -> None:
        self.grace = seconds
        self.stop()

    def kill_all_applications(self) -> Any:
        """What daphne does when it stops; its own kills at once, and fails on connections that became WebSockets."""
        return deferred(self.finish())

    async def finish(self) -> None:
        """Let calls in flight end, cut those that take too long, and stop the Stack."""
        for port in self.ports:
            port.stopListening()
        for protocol in [found for found in self.connections if isinstance(found, WebSocketProtocol)]:
            protocol.handle_reply({"type": "websocket.close", "code": SERVICE_RESTART})
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.grace
        while (running := self.running()) and (left := deadline - clock()) > 0:
            await asyncio.wait(running, timeout=left)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=CANCEL_SECONDS)
        await stack.stop()

    def running(self) -> set[asyncio.Future[None]]:
        tasks = (details.get("application_instance") for details in self.connections.values())
        return {task for task in tasks if task is not None and not task.done()}


def deferred(work: Any) -> Any:
    return defer.Deferred.fromFuture(asyncio.ensure_future(work))


def serve(address: Address, ready: Callable[[], None]) -> None:
    """Serve on the addresses of `address`. Returns once it was told to stop and has stopped."""
    places = [bound.getsockname()[:2] for bound in address.sockets]
    address.close()
    endpoints = [place for host, port in places for place in build_endpoint_description_strings(host=host, port=port)]
    limits = dict.fromkeys(("websocket_max_message_size", "websocket_max_frame_size"), settings.MAX_BODY_BYTES)
    daphne = Daphne(application, endpoints, signal_handlers=False, server_name="", ready=ready, **limits)
    twisted: Any = reactor
    twisted.callWhenRunning(lambda: deferred(daphne.start()))
    with Signals(lambda number: twisted.callFromThread(daphne.leave, LEAVES[number].seconds)).caught():
        daphne.run()
    if daphne.failure:
        raise daphne.failure
    if not daphne.listening_addresses:
        raise refusal(OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)), address.host, address.port)
    end()
