"""Files at a caller's URL: what is sent, what is taken, and how failures are told."""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from llamastack import settings
from llamastack.egress.addresses import Allowed
from llamastack.egress.fetch import Fetched, Fetcher, fetcher
from llamastack.egress.guard import NOTHING, system_lookup
from llamastack.errors import BadRequest, StackError
from tests.unit.core.egress.internet import PNG, PUBLIC, Internet, internet
from tests.unit.core.egress.vectors import quoted
from tests.upstream import close

HOST = "http://public.example"


@pytest.fixture
async def net() -> AsyncIterator[Internet]:
    async with internet() as running:
        yield running


async def fetched(
    net: Internet,
    url: str,
    *,
    headers: dict[str, str] | None = None,
    max_bytes: int = 1000,
    seconds: float = 5,
    tls: ssl.SSLContext | bool = True,
    allowed: Allowed | None = None,
) -> Fetched:
    return await Fetcher(allowed or Allowed(), net.lookup, net.open_socket, tls).fetch(
        url, accept=("image/png", "image/gif"), max_bytes=max_bytes, seconds=seconds, param="f", headers=headers
    )


async def refused(net: Internet, url: str, words: str, **options: float) -> None:
    with pytest.raises(BadRequest, match=words) as told:
        await fetched(net, url, **options)  # type: ignore[arg-type]
    assert told.value.param == "f"


def sent(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")[1:-2]
    return dict(line.split(": ", 1) for line in lines)


async def test_a_get_without_anything_of_ours_is_sent(net: Internet, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await fetched(net, f"{HOST}:8080/a%20b?c=d#e") == Fetched(PNG, "image/png")
    (head,) = net.requests
    assert head.startswith(b"GET /a%20b?c=d HTTP/1.1\r\n")
    assert sent(head) == {
        "Host": "public.example:8080",
        "User-Agent": "llama-stack",
        "Accept-Encoding": "identity",
        "Accept": "image/png, image/gif",
    } | ({"Connection": "close"} if b"Connection" in head else {})


async def test_three_redirects_are_followed_and_no_fourth(net: Internet) -> None:
    url = f"{HOST}/end"
    for count in range(1, 5):
        url = f"{HOST}/?status=302&to={quoted(url)}"
        if count <= 3:
            assert (await fetched(net, url)).content == PNG
    await refused(net, url, "redirected more than 3 times")
    await refused(net, f"{HOST}/?status=307", "answered 307 and leads nowhere")


async def test_headers_of_the_caller_go_to_the_origin_that_it_named_alone(net: Internet) -> None:
    secret = {"Authorization": "Bearer secret", "Cookie": "a=b"}
    back = quoted(f"{HOST}/back")
    await fetched(net, f"{HOST}/?status=302&to=/same", headers=secret)
    await fetched(net, f"{HOST}/?status=302&to={quoted(f'http://other.example/?status=302&to={back}')}", headers=secret)
    await fetched(net, f"{HOST}/?status=302&to={quoted(f'{HOST}:8080/')}", headers=secret)
    told = [bool({"Authorization", "Cookie"} & sent(head).keys()) for head in net.requests]
    assert told == [True, True, True, False, False, True, False]


async def test_a_cookie_that_a_server_sets_is_not_sent_on(net: Internet) -> None:
    cookie = f"header={quoted('Set-Cookie: a=b; Path=/')}"
    await fetched(net, f"{HOST}/?status=302&{cookie}&to=/next")
    assert "Cookie" not in sent(net.requests[1])


async def test_what_is_too_large_is_left_as_soon_as_it_is(net: Internet) -> None:
    assert len((await fetched(net, f"{HOST}/?size=1000")).content) == 1000
    await refused(net, f"{HOST}/?size=1001", "more than 1000 bytes")
    await refused(net, f"{HOST}/?size=50000000", "more than 1000 bytes")


async def test_time_is_bounded_for_everything_together(net: Internet) -> None:
    await refused(net, f"{HOST}/?hang=1", "was not answered in time", seconds=0.1)
    await refused(net, f"{HOST}/?status=302&to={quoted(f'{HOST}/?hang=1')}", "was not answered in time", seconds=0.2)

    async def never(host: str) -> list[str]:
        return await asyncio.Future()

    with pytest.raises(BadRequest, match="in time"):
        await Fetcher(Allowed(), never).fetch(f"{HOST}/", accept=(), max_bytes=1, seconds=0.1)


async def test_who_is_cancelled_leaves_the_server(net: Internet) -> None:
    task = asyncio.create_task(fetched(net, f"{HOST}/?hang=1"))
    async with asyncio.timeout(30):
        while not net.hanging:
            await asyncio.sleep(0.01)
        task.cancel()
        await net.left.wait()


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("Content-Type: text/html; charset=utf-8", "leads to 'text/html', which is none of image/png, image/gif"),
        ("Content-Type: IMAGE/PNG; q=1", ""),
        ("X-None: 1", ""),
        ("Content-Encoding: gzip", "compressed"),
        ("Content-Encoding: identity", ""),
        ("Transfer-Encoding: nonsense", "cannot be reached, or broke off"),
        ("Content-Length: 5, 6", "cannot be reached, or broke off"),
    ],
)
async def test_an_answer_is_held_to_what_was_asked_for(net: Internet, header: str, words: str) -> None:
    url = f"{HOST}/?header={quoted(header)}"
    if words:
        await refused(net, url, words)
    else:
        assert (await fetched(net, url)).content == PNG


