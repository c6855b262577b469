"""An internet in which a canary sits at every address but those of one public server.

Names and sockets are what a Fetcher is given instead of the system's. The canary listens on the loopback, and whatever
is connected to reaches it there: so it counts each connection to where none may lead, also to addresses nobody has.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.unit.core.egress.vectors import NAMES
from tests.upstream import close

PUBLIC = "93.184.216.34"
PUBLIC_6 = "2606:2800:220:1::1"
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass
class Internet:
    """`names` has the answers that a name gets, one after the other; the last of them stays."""

    names: dict[str, list[list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    connected: list[str] = field(default_factory=list)
    hits: int = 0  # of the canary
    requests: list[bytes] = field(default_factory=list)  # to the public server
    left: asyncio.Event = field(default_factory=asyncio.Event)  # a client of the public server went before its answer
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # of the public server: types and bytes by path
    hanging: int = 0  # requests that it does not answer
    ports: dict[tuple[str, int], int] = field(default_factory=dict)

    async def lookup(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        answers = self.names.get(host, [[]])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def open_socket(self, info: Any) -> socket.socket:
        return Line(self, info[0], info[1], info[2])

    def place(self, address: str, family: int) -> tuple[str, int]:
        """Where on the loopback an address is served, by the public server or by the canary."""
        self.connected.append(address)
        who = "public" if address in (PUBLIC, PUBLIC_6) else "canary"
        return ("::1" if family == socket.AF_INET6 else "127.0.0.1", self.ports[who, family])

    async def canary(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hits += 1
        writer.write(answer("200 OK", PNG, "Content-Type: image/png"))
        writer.close()

    async def public(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers as the URL's query tells it to: `status`, `to` (Location), `header`, `body`; or `hang`."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            url = urlsplit(head.split()[1].decode())
            said = parse_qs(url.query)
            if "hang" in said:
                await self._hang(reader)
            media, content = self.files.get(url.path, ("image/png", PNG))
            headers = said.get("header", [f"Content-Type: {media}"]) + [f"Location: {to}" for to in said.get("to", ())]
            body = b"x" * int(said["size"][0]) if "size" in said else content
            writer.write(answer(said.get("status", ["200"])[0] + " Told", body, *headers))
            await writer.drain()
        writer.close()

    async def _hang(self, reader: asyncio.StreamReader) -> None:
        self.hanging += 1
        await reader.read()
        self.hanging -= 1
        self.left.set()


class Line(socket.socket):
    """A socket that connects to where an address is served."""

    def __init__(self, internet: Internet, family: int, kind: int, protocol: int) -> None:
        super().__init__(family, kind, protocol)
        self._internet = internet

    def connect(self, address: Any) -> None:
        super().connect(self._internet.place(address[0], self.family))


def answer(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def internet() -> AsyncIterator[Internet]:
    net = Internet(names={name.lower(): [found] for name, found in NAMES.items()})
    net.names["public.example"] = [[PUBLIC]]
    net.names["other.example"] = [[PUBLIC]]
    servers = []
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for who, serve in (("canary", net.canary), ("public", net.public)):
            server = await asyncio.start_server(serve, host, 0, family=family)
            net.ports[who, family] = server.sockets[0].getsockname()[1]
            servers.append(server)
    try:
        yield net
    finally:
        for server in servers:
            await close(server)
