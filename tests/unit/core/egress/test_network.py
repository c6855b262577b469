"""A provider's `network` section: what it takes, and what it does to real proxies and TLS servers on the loopback."""

import asyncio
import base64
import datetime
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError
from yarl import URL

from apps.inference.providers.remote.openai import OpenAI, OpenAIConfig
from apps.inference.providers.remote.vllm import VLLM, VLLMConfig
from llamastack.apis import Api
from llamastack.egress import Egress
from llamastack.egress.network import NetworkConfig, RemoteConfig, TLSConfig, opened, sent
from llamastack.egress.routes import covers
from llamastack.egress.transport import Outgoing
from llamastack.errors import StackError, UpstreamError, UpstreamTimeout
from llamastack.providers import ProviderUnavailable, load, specs
from tests.unit.core.egress import speaking
from tests.unit.core.egress.speaking import asking

pytestmark = pytest.mark.usefixtures("each_transport")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
NOBODY = "http://127.0.0.1:9"


# --- certificates ---


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


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "stranger")


# --- servers ---


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


# --- proxies ---


async def test_a_request_over_http_is_given_to_the_proxy_whole() -> None:
    async with listening(kind) as server, listening(proxying()) as proxy:
        async with reaching(server.url, proxy={"url": proxy.url}) as egress:
            assert await egress.get("models") == {"ok": True}
    assert proxy.heads[0].startswith(f"GET {server.url}/models HTTP/1.1")
    assert len(server.heads) == 1


async def test_over_https_the_proxy_is_a_tunnel_and_sees_no_key(authority: Authority) -> None:
    async with listening(kind, tls_of(authority)) as server, listening(proxying()) as proxy:
        section = {"proxy": {"https": proxy.url}, "tls": {"verify": str(authority.ca)}, "headers": {"X-Team": "blue"}}
        async with reaching(server.url, "sk-1", **section) as egress:
            assert await egress.post("chat", {}) == {"ok": True}
    [connect] = proxy.heads
    assert connect.startswith("CONNECT 127.0.0.1:")
    assert not [secret for secret in ("sk-1", "Authorization", "blue") if secret in connect]
    assert "Authorization: Bearer sk-1" in server.heads[0]


async def test_each_scheme_has_its_own_proxy() -> None:
    async with listening(kind) as server, listening(proxying()) as proxy:
        async with reaching(server.url, proxy={"https": NOBODY, "http": proxy.url}) as egress:
            await egress.get("models")
        async with reaching(server.url, proxy={"https": NOBODY}) as egress:
            await egress.get("models")
    assert (len(proxy.heads), len(server.heads)) == (1, 2)


@pytest.mark.parametrize("password", ["s3cret", "p@ss:wörd/%"])
@pytest.mark.parametrize("secure", [False, True])
async def test_a_proxy_gets_its_password_and_the_server_does_not(
    authority: Authority, password: str, secure: bool
) -> None:
    tls = tls_of(authority) if secure else None
    async with listening(kind, tls) as server, listening(proxying(password)) as proxy:
        url = str(URL(proxy.url).with_user("maya").with_password(password))
        async with reaching(server.url, proxy={"url": url}, tls={"verify": str(authority.ca)}) as egress:
            assert await egress.get("models") == {"ok": True}
            assert await egress.get("models") == {"ok": True}
    if secure:
        assert not [head for head in server.heads if "Proxy-Authorization" in head]


@pytest.mark.parametrize("secure", [False, True])
async def test_a_proxy_that_refuses_us_is_a_bad_gateway_that_says_what_to_set(
    authority: Authority, secure: bool
) -> None:
    tls = tls_of(authority) if secure else None
    async with listening(kind, tls) as server, listening(proxying("right")) as proxy:
        url = proxy.url.replace("://", "://maya:wr0ng@")
        async with reaching(server.url, proxy={"url": url}) as egress:
            with pytest.raises(UpstreamError, match=r"407.*network\.proxy\.url") as refused:
                await egress.get("models")
    assert (refused.value.status, "wr0ng" in refused.value.message, server.heads) == (502, False, [])


