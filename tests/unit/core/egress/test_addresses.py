"""One strict reading of URLs, and which addresses are public."""

import asyncio
import socket
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from llamastack.egress.addresses import METADATA, Allowed, Target, is_own, is_public, join, parse
from llamastack.egress.fetch import Fetcher
from llamastack.errors import BadRequest, StackError
from tests.unit.core.egress.vectors import FAMILIES, HOSTS, SIX

PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.1", "168.63.129.15", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"),
    *("192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700:4700::1111"),
    *("2a00:1450:4001:81b::200e", "2400:cb00::1"),
]  # fmt: skip


# --- reading ---


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("http://example.com", Target("http", "example.com", 80, "/")),
        ("HTTPS://Example.COM", Target("https", "example.com", 443, "/")),
        ("https://example.com:8443/a/b?c=d&e=%20#f", Target("https", "example.com", 8443, "/a/b?c=d&e=%20")),
        ("http://example.com:443?q", Target("http", "example.com", 443, "/?q")),
        ("http://my_bucket.s3.example.com/a", Target("http", "my_bucket.s3.example.com", 80, "/a")),
        ("http://xn--bcher-kva.example/bücher.png", Target("http", "xn--bcher-kva.example", 80, "/b%C3%BCcher.png")),
        ('http://example.com/a"<b>{c}|d', Target("http", "example.com", 80, "/a%22%3Cb%3E%7Bc%7D%7Cd")),
        ("http://example.com/a@b:c//d", Target("http", "example.com", 80, "/a@b:c//d")),
        ("http://8.8.8.8/", Target("http", "8.8.8.8", 80, "/")),
        ("http://[2606:4700:0:0::1111]:8080/", Target("http", "2606:4700::1111", 8080, "/")),
        ("http://[2606:4700::1.2.3.4]/", Target("http", "2606:4700::102:304", 80, "/")),
        ("http://123.example/", Target("http", "123.example", 80, "/")),
        ("http://1.2.3.4.example/", Target("http", "1.2.3.4.example", 80, "/")),
    ],
)
def test_what_is_plain_is_read(url: str, read: Target) -> None:
    assert parse(url) == read
    assert parse(read.url) == read


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "does not begin with http"),
        ("example.com/a", "does not begin with http"),
        ("ftp://example.com", "does not begin with http"),
        ("http://", "no host that can be read"),
        ("http://exa mple.com", "a blank, a control character or a backslash"),
        ("http://example.com/a\u200bb", "a blank, a control character or a backslash"),
        ("http://example.com/a\ud800b", "a blank, a control character or a backslash"),
        ("http://example.com/a\\b", "a blank, a control character or a backslash"),
        ("http://maya@example.com/", "user name or a password"),
        ("http://bücher.example/", "xn--"),
        ("http://example.com./", "no name of the DNS"),
        ("http://-a.example/", "no name of the DNS"),
        (f"http://{'a' * 64}.example/", "no name of the DNS"),
        (f"http://{'a.' * 127}com/", "no name of the DNS"),
        ("http://a..b/", "no name of the DNS"),
        ("http://127.1/", "not written in full"),
        ("http://[::1/", "no host that can be read"),
        ("http://[1.2.3.4]/", "not written in full"),
        ("http://[::1%25lo]/", "no host that can be read"),
        ("http://example.com:/", "no port"),
        ("http://example.com:0/", "no port"),
        ("http://example.com:22/", "names port 22"),
        ("http://example.com:6667/", "names port 6667"),
        ("http://example.com:70000/", "names port 70000"),
        ("http://example.com/" + "a" * 8192, "more than 8192 characters"),
    ],
)
def test_what_is_odd_is_refused_with_its_reason(url: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as refused:
        parse(url, "image_url.url")
    assert refused.value.param == "image_url.url"


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://other.example/x", "https://other.example/x"),
        ("//other.example/x", "http://other.example/x"),
        ("/x?y#z", "http://example.com:8080/x?y"),
        ("x", "http://example.com:8080/a/x"),
        ("../x", "http://example.com:8080/a/../x"),
        ("?y", "http://example.com:8080/a/b?y"),
        ("#z", "http://example.com:8080/a/b?c"),
        ("", "http://example.com:8080/a/b?c"),
        ("x:80@y", None),
        ("///x", None),
        ("\\\\other.example", None),
        ("http:x", None),
    ],
)
def test_a_redirect_leads_from_where_it_was_met(location: str, url: str | None) -> None:
    met = parse("http://example.com:8080/a/b?c")
    if url is None:
        with pytest.raises(BadRequest):
            join(met, location)
    else:
        assert join(met, location).url == url


# --- against other parsers ---

