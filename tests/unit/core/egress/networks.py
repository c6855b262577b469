"""Proxies, TLS servers and certificates on the loopback, for tests of a provider's `network` section."""

import asyncio
import base64
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yarl import URL

from llamastack.egress import Egress
from llamastack.egress.network import NetworkConfig, opened, sent
from tests.unit.core.egress import speaking
from tests.unit.core.egress.speaking import asking

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
NOBODY = "http://127.0.0.1:9"


@dataclass
class Authority:
    """A CA of this test, and what it signs, as files."""

    folder: Path
    name: str = "ca"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        self.subject = named
        made = self._builder(named, self.key).add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        self.ca = self._written("ca.pem", made)

    def signed(self, name: str) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1 and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = self._written(f"{name}.pem", self._builder(subject, key).add_extension(here, False))
        return certificate, self.kept(f"{name}.key", key)

    def kept(self, name: str, key: ec.EllipticCurvePrivateKey, password: bytes = b"") -> Path:
        how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        path = self.folder / f"{self.name}-{name}"
        path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, how))
        return path

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )

    def _written(self, name: str, builder: x509.CertificateBuilder) -> Path:
        path = self.folder / f"{self.name}-{name}"
        path.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path


@dataclass
class Server:
    """A server of this test. `heads` are the heads of the requests that reached it."""

    url: str = ""
    heads: list[str] = field(default_factory=list)


@asynccontextmanager
async def listening(
    handle: Callable[[Server, Streams], Any], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    server = Server()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handle(server, (reader, writer))

    async with speaking.listening(handler, tls) as server.url:
        yield server


@contextmanager
def alerting(tls: ssl.SSLContext) -> Iterator[str]:
    """The address of a server that says by TLS itself, as servers do but asyncio's, why it takes no handshake."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                refuse(tls.wrap_socket(listener.accept()[0], server_side=True, do_handshake_on_connect=False))

    def refuse(connection: ssl.SSLSocket) -> None:
        with connection, suppress(ConnectionError):
            with suppress(ssl.SSLError):
                connection.do_handshake()
            connection.shutdown(socket.SHUT_WR)
            while socket.socket.recv(connection, 65536):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


async def head_of(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\r\n\r\n")).decode()


def answer(status: str, body: bytes = b'{"ok": true}', *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def kind(server: Server, streams: Streams) -> None:
    """Answers every request with an object."""
    reader, writer = streams
    while True:
        server.heads.append(await head_of(reader))
        writer.write(answer("200 OK"))
        await writer.drain()


async def silent(server: Server, streams: Streams) -> None:
    server.heads.append(await head_of(streams[0]))
    await streams[0].read()


def proxying(password: str = "") -> Callable[[Server, Streams], Any]:
    """A proxy: CONNECT, and requests whose target is a whole URL. With a password, for `maya` alone."""
    expected = "Proxy-Authorization: Basic " + base64.b64encode(f"maya:{password}".encode()).decode()

    async def handle(server: Server, streams: Streams) -> None:
        reader, writer = streams
        head = await head_of(reader)
        server.heads.append(head)
        if password and expected not in head:
            writer.write(answer("407 Proxy Authentication Required", b"", "Proxy-Authenticate: Basic"))
            await writer.drain()
            return
        method, target, _ = head.split(" ", 2)
        to = URL(f"http://{target}" if method == "CONNECT" else target)
        there = await asyncio.open_connection(to.host, to.port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            there[1].write(head.replace(target, to.path_qs, 1).encode())
        await asyncio.gather(piped(reader, there[1]), piped(there[0], writer))

    return handle


async def piped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def tls_of(authority: Authority, clients: Authority | None = None) -> ssl.SSLContext:
    """A server's TLS; with `clients`, those must show a certificate of that CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.signed("server"))
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.ca)
    return context


@asynccontextmanager
async def reaching(url: str, key: str = "", **section: Any) -> AsyncIterator[Egress]:
    """An egress as a provider with that `network` section makes it."""
    config = NetworkConfig.model_validate(section)
    network = await opened(config)
    own = {"Authorization": f"Bearer {key}"} if key else {}
    egress = asking(url, sent(network, own), config.timeouts(), network)
    try:
        yield egress
    finally:
        await egress.close()