async def test_a_proxy_that_is_gone_is_named() -> None:
    async with reaching("http://api.example/v1", proxy={"url": "http://maya:s3cret@127.0.0.1:9"}) as egress:
        with pytest.raises(UpstreamError, match=r"proxy of Provider 'x', 127\.0\.0\.1:9, cannot be reached") as told:
            await egress.get("models")
    assert "s3cret" not in told.value.message


async def test_a_name_is_looked_up_by_the_proxy_and_not_here() -> None:
    async with listening(proxying("right")) as proxy:
        async with reaching("http://no-such-host.invalid/v1", proxy={"url": proxy.url}) as egress:
            with pytest.raises(UpstreamError, match="407"):
                await egress.get("models")


async def test_a_proxy_by_https_is_spoken_to_by_tls(authority: Authority) -> None:
    """With TLS to the server inside that to the proxy."""
    async with listening(kind, tls_of(authority)) as server, listening(proxying("pw"), tls_of(authority)) as proxy:
        url = proxy.url.replace("://", "://maya:pw@")
        async with reaching(server.url, proxy={"url": url, "cacert": str(authority.ca)}) as egress:
            assert await egress.get("models") == {"ok": True}


async def test_a_proxy_that_reads_along_is_trusted_by_its_ca_behind_it_alone(
    authority: Authority, stranger: Authority
) -> None:
    async with listening(kind, tls_of(stranger)) as server, listening(proxying()) as proxy:
        section = {"proxy": {"url": proxy.url, "cacert": str(stranger.ca)}, "tls": {"verify": str(authority.ca)}}
        async with reaching(server.url, **section) as egress:
            assert await egress.get("models") == {"ok": True}
        section["proxy"] |= {"no_proxy": ["127.0.0.1"]}  # type: ignore[operator]
        async with reaching(server.url, **section) as egress:
            with pytest.raises(UpstreamError, match="verification"):
                await egress.get("models")


async def test_hosts_of_no_proxy_are_reached_without_it() -> None:
    async with listening(kind) as server:
        async with reaching(server.url, proxy={"url": NOBODY, "no_proxy": "localhost, 127.0.0.0/8"}) as egress:
            assert await egress.get("models") == {"ok": True}


@pytest.mark.parametrize(
    ("entry", "url", "meant"),
    [
        ("*", "https://api.example", True),
        ("api.example", "https://api.example", True),
        ("API.example.", "https://api.EXAMPLE/v1", True),
        ("example", "https://api.example", True),
        (".example", "https://api.example", True),
        ("*.example", "https://api.example", True),
        ("ample", "https://api.example", False),
        ("api.example", "https://example", False),
        ("api.example:443", "https://api.example", True),
        ("api.example:8443", "https://api.example", False),
        ("10.0.0.0/8", "http://10.1.2.3:8000", True),
        ("10.0.0.0/8", "http://11.1.2.3:8000", False),
        ("10.1.2.3", "http://10.1.2.3", True),
        ("10.1.2.3:8000", "http://10.1.2.3:8000", True),
        ("10.1.2.3:8001", "http://10.1.2.3:8000", False),
        ("::1", "http://[::1]:8000", True),
        ("[::1]:8000", "http://[::1]:8000", True),
        ("fd00::/8", "http://10.1.2.3", False),
        ("10.0.0.0/8", "http://10.example", False),
        ("", "http://api.example", False),
        (".", "http://api.example", False),
    ],
)
def test_what_an_entry_of_no_proxy_means(entry: str, url: str, meant: bool) -> None:
    assert covers(entry, URL(url)) is meant


async def test_the_environments_proxies_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, NOBODY)
    async with listening(kind) as server, reaching(server.url) as egress:
        assert await egress.get("models") == {"ok": True}


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "http://metadata.google.internal/token"])
async def test_what_is_of_this_machines_own_link_goes_through_no_proxy(url: str) -> None:
    network = await opened(NetworkConfig.model_validate({"proxy": {"url": NOBODY}}))
    assert network.route(url).proxy is None