@pytest.mark.parametrize("status", [201, 206, 304, 400, 401, 404, 500, 503])
async def test_other_statuses_are_told(net: Internet, status: int) -> None:
    await refused(net, f"{HOST}/?status={status}", f"was answered {status}|broke off")


async def test_an_answer_that_breaks_off_is_no_file(net: Internet) -> None:
    await refused(net, f"{HOST}/?header={quoted('Content-Length: 5000')}", "cannot be reached, or broke off")


async def test_a_server_that_is_not_there_is_the_same_whatever_the_reason(net: Internet) -> None:
    told = set()
    for port in (net.ports["canary", socket.AF_INET6], 0):  # nobody listens there; no port at all
        net.ports["public", socket.AF_INET] = port
        with pytest.raises(BadRequest) as error:
            await fetched(net, f"{HOST}/")
        told.add(error.value.message)
    assert told == {"The URL could not be fetched: its server cannot be reached, or broke off."}


async def test_where_nothing_is_fetched_the_refusal_says_so(net: Internet) -> None:
    for url in (f"{HOST}/", "http://127.0.0.1/", f"http://{PUBLIC}/"):
        with pytest.raises(BadRequest, match=re.escape(NOTHING)):
            await fetched(net, url, allowed=Allowed.of(["none"]))
    assert net.asked == net.connected == []


async def test_a_name_that_the_system_does_not_know_has_no_address() -> None:
    assert await system_lookup("no-such-host.invalid") == []
    assert await system_lookup("a" * 300) == []
    assert "127.0.0.1" in await system_lookup("localhost")


def test_the_operators_setting_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ALLOWED_FETCHES", ["10.0.0.0/8 "])
    with pytest.raises(StackError, match="LLAMA_STACK_ALLOWED_FETCHES has '10"):
        fetcher()


# --- TLS ---


@pytest.fixture
async def names(net: Internet, tmp_path: Path) -> AsyncIterator[list[str | None]]:
    """The public server speaks TLS; the names that its clients ask for by SNI."""
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    context.sni_callback = lambda _, name, __: asked.append(name)
    server = await asyncio.start_server(net.public, "127.0.0.1", 0, ssl=context)
    net.ports["public", socket.AF_INET] = server.sockets[0].getsockname()[1]
    yield asked
    await close(server)


def certificate(folder: Path) -> Path:
    """One that vouches for itself, with its key beside it in the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "public.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("public.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "cert.pem"
    path.write_bytes(made.public_bytes(pem) + private)
    return path


async def test_tls_speaks_of_the_name_though_the_address_was_pinned(
    net: Internet, names: list[str | None], tmp_path: Path
) -> None:
    trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    assert (await fetched(net, "https://public.example/", tls=trusting)).content == PNG
    assert (names, net.connected) == (["public.example"], [PUBLIC])
    assert sent(net.requests[0])["Host"] == "public.example"
    with pytest.raises(BadRequest, match="cannot be reached"):
        await fetched(net, "https://other.example/", tls=trusting)  # the certificate is another name's
    with pytest.raises(BadRequest, match="cannot be reached"):
        await fetched(net, "https://public.example/")  # nobody vouches for it
    assert len(net.requests) == 1


async def test_a_redirect_from_https_to_http_is_not_followed(
    net: Internet, names: list[str | None], tmp_path: Path
) -> None:
    trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    with pytest.raises(BadRequest, match="redirected from https to http"):
        await fetched(net, f"https://public.example/?status=301&to={quoted('http://public.example/')}", tls=trusting)
    assert len(net.requests) == 1
