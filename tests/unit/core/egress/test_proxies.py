"""The proxies that a provider's `network` section names."""

import pytest
from yarl import URL

from llamastack.egress.network import NetworkConfig, opened
from llamastack.egress.routes import covers
from llamastack.errors import UpstreamError
from tests.unit.core.egress.networks import NOBODY, Authority, kind, listening, proxying, reaching, tls_of

pytestmark = pytest.mark.usefixtures("each_transport")


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