async def test_a_scheme_in_capitals_keeps_the_proxys_password_from_the_server(authority: Authority) -> None:
    async with listening(kind, tls_of(authority)) as server, listening(proxying("s3cret")) as proxy:
        section = {"proxy": {"url": proxy.url.replace("://", "://maya:s3cret@")}, "tls": {"verify": False}}
        async with reaching(server.url.replace("https", "HTTPS"), **section) as egress:
            assert await egress.get("models") == {"ok": True}
    assert "Proxy-Authorization" not in server.heads[0]


# --- TLS ---


async def test_a_private_ca_is_trusted_where_it_is_set(authority: Authority) -> None:
    async with listening(kind, tls_of(authority)) as server:
        async with reaching(server.url, tls={"verify": str(authority.ca), "min_version": "TLSv1.3"}) as egress:
            assert await egress.get("models") == {"ok": True}


@pytest.mark.parametrize("own", [True, False])
async def test_another_ca_is_a_bad_gateway_that_says_what_to_set(
    authority: Authority, stranger: Authority, own: bool
) -> None:
    async with listening(kind, tls_of(authority)) as server:
        async with reaching(server.url, "sk-1", tls={"verify": str(stranger.ca) if own else True}) as egress:
            with pytest.raises(UpstreamError) as told:
                await egress.get("models")
    assert told.value.status == 502
    assert "Certificate verification of Provider 'x'" in told.value.message
    assert "network.tls.verify" in told.value.message
    assert server.heads == []


async def test_verification_can_be_turned_off(authority: Authority) -> None:
    async with listening(kind, tls_of(authority)) as server:
        async with reaching(server.url, tls={"verify": False}) as egress:
            assert await egress.get("models") == {"ok": True}


async def test_over_tls_too_a_connection_is_kept_and_who_leaves_closes_it(authority: Authority) -> None:
    heads: list[str] = []
    gone = asyncio.Event()

    async def counted(server: Server, streams: Streams) -> None:
        """One object, then a stream without end."""
        reader, writer = streams
        try:
            heads.append(await head_of(reader))
            writer.write(answer("200 OK"))
            heads.append(await head_of(reader))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not writer.is_closing():
                writer.write(b"a\r\ndata: {}\n\n\r\n")
                await writer.drain()
        finally:
            gone.set()

    async with listening(counted, tls_of(authority)) as server:
        async with reaching(server.url, tls={"verify": str(authority.ca)}) as egress:
            assert await egress.get("models") == {"ok": True}
            async with aclosing(egress.stream("chat", None)) as events:
                assert await anext(events) == {}
                assert len(heads) == 2
            async with asyncio.timeout(1):
                await gone.wait()


async def test_a_server_is_told_by_which_name_it_is_asked_and_must_have_it(authority: Authority) -> None:
    named: list[str | None] = []
    tls = tls_of(authority)
    tls.sni_callback = lambda connection, name, context: named.append(name)
    async with listening(kind, tls) as server:
        by_name = server.url.replace("127.0.0.1", "localhost")  # which the certificate is not for
        async with reaching(by_name, tls={"verify": str(authority.ca)}) as egress:
            with pytest.raises(UpstreamError, match="Hostname mismatch"):
                await egress.get("models")
    assert named[0] == "localhost"


