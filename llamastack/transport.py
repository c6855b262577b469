"""httpx's transports straight into our own ASGI application: an answer streams, and closing it ends the generation.

httpx's own ASGITransport collects whole bodies before it returns.
"""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from llamastack.embedded import PROCESS, Closed, Embedded
from llamastack.exchange import Head, Piece

# --- without a loop ---


class Transport(httpx.BaseTransport):
    """A share of the process's Stack, from its making until it is closed."""

    def __init__(self, config: str | Path) -> None:
        self._embedded: Embedded | None = PROCESS.share(config)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        answer = Answer(_open(self._embedded), request)
        return _response(answer.head(), answer)

    def close(self) -> None:
        embedded, self._embedded = self._embedded, None
        if embedded is not None:
            PROCESS.leave(embedded)


class Lent(httpx.BaseTransport):
    """Another client's transport, which is that client's to close."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._transport.handle_request(request)


class Answer(httpx.SyncByteStream):
    def __init__(self, embedded: Embedded, request: httpx.Request) -> None:
        self._timeout = _timeout(request)
        self._inbox: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        self._exchange = embedded.begin(_scope(request, embedded.host), request.content, self._inbox)

    def head(self) -> Head:
        try:
            self._head = _head(self._taken())
        except BaseException:
            self.close()
            raise
        return self._head

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield self._head.body
            while not self._head.whole and (piece := _part(self._taken())) is not None:
                yield piece
        finally:
            self.close()

    def _taken(self) -> Piece:
        try:
            piece = self._inbox.get(timeout=self._timeout)
        except queue.Empty:
            raise _too_slow(self._timeout) from None
        self._exchange.taken()
        return piece

    def close(self) -> None:
        self._exchange.cancel()


# --- on a loop ---


class AsyncTransport(httpx.AsyncBaseTransport):
    """A share of the process's Stack, from `start` until it is closed."""

    def __init__(self, config: str | Path) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._closed = False
        self._embedded: Embedded | None = None

    async def start(self) -> None:
        if self._embedded is None:
            await asyncio.to_thread(self._share)

    def _share(self) -> None:
        with self._lock:
            if self._embedded is None and not self._closed:
                self._embedded = PROCESS.share(self._config)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self.start()
        await request.aread()
        answer = AsyncAnswer(_open(self._embedded), request)
        return _response(await answer.head(), answer)

    async def aclose(self) -> None:
        await asyncio.to_thread(self._leave)

    def _leave(self) -> None:
        with self._lock:
            self._closed = True
            embedded, self._embedded = self._embedded, None
            if embedded is not None:
                PROCESS.leave(embedded)


class AsyncLent(httpx.AsyncBaseTransport):
    """Another client's transport, which is that client's to close."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._transport.handle_async_request(request)


class AsyncInbox:
    """Filled on the Stack's loop, emptied on the caller's."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[Piece] = deque()
        self._filled = asyncio.Event()

    def put(self, piece: Piece) -> None:
        self._pieces.append(piece)
        with suppress(RuntimeError):  # the caller's loop has been closed, and nobody reads any more
            self._loop.call_soon_threadsafe(self._filled.set)

    def qsize(self) -> int:
        return len(self._pieces)

    async def get(self) -> Piece:
        while not self._pieces:
            self._filled.clear()
            await self._filled.wait()
        return self._pieces.popleft()


class AsyncAnswer(httpx.AsyncByteStream):
    def __init__(self, embedded: Embedded, request: httpx.Request) -> None:
        self._timeout = _timeout(request)
        self._inbox = AsyncInbox()
        self._exchange = embedded.begin(_scope(request, embedded.host), request.content, self._inbox)

    async def head(self) -> Head:
        try:
            self._head = _head(await self._taken())
        except BaseException:
            await self.aclose()
            raise
        return self._head

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            yield self._head.body
            while not self._head.whole and (piece := _part(await self._taken())) is not None:
                yield piece
        finally:
            await self.aclose()

    async def _taken(self) -> Piece:
        try:
            async with asyncio.timeout(self._timeout):
                piece = await self._inbox.get()
        except TimeoutError:
            raise _too_slow(self._timeout) from None
        self._exchange.taken()
        return piece

    async def aclose(self) -> None:
        self._exchange.cancel()


# --- between httpx and ASGI ---


def _open(embedded: Embedded | None) -> Embedded:
    if embedded is None:
        raise Closed("This library client has been closed; make a new one.")
    return embedded


def _scope(request: httpx.Request, host: bytes) -> dict[str, Any]:
    """The host is one that the guards let pass: there is no address that a client could mistake."""
    headers = [(name.lower(), value) for name, value in request.headers.raw if name.lower() != b"host"]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(b"host", host), *headers],
        "server": (host.decode(), 80),
        "client": ("127.0.0.1", 0),
    }


def _timeout(request: httpx.Request) -> float | None:
    """Seconds from piece to piece, as the official clients set them."""
    seconds: float | None = request.extensions.get("timeout", {}).get("read")
    return seconds


def _too_slow(timeout: float | None) -> httpx.ReadTimeout:
    return httpx.ReadTimeout(f"Nothing came for {timeout:g} s.")


def _head(piece: Piece) -> Head:
    if isinstance(piece, Head):
        return piece
    raise _broken(piece)


def _part(piece: Piece) -> bytes | None:
    if piece is None or isinstance(piece, bytes):
        return piece
    raise _broken(piece)


def _broken(piece: Piece) -> httpx.RemoteProtocolError:
    return httpx.RemoteProtocolError(str(piece))


def _response(head: Head, stream: Answer | AsyncAnswer) -> httpx.Response:
    return httpx.Response(head.status, headers=head.headers, stream=stream)
