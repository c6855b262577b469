"""One exchange of bytes with an upstream: the seam under everything that leaves the server."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

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
    """The network, by one aiohttp session. `verify` is a bool, or the path of a CA bundle."""

    def __init__(self, timeouts: Timeouts, verify: bool | str = True) -> None:
        self.timeouts = timeouts
        self.verify = verify
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def send(self, outgoing: Outgoing) -> AsyncIterator[Reply]:
        async with self._open().request(
            outgoing.method,
            outgoing.url,
            data=outgoing.body,
            headers=outgoing.headers,
            timeout=self._timeout(outgoing),
            allow_redirects=False,
        ) as response:
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
            connector = aiohttp.TCPConnector(limit=0, ssl=self._tls())
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=2**18
            )
        return self._session

    def _tls(self) -> ssl.SSLContext | bool:
        if not isinstance(self.verify, str):
            return self.verify
        try:
            return ssl.create_default_context(cafile=self.verify)
        except OSError as error:
            raise ValueError(f"its CA bundle cannot be read: {self.verify} ({error})") from error