async def test_a_client_certificate_is_shown_to_a_server_that_asks(authority: Authority, stranger: Authority) -> None:
    certificate, key = stranger.signed("client")
    shown = {"verify": str(authority.ca), "client_cert": str(certificate), "client_key": str(key)}
    async with listening(kind, tls_of(authority, stranger)) as server, listening(proxying()) as proxy:
        async with reaching(server.url, tls=shown) as egress:
            assert await egress.get("models") == {"ok": True}
        async with reaching(server.url, tls=shown, proxy={"url": proxy.url}) as egress:
            assert await egress.get("models") == {"ok": True}


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
async def test_without_a_client_certificate_such_a_server_is_a_bad_gateway_that_says_so(
    authority: Authority, stranger: Authority, version: str
) -> None:
    asking = tls_of(authority, stranger)
    asking.maximum_version = ssl.TLSVersion[version.replace(".", "_")]
    with alerting(asking) as url:
        async with reaching(url, tls={"verify": str(authority.ca)}) as egress:
            with pytest.raises(UpstreamError, match=r"network\.tls\.client_cert"):
                await egress.get("models")


async def test_a_server_older_than_min_version_is_refused(authority: Authority) -> None:
    old = tls_of(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with alerting(old) as url:
        async with reaching(url, tls={"verify": str(authority.ca), "min_version": "TLSv1.3"}) as egress:
            with pytest.raises(UpstreamError, match="TLS with Provider 'x'"):
                await egress.get("models")


async def test_ciphers_are_those_allowed(authority: Authority) -> None:
    only = tls_of(authority)
    only.maximum_version = ssl.TLSVersion.TLSv1_2
    only.set_ciphers("ECDHE+AESGCM")
    async with listening(kind, only) as server:
        allowed = {"verify": str(authority.ca), "ciphers": ["ECDHE+AESGCM"]}
        async with reaching(server.url, tls=allowed) as egress:
            assert await egress.get("models") == {"ok": True}
    with alerting(only) as url:
        async with reaching(url, tls=allowed | {"ciphers": ["ECDHE+CHACHA20"]}) as egress:
            with pytest.raises(UpstreamError, match="TLS with Provider 'x'"):
                await egress.get("models")


# --- files, which are read when a provider starts ---


async def unavailable(**section: Any) -> str:
    with pytest.raises(ProviderUnavailable) as told:
        await opened(NetworkConfig.model_validate(section))
    return told.value.message


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("network.tls.verify", {"tls": {"verify": "{file}"}}),
        ("network.proxy.cacert", {"proxy": {"url": NOBODY, "cacert": "{file}"}}),
        ("network.tls.client_cert", {"tls": {"client_cert": "{file}", "client_key": "{key}"}}),
    ],
)
async def test_a_file_that_is_missing_or_no_pem_is_told_by_its_field(
    authority: Authority, name: str, section: dict[str, dict[str, str]]
) -> None:
    file = authority.folder / "the.pem"
    key = authority.signed("client")[1]
    filled = {
        part: {field: text.format(file=file, key=key) for field, text in fields.items()}
        for part, fields in section.items()
    }
    missing = await unavailable(**filled)
    assert missing.startswith(f"{name}: {file} cannot be read")
    file.write_text("-----BEGIN NONSENSE-----")
    assert (await unavailable(**filled)).startswith(f"{name}: ")


async def test_a_key_that_is_encrypted_is_an_error_and_no_question_on_the_terminal(authority: Authority) -> None:
    certificate, _ = authority.signed("client")
    locked = authority.kept("locked.key", ec.generate_private_key(ec.SECP256R1()), b"password")
    told = await unavailable(tls={"client_cert": str(certificate), "client_key": str(locked)})
    assert told == f"network.tls.client_key: {locked} is encrypted; give a key without a password."


async def test_a_key_of_another_certificate_is_told(authority: Authority) -> None:
    pair = {"client_cert": str(authority.signed("one")[0]), "client_key": str(authority.signed("two")[1])}
    assert "network.tls.client_cert" in await unavailable(tls=pair)


@pytest.mark.parametrize("ciphers", [["NO-SUCH-SUITE"], ["ALL", "@SECLEVEL=0"]])
async def test_ciphers_that_openssl_does_not_know_or_that_protect_nothing_are_told(ciphers: list[str]) -> None:
    assert (await unavailable(tls={"ciphers": ciphers})).startswith("network.tls.ciphers: ")


