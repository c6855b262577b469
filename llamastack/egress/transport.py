"""One exchange of bytes with an upstream: the seam under everything that leaves the server."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from llamastack.egress.ways import Network

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 60.0
TOTAL_SECONDS = 600.0


@dataclass(frozen=True)
class Timeouts:
    """In seconds. `idle` bounds the wait for the first byte and between two reads of a stream."""

    connect: float = CONNECT_SECONDS
    idle: float = IDLE_SECONDS
    total: float = TOTAL_SECONDS


@dataclass(frozen=True)
class Outgoing:
    """What is sent. Of a `streamed` one the reply may last as long as bytes keep coming."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    streamed: bool = False


@dataclass(frozen=True)
class Reply:
    """What came back, of any status. Header names are in lower case; `pieces` are the body as it arrives, decoded."""

    status: int
    reason: str
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]

    @property
    def media_type(self) -> str:
        """What the body is said to be, in lower case and without parameters; empty where it is not said."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Transport(Protocol):
    def send(self, outgoing: Outgoing) -> AbstractAsyncContextManager[Reply]:
        """One request. Leaving the block closes the exchange, whatever of it has not been read.

        Raises what aiohttp raises, here and while `pieces` is read; redirects are not followed.
        """
        ...

    async def close(self) -> None: ...


class LiveTransport:
    """The network itself, by one aiohttp session."""

    def __init__(self, timeouts: Timeouts, network: Network | None = None) -> None:
        self.timeouts = timeouts
        self.network = network or Network()
        # A call that waits for room is not yet connecting, so that the connector's own limit will not do.
        self.room = asyncio.Semaphore(self.network.requests) if self.network.requests else nullcontext()
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def send(self, outgoing: Outgoing) -> AsyncIterator[Reply]:
        way = self.network.way(outgoing.url)
        # Of a tunnel only the proxy sees its credentials; without one they are among the request's own headers.
        tunnel = outgoing.url.startswith("https:")
        request = self._open().request(
            outgoing.method,
            outgoing.url,
            data=outgoing.body,
            headers=outgoing.headers if tunnel else {**outgoing.headers, **way.credentials},
            timeout=self._timeout(outgoing),
            allow_redirects=False,
            proxy=way.proxy,
            proxy_headers=way.credentials if tunnel else None,
            ssl=way.tls,
        )
        async with self.room, request as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            yield Reply(response.status, response.reason or "", headers, response.content.iter_any())

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _timeout(self, outgoing: Outgoing) -> aiohttp.ClientTimeout:
        if outgoing.streamed:
            return aiohttp.ClientTimeout(connect=self.timeouts.connect, sock_read=self.timeouts.idle)
        return aiohttp.ClientTimeout(total=self.timeouts.total, connect=self.timeouts.connect)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = self._connector()
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=2**18
            )
        return self._session

    def _connector(self) -> aiohttp.TCPConnector:
        if not self.network.keepalive:
            return aiohttp.TCPConnector(limit=0, force_close=True)
        return aiohttp.TCPConnector(limit=0, keepalive_timeout=self.network.keepalive)
