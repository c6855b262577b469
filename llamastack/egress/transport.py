"""One exchange of bytes with an upstream: the seam under everything that leaves the server."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
from yarl import URL

from llamastack.egress.interim import bounded
from llamastack.egress.names import Names
from llamastack.egress.routes import Network

CONNECT_SECONDS = 5.0
FIRST_BYTE_SECONDS = 60.0
IDLE_SECONDS = 60.0
TOTAL_SECONDS = 600.0
QUOTED = re.compile(r"https?://(?:[A-Za-z0-9:/?#\[\]@!$&'()*+,;=._~-]|%[0-9A-F]{2})+")  # RFC 3986, 2
READ_AHEAD_BYTES = 2**18  # of a body, also when it is unpacked: what nobody reads stops the upstream
CHALLENGES = "www-authenticate"  # a server that takes several kinds of answers may ask for each in a header
STREAM_AHEAD_BYTES = 2**15  # the same of a stream, whose reader is a client that may be slow


@dataclass(frozen=True)
class Timeouts:
    """In seconds.

    `connect` is for the name, the connection and TLS together; `first_byte` from the request until the first byte of a
    stream's body; `idle` between two of them; `total` for all of a call that is no stream, further tries included.
    """

    connect: float = CONNECT_SECONDS
    first_byte: float = FIRST_BYTE_SECONDS
    idle: float = IDLE_SECONDS
    total: float = TOTAL_SECONDS


@dataclass(frozen=True)
class Outgoing:
    """What is sent. Of a `streamed` one the reply may last as long as bytes keep coming.

    `lasting`: the same `headers`, which never change, go with other requests too.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    streamed: bool = False
    lasting: bool = False

    @property
    def ahead(self) -> int:
        """How much of the reply may wait to be read; one more read of the event loop may come on top."""
        return STREAM_AHEAD_BYTES if self.streamed else READ_AHEAD_BYTES


@dataclass(frozen=True)
class Reply:
    """What came back, of any status. Header names are in lower case; `pieces` are the body as it arrives, decoded.

    A `replayed` one comes from a file: it tells nothing of how the upstream is now, nor will another try.
    `signature` is what was sent beside the headers of the Outgoing.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]
    replayed: bool = False
    signature: Mapping[str, str] = field(default_factory=dict, repr=False)

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
    """The network itself, by one aiohttp session.

    It knows one limit, `connect`: who reads the reply knows what may take how long.
    """

    def __init__(self, timeouts: Timeouts, network: Network | None = None) -> None:
        self.timeouts = timeouts
        self.network = network or Network()
        self._names = Names()
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def send(self, outgoing: Outgoing) -> AsyncIterator[Reply]:
        route = self.network.route(outgoing.url)
        # Of a tunnel only the proxy sees its credentials; without one they are among the request's own headers.
        tunnel = URL(outgoing.url).scheme == "https"
        request = self._open().request(
            outgoing.method,
            written(outgoing.url),
            data=outgoing.body,
            headers=outgoing.headers if tunnel else {**outgoing.headers, **route.credentials},
            timeout=aiohttp.ClientTimeout(connect=self.timeouts.connect),
            allow_redirects=False,
            proxy=route.proxy,
            proxy_headers=route.credentials if tunnel else None,
            ssl=route.tls,
            read_bufsize=outgoing.ahead // 2,  # aiohttp stops at twice as much
        )
        async with request as response:
            headers = {name.lower(): text(value) for name, value in response.headers.items()}
            if response.status == 401 and CHALLENGES in headers:
                headers[CHALLENGES] = ", ".join(map(text, response.headers.getall(CHALLENGES)))
            yield Reply(response.status, text(response.reason or ""), headers, response.content.iter_any())

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
        await self._names.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = bounded(self.connector())
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    def connector(self) -> aiohttp.TCPConnector:
        """A new one, which makes and keeps connections as the network says."""
        if not self.network.keepalive:
            return aiohttp.TCPConnector(limit=0, resolver=self._names, force_close=True)
        return aiohttp.TCPConnector(limit=0, resolver=self._names, keepalive_timeout=self.network.keepalive)


def written(url: str) -> URL:
    """An address that needs no quoting as it is: a signature is one of `%3A`, which yarl would send as a colon."""
    return URL(url, encoded=True) if "%" in url and QUOTED.fullmatch(url) else URL(url)


def text(head: str) -> str:
    """A part of a reply's head without what was no UTF-8 in it, which no JSON could repeat."""
    return head if head.isascii() else head.encode(errors="replace").decode()
