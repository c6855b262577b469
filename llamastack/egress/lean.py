"""HTTP/1.1 to upstreams, at a third of what aiohttp's own client takes a request."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import SERVER_SOFTWARE

from llamastack.egress.connection import Connected
from llamastack.egress.incoming import Incoming, Unreadable
from llamastack.egress.kept import Kept
from llamastack.egress.routes import Network
from llamastack.egress.transport import CHALLENGES, LiveTransport, Outgoing, Reply, Timeouts, text, written
from llamastack.egress.unpacking import PACKED, Unpacking

BODIED = frozenset({"POST", "PUT", "PATCH"})
METHODS = BODIED | {"GET", "DELETE"}
AGAIN = frozenset({"GET", "PUT", "DELETE"})  # harmless twice, so also where a kept connection was closed meanwhile
MOST_PLACES = 256
# What changes how a request is written: whoever sends it is served by aiohttp.
UNUSUAL = frozenset({"connection", "content-encoding", "expect", "te", "trailer", "transfer-encoding", "upgrade"})
UNASKED = ("br", "zstd", "compress")  # ways to pack; what else servers call an encoding, such as utf-8, is none
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
USUAL = {"accept": "Accept: */*", "accept-encoding": "Accept-Encoding: gzip, deflate"}
USUAL["user-agent"] = f"User-Agent: {SERVER_SOFTWARE}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where requests to one address go: `request` is for the connector, `origin` for the connections that are kept, the
    others are for the request's head.
    """

    request: aiohttp.ClientRequest
    origin: str
    target: str
    host: str