async def test_a_provider_without_its_file_does_not_start_and_says_why(authority: Authority) -> None:
    config = OpenAIConfig.model_validate({"network": {"tls": {"verify": "/no/ca.pem"}}})
    with pytest.raises(ProviderUnavailable, match=r"network\.tls\.verify: /no/ca\.pem cannot be read"):
        await OpenAI("x", config).start()


# --- headers ---


async def test_headers_go_with_every_request_and_to_no_other_origin() -> None:
    async with listening(kind) as server, listening(kind) as other:
        async with reaching(server.url, "sk-1", headers={"X-Team": "blue", "X-Gateway-Key": "gw-1\n"}) as egress:
            await egress.get("models")
            await egress.post("chat", {}, headers={"x-team": "red"})
            await egress.get(f"{server.url}/models")
            await egress.get(f"{other.url}/models", headers={"X-Own": "yes"})
    assert "X-Team: blue" in server.heads[0]
    assert "X-Gateway-Key: gw-1\r\n" in server.heads[0]
    assert ("x-team: red" in server.heads[1], "blue" in server.heads[1]) == (True, False)
    assert "Authorization: Bearer sk-1" in server.heads[2]
    assert "X-Own: yes" in other.heads[0]
    assert not [secret for secret in ("sk-1", "blue", "gw-1") if secret in other.heads[0]]


@pytest.mark.parametrize("kind_of_answer", ["json", "html", "event", "nonsense"])
async def test_an_upstream_that_repeats_our_headers_does_not_tell_them_to_callers(kind_of_answer: str) -> None:
    """As a debugging proxy does in its error pages."""

    async def echo(server: Server, streams: Streams) -> None:
        head = json.dumps(await head_of(streams[0])).encode()
        streams[1].write(
            {
                "json": answer("401 No", b'{"error": {"message": ' + head + b"}}"),
                "html": answer("500 Oh", b"<html>" + head, "Content-Type: text/html"),
                "event": answer("200 OK", b'data: {"error": ' + head + b"}\n\n", "Content-Type: text/event-stream"),
                "nonsense": answer("200 OK", head[1:], "Content-Type: text/plain"),
            }[kind_of_answer]
        )
        await streams[1].drain()

    async with listening(echo) as server:
        async with reaching(server.url, "sk-canary-1", headers={"X-Gateway-Key": "gw-canary-1"}) as egress:
            for ask in (egress.get("models"), anext(egress.stream("chat", {}, {"X-Own": "own-canary-1"}))):
                with pytest.raises(StackError) as told:
                    await ask
                assert "canary" not in f"{told.value.message} {told.value}"


def test_what_is_sent_is_in_no_representation() -> None:
    shown = repr(Outgoing("POST", "http://h/v1", {"Authorization": "Bearer sk-canary"}, b"a canary's question"))
    assert "canary" not in shown


async def test_a_header_that_the_provider_sends_itself_is_refused() -> None:
    config = OpenAIConfig.model_validate({"api_key": "sk", "network": {"headers": {"authorization": "Basic x"}}})
    with pytest.raises(ProviderUnavailable, match=r"network\.headers.*authorization"):
        await OpenAI("x", config).start()


async def test_without_a_key_the_section_may_say_the_authorization() -> None:
    async with listening(kind) as server:
        config = {"base_url": server.url, "network": {"headers": {"Authorization": "Basic x"}}}
        provider = OpenAI("x", OpenAIConfig.model_validate(config))
        await provider.start()
        await provider.egress.get("models")
        await provider.stop()
    assert "Authorization: Basic x" in server.heads[0]


# --- time-outs and limits ---


@pytest.mark.parametrize("timeout", [0.2, {"read": 0.2}])
async def test_the_time_outs_are_those_of_the_config(timeout: Any) -> None:
    async with listening(silent) as server, reaching(server.url, timeout=timeout) as egress:
        with pytest.raises(UpstreamTimeout):
            await egress.get("models")
        with pytest.raises(UpstreamTimeout):
            [event async for event in egress.stream("chat", {})]