PIECES = [
    *("http://", "https://", "HTTP:", "//", "/", "\\", "@", ":", "#", "?", "%", "%40", "%2e", "[", "]", ".", "。"),
    *("-", "_", " ", "\t", "\r\n", "\0", "\u00ad", "\u202e", "\u200d", "é", "ß", "K", "０", "１", "⑦", "xn--"),
    *("80", "443", "08080", "0x7f", "0177", "127.0.0.1", "::1", "::ffff:", "fe80::1%1", "localhost", "a.example"),
    *("A.EXAMPLE", "user:pass@", "&", ";", ",", "'", '"', "|", "^"),
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
SPELLED = [form(ip_address(text)) for text in FAMILIES.values() for form in HOSTS.values()]
PLAIN_HOSTS = ["a.example", "1.2.3.4", "[2606:4700::1]", "localhost:8080"]
URLS = st.one_of(
    TEXTS,
    TEXTS.map("http://".__add__),
    st.builds("https://{}{}".format, st.sampled_from(PLAIN_HOSTS), TEXTS),
    st.builds("http://{}{}".format, st.sampled_from(SPELLED), TEXTS),
    st.builds("https://{}/{}".format, st.from_regex(r"[a-zA-Z0-9._:@\[\]-]{1,30}", fullmatch=True), TEXTS),
)


@settings(max_examples=2000, derandomize=True)
@given(URLS)
def test_what_is_read_here_others_read_alike(url: str) -> None:
    target = read(url)
    if target is None:
        return
    assert parse(target.url) == target
    for text, encoded in ((target.url, True), (target.url, False), (url, False)):
        asked = URL(text, encoded=encoded)
        assert (asked.scheme, asked.raw_host, asked.port) == (target.scheme, target.host, target.port)
        assert asked.raw_user is None
    for text in (target.url, url):
        split = urlsplit(text)
        host = split.hostname or ""
        assert (str(ip_address(host)) if ":" in host else host) == target.host
        assert (split.port or {"http": 80, "https": 443}[split.scheme]) == target.port


class Wires:
    """A network that notes what it is asked for and leads nowhere."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.opened: list[tuple[str, int]] = []

    async def lookup(self, host: str) -> list[str]:
        self.asked.append(host)
        return ["93.184.216.34"]

    def open_socket(self, info: Any) -> socket.socket:
        self.opened.append(info[4][:2])
        raise OSError("It leads nowhere")


@settings(max_examples=300, derandomize=True)
@given(URLS.filter(lambda url: read(url) is not None))
def test_what_is_read_here_is_what_is_connected_to(url: str) -> None:
    target, wires = parse(url), Wires()
    everywhere = Allowed.of(["0.0.0.0/0", "::/0"])
    with pytest.raises(BadRequest):
        asyncio.run(Fetcher(everywhere, wires.lookup, wires.open_socket).fetch(url, accept=(), max_bytes=1, seconds=5))
    if target.address is None:
        assert wires.asked == [target.host]
        assert set(wires.opened) == {("93.184.216.34", target.port)}
    else:
        assert wires.asked == []
        assert set(wires.opened) <= {(target.host, target.port)}
        assert wires.opened or target.address in METADATA


def read(url: str) -> Target | None:
    try:
        return parse(url)
    except BadRequest:
        return None


# --- which addresses are public ---


@pytest.mark.parametrize("text", PUBLIC)
def test_what_anybody_reaches_is_public(text: str) -> None:
    assert is_public(ip_address(text))
    assert Allowed().permits("a.example", ip_address(text))
    assert not Allowed.of(["none"]).permits("a.example", ip_address(text))


@pytest.mark.parametrize("text", [*FAMILIES.values(), *SIX.values(), *map(str, METADATA), "2606:4700::1%1"])
def test_what_stands_in_a_network_of_its_own_is_not(text: str) -> None:
    assert not is_public(ip_address(text))
    assert not Allowed().permits("a.example", ip_address(text))


def test_an_address_of_this_machine_is_its_own() -> None:
    assert is_own(ip_address("127.0.0.1"))
    assert is_own(ip_address("::1"))
    assert not is_own(ip_address("192.0.2.7"))


# --- what an operator allows ---


@pytest.mark.parametrize(
    ("entries", "host", "text", "permitted"),
    [
        (["10.1.0.0/16"], "10.1.2.3", "10.1.2.3", True),
        (["10.1.0.0/16"], "images.example", "10.1.2.3", True),
        (["10.1.0.0/16"], "10.2.0.1", "10.2.0.1", False),
        (["10.1.0.0/16"], "::ffff:10.1.2.3", "::ffff:10.1.2.3", False),
        (["192.168.1.7"], "192.168.1.7", "192.168.1.7", True),
        (["fd12::/16"], "fd12::1", "fd12::1", True),
        (["Images.Internal"], "images.internal", "10.0.0.1", True),
        (["images.internal"], "images.internal", "127.0.0.1", True),
        (["images.internal"], "images.internal", "fd12::1", True),
        (["images.internal"], "other.internal", "10.0.0.1", False),
        (["images.internal"], "a.images.internal", "10.0.0.1", False),
        (["images.internal"], "images.internal", "169.254.169.254", False),
        (["images.internal"], "images.internal", "100.100.100.200", False),
        (["images.internal"], "images.internal", "fd00:ec2::254", False),
        (["images.internal"], "images.internal", "169.254.1.1", False),
        (["images.internal"], "images.internal", "0.0.0.0", False),
        (["images.internal"], "images.internal", "::ffff:127.0.0.1", False),
        (["0.0.0.0/0", "::/0"], "a.example", "169.254.1.1", True),
        (["0.0.0.0/0", "::/0"], "a.example", "169.254.169.254", False),
        (["169.254.169.254"], "169.254.169.254", "169.254.169.254", True),
        (["none"], "127.0.0.1", "127.0.0.1", False),
    ],
)
def test_an_operator_opens_names_addresses_and_networks(
    entries: list[str], host: str, text: str, permitted: bool
) -> None:
    assert Allowed.of(entries).permits(host, ip_address(text)) is permitted


@pytest.mark.parametrize(
    "entry", ["10.1.2.3/16", "10.1", "a b", "http://a.example", "a.example:80", "*.example", "none/8", ""]
)
def test_what_an_operator_cannot_mean_is_an_error_that_says_how(entry: str) -> None:
    with pytest.raises(StackError, match=r"LLAMA_STACK_ALLOWED_FETCHES.*images\.internal,10\.1\.0\.0/16"):
        Allowed.of(["a.example", entry])