class LeanTransport:
    """The network, without proxies: what goes by one, and whatever else is unusual, is left to aiohttp's client.

    Connections are made by aiohttp's connector: names, TLS and its failures are its own.
    """

    def __init__(self, timeouts: Timeouts, network: Network | None = None) -> None:
        self.full = LiveTransport(timeouts, network)
        self.network = self.full.network
        self.timeout = aiohttp.ClientTimeout(connect=timeouts.connect)
        self._connector: aiohttp.TCPConnector | None = None
        self._kept = Kept(self.network.keepalive)
        self._places: dict[str, Place | None] = {}
        self._heads: dict[tuple[str, str], tuple[Mapping[str, str], Head]] = {}

    def send(self, outgoing: Outgoing) -> AbstractAsyncContextManager[Reply]:
        place = self._place(outgoing.url)
        head = None if place is None else self._head(outgoing, place)
        if place is None or head is None:
            return self.full.send(outgoing)
        return Exchange(self, place, head, outgoing)

    async def connection(self, place: Place) -> Connection:
        """One that is idle, or a new one: whoever has it gives it back by `keep`, or closes it."""
        if (connection := self._kept.take(place.origin)) is not None:
            return connection
        if self._connector is None:
            self._connector = self.full.connector()
            kind: type[ResponseHandler] = Connected
            self._connector._factory = partial(kind, asyncio.get_running_loop())
        try:
            return await self._connector.connect(place.request, [], self.timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {place.host}") from error

    def keep(self, place: Place, connection: Connection) -> None:
        """For another exchange."""
        self._kept.keep(place.origin, connection)

    async def close(self) -> None:
        self._kept.close()
        if self._connector is not None:
            await self._connector.close()
            self._connector = None
        await self.full.close()

    def _head(self, outgoing: Outgoing, place: Place) -> bytes | None:
        """Of requests that go with the very same headers it is made once."""
        body = outgoing.body or b""
        kept = self._heads.get((outgoing.method, outgoing.url)) if outgoing.lasting else None
        if kept is not None and kept[0] is outgoing.headers:
            return kept[1].of(body)
        head = written_head(outgoing, place, bool(self.network.keepalive))
        if head is not None and head.sized and outgoing.lasting:
            if len(self._heads) >= MOST_PLACES:
                self._heads.clear()
            self._heads[outgoing.method, outgoing.url] = outgoing.headers, head
        return None if head is None else head.of(body)

    def _place(self, url: str) -> Place | None:
        """None where it is not for this transport, be it an address at all or not."""
        try:
            return self._places[url]
        except KeyError:
            if len(self._places) >= MOST_PLACES:
                self._places.clear()
            self._places[url] = place = self._found(url)
            return place

    def _found(self, url: str) -> Place | None:
        try:
            route, to = self.network.route(url), written(url)
        except ValueError:
            return None
        if route.proxy or to.scheme not in ("http", "https") or not to.raw_host or to.raw_user or to.raw_password:
            return None
        request = aiohttp.ClientRequest("GET", to.origin(), ssl=route.tls)
        return Place(request, str(to.origin()), to.raw_path_qs, to.host_port_subcomponent or "")


class Exchange:
    """One request and its reply, whose pieces it also is."""

    def __init__(self, transport: LeanTransport, place: Place, head: bytes, outgoing: Outgoing) -> None:
        self.transport = transport
        self.place = place
        self.head = head
        self.outgoing = outgoing
        self.connection: Connection | None = None
        self.unpacking: Unpacking | None = None
        self.used = False  # by another one before, as a kept connection is

    async def __aenter__(self) -> Reply:
        try:
            return await self._reply()
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if self.outgoing.method not in AGAIN or not self.used:
                raise
        return await self._reply()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while self.connection is not None:
            if piece := self._piece():
                return piece
            if self.incoming.whole:
                self._ended()
                raise StopAsyncIteration
            await self.connected.arrived()
        raise aiohttp.ClientConnectionError("Connection closed")

    async def _reply(self) -> Reply:
        self.connection = await self.transport.connection(self.place)
        assert isinstance(self.connection.protocol, Connected)
        self.connected = self.connection.protocol
        try:
            incoming = self.incoming = self.connected.ask(self.head, self.outgoing.body or b"", self.outgoing.ahead)
            while not incoming.begun:
                await self.connected.arrived()
            return self._told(incoming)
        except Unreadable as error:
            self._leave()
            raise self._no_http(error) from error
        except BaseException:
            self._leave()
            raise

    def _told(self, incoming: Incoming) -> Reply:
        headers = {
            name.decode(): (value.decode() if value.isascii() else _text(value)).strip(" \t")
            for name, value in incoming.headers
        }
        if incoming.status == 401 and CHALLENGES in headers:
            given = [_text(value).strip(" \t") for name, value in incoming.headers if name.decode() == CHALLENGES]
            headers[CHALLENGES] = ", ".join(given)
        encoding = headers.get("content-encoding", "").lower()
        if encoding in PACKED:
            self.unpacking = Unpacking(encoding)
        elif encoding in UNASKED:
            raise Unreadable("an encoding that was not asked for")
        return Reply(incoming.status, _text(incoming.reason), headers, self)

    def _piece(self) -> bytes:
        """What has come and was not read; a part of it, where it is packed."""
        incoming, unpacking = self.incoming, self.unpacking
        if unpacking is None:
            return incoming.take() if incoming.size else b""
        try:
            while incoming.size or unpacking.more:
                if piece := unpacking.take(incoming.take() if incoming.size else b"", self.outgoing.ahead):
                    return piece
        except Unreadable as error:
            raise aiohttp.ClientPayloadError(f"Response payload is not completed: {error}") from error
        return b""

    def _ended(self) -> None:
        if self.unpacking is not None and self.unpacking.cut:
            raise aiohttp.ClientPayloadError("Response payload is not completed: it ends while packed")

    def _leave(self) -> None:
        if self.connection is None:
            return
        self.used = self.connected.exchanges > 1
        if self.connected.ended():
            self.transport.keep(self.place, self.connection)
        else:
            self.connection.close()
        self.connection = None

    def _no_http(self, error: Unreadable) -> aiohttp.ClientResponseError:
        return aiohttp.ClientResponseError(self.place.request.request_info, (), status=400, message=str(error))


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request: all of it, or all but the length of its body, by which it is `sized`."""

    lines: bytes
    sized: bool

    def of(self, body: bytes) -> bytes:
        return b"%bContent-Length: %d\r\n\r\n" % (self.lines, len(body)) if self.sized else self.lines + b"\r\n"


def written_head(outgoing: Outgoing, place: Place, kept: bool) -> Head | None:
    """The head of a request, as aiohttp writes it; None where that one is to do so. Raises ValueError."""
    method, body = outgoing.method, outgoing.body
    given = {name.lower(): value for name, value in outgoing.headers.items()}
    length = str(len(body or b""))
    if method not in METHODS or not UNUSUAL.isdisjoint(given) or given.get("content-length", length) != length:
        return None
    lines = [f"{method} {place.target} HTTP/1.1"]
    if "host" not in given:
        lines.append(f"Host: {place.host}")
    lines += [f"{name}: {value}" for name, value in outgoing.headers.items()]
    lines += [line for name, line in USUAL.items() if name not in given]
    if (body is not None or method in BODIED) and "content-type" not in given:
        lines.append("Content-Type: application/octet-stream")
    if not kept:
        lines.append("Connection: close")
    if CONTROL.search("".join(lines)):
        raise ValueError("A header holds a line break or another control character, by which another could be sent.")
    sized = (body is not None or method != "GET") and "content-length" not in given
    return Head("\r\n".join([*lines, ""]).encode(), sized)


def _text(head: bytes) -> str:
    return head.decode() if head.isascii() else text(head.decode(errors="surrogateescape"))