async def test_a_proxy_that_says_nothing_is_a_time_out_of_connecting(authority: Authority) -> None:
    async with listening(silent) as proxy:
        section = {"proxy": {"url": proxy.url}, "timeout": {"connect": 0.2, "read": 600}}
        async with reaching("https://api.example", **section) as egress:
            with pytest.raises(UpstreamTimeout):
                await egress.get("models")


def test_what_the_section_leaves_open_stays_as_it_is() -> None:
    usual = NetworkConfig().timeouts()
    assert NetworkConfig.model_validate({"timeout": {"connect": 9}}).timeouts().idle == usual.idle
    longer = NetworkConfig.model_validate({"timeout": {"read": 1800}}).timeouts()
    assert (longer.connect, longer.total, longer.idle) == (usual.connect, 1800, 1800)


async def test_requests_beyond_the_limit_wait_for_room() -> None:
    together, most, go = 0, 0, asyncio.Event()

    async def counting(server: Server, streams: Streams) -> None:
        nonlocal together, most
        reader, writer = streams
        while True:
            server.heads.append(await head_of(reader))
            together += 1
            most = max(most, together)
            await go.wait()
            together -= 1
            writer.write(answer("200 OK"))
            await writer.drain()

    async with listening(counting) as server, reaching(server.url, limits={"max_connections": 2}) as egress:
        asked = [asyncio.create_task(egress.get("models")) for _ in range(5)]
        while len(server.heads) < 2:
            await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*asked) == [{"ok": True}] * 5
    assert most == 2


async def test_no_idle_connection_is_kept_where_none_may_be() -> None:
    async with listening(kind) as server:
        async with reaching(server.url, limits={"max_keepalive_connections": 0}) as egress:
            await egress.get("models")
    assert "Connection: close" in server.heads[0]


# --- what the section takes ---


def test_the_section_is_taken_as_ogx_writes_it() -> None:
    written = {
        "tls": {
            "verify": "/etc/ssl/ca.pem",
            "min_version": "TLSv1.2",
            "ciphers": ["ECDHE+AESGCM", "DHE+AESGCM"],
            "client_cert": "/etc/ssl/client.pem",
            "client_key": "/etc/ssl/client.key",
        },
        "proxy": {"url": "http://proxy.example.com:8080", "cacert": "/etc/ssl/proxy.pem", "no_proxy": ["localhost"]},
        "timeout": {"connect": 5.0, "read": 30.0},
        "headers": {"X-Team": "blue"},
        "limits": {"max_connections": 100, "max_keepalive_connections": 20, "keepalive_expiry": 5.0},
    }
    taken = OpenAIConfig.model_validate({"network": written}).network
    assert taken is not None
    assert taken.model_dump(mode="json", exclude_none=True) | {"headers": 0} == written | {"headers": 0}
    for text in (repr(taken), str(taken)):
        assert "blue" not in text


@pytest.mark.parametrize(
    ("section", "place", "said"),
    [
        ({"prox": {}}, "prox", "Extra inputs"),
        ({"tls": {"client_cert": "/a.pem"}}, "tls", "client_cert and client_key belong together"),
        ({"tls": {"min_version": "TLSv1.1"}}, "tls.min_version", "TLSv1.2"),
        ({"proxy": {"url": "http://p:1", "https": "http://q:1"}}, "proxy", "not both"),
        ({"proxy": {"url": "proxy.example:3128"}}, "proxy.url", "http://host:port"),
        ({"proxy": {"url": "socks5://s3cret@p:1"}}, "proxy.url", "SOCKS"),
        ({"proxy": {"url": "http://maya:s3cret@:80"}}, "proxy.url", "http://host:port"),
        ({"proxy": {"url": "http://s3cret@p:99999"}}, "proxy.url", "http://host:port"),
        ({"proxy": {"url": "http://s3cret@p:1/path"}}, "proxy.url", "ends with its port"),
        ({"proxy": {"url": "http://a:s3cret%0d%0aX: y@p:1"}}, "proxy.url", "character that none may hold"),
        ({"timeout": 0}, "timeout.connect", "greater than 0"),
        ({"timeout": {"read": -1}}, "timeout.read", "greater than 0"),
        ({"timeout": {"write": 1}}, "timeout.write", "Extra inputs"),
        ({"headers": {"X Y": "s3cret"}}, "headers", "not the name of a header"),
        ({"headers": {"X\r\nY": "s3cret"}}, "headers", "not the name of a header"),
        ({"headers": {"X": "s3cret\r\nY: z"}}, "headers", "line break"),
        ({"headers": {"X": "s3cret\0"}}, "headers", "control character"),
        ({"headers": {"X": "a", "x": "s3cret"}}, "headers", "twice"),
        ({"headers": {"Host": "s3cret"}}, "headers", "leave it out"),
        ({"headers": {"content-length": "s3cret"}}, "headers", "leave it out"),
        ({"headers": {"Transfer-Encoding": "s3cret"}}, "headers", "leave it out"),
        ({"headers": {"Proxy-Authorization": "s3cret"}}, "headers", "network.proxy.url"),
        ({"limits": {"max_connections": 0}}, "limits.max_connections", "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_told_by_its_field_without_its_value(section: Any, place: str, said: str) -> None:
    with pytest.raises(ValidationError) as told:
        NetworkConfig.model_validate(section)
    found = {".".join(map(str, e["loc"])): e["msg"] for e in told.value.errors(include_input=False)}
    assert said in found.get(place, ""), found
    assert "s3cret" not in str(found)


@pytest.mark.parametrize("kind", [kind for kind in specs(Api.inference) if kind.startswith("remote::")])
def test_every_remote_provider_has_the_section(kind: str) -> None:
    config_class = load(specs(Api.inference)[kind]).config_class
    assert issubclass(config_class, RemoteConfig)
    config = config_class.sample_run_config() | {"network": {"timeout": 5, "proxy": {"url": NOBODY}}}
    assert config_class.model_validate(config).network is not None  # type: ignore[attr-defined]


def test_an_empty_variable_is_no_proxy() -> None:
    assert NetworkConfig.model_validate({"proxy": {"url": None}}).proxy is not None


# --- vLLM's older name of one of them ---


@pytest.mark.parametrize(
    ("older", "newer", "agree"),
    [
        (False, "/ca.pem", False),
        (False, True, False),
        (True, False, False),
        ("/a.pem", "/ca.pem", False),
        (True, "/ca.pem", True),
        ("/ca.pem", "/ca.pem", True),
        (None, False, True),
    ],
)
def test_tls_verify_and_the_section_never_disagree_in_silence(older: Any, newer: Any, agree: bool) -> None:
    config = {"base_url": "http://h/v1", "tls_verify": older, "network": {"tls": {"verify": newer}}}
    if not agree:
        with pytest.raises(ValidationError, match="disagree"):
            VLLMConfig.model_validate(config)
        return
    reached = VLLMConfig.model_validate(config).reached()
    assert reached is not None
    assert reached.tls == TLSConfig(verify=Path(newer) if isinstance(newer, str) else newer)


async def test_tls_verify_alone_still_holds(authority: Authority) -> None:
    async with listening(kind, tls_of(authority)) as server:
        for older in (str(authority.ca), False):
            config = {"base_url": server.url, "tls_verify": older, "network": {"timeout": 5}}
            async with AsyncExitStack() as stack:
                provider = VLLM("x", VLLMConfig.model_validate(config))
                stack.push_async_callback(provider.stop)
                await provider.start()
                assert await provider.egress.get("models") == {"ok": True}
        provider = VLLM("x", VLLMConfig.model_validate({"base_url": server.url}))
        await provider.start()
        with pytest.raises(StackError, match="verification"):
            await provider.egress.get("models")
        await provider.stop()
