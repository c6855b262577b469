"""Addresses that callers name lead to no private place: hundreds of vectors, and a canary that none may reach."""

import re
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest

from llamastack.egress import Egress
from llamastack.egress.addresses import Allowed, Target, is_public, parse
from llamastack.egress.fetch import Fetcher
from llamastack.egress.guard import (
    REFUSED,
    ConfinedTransport,
    Guard,
    GuardedTransport,
    confine,
    egress_of_caller,
)
from llamastack.egress.transport import Outgoing, Timeouts
from llamastack.errors import BadRequest, Unavailable
from tests.unit.core.egress.internet import PNG, PUBLIC, PUBLIC_6, Internet, internet
from tests.unit.core.egress.vectors import FAMILIES, NAMES, PLAIN, SIX, VECTORS, quoted

REDIRECTS = (301, 302, 303, 307, 308)
OPEN = Allowed.of(["0.0.0.0/0", "::/0"])
LIMITS = {"accept": ("image/png",), "max_bytes": 1000, "seconds": 5.0, "param": "url"}


@pytest.fixture
async def net() -> AsyncIterator[Internet]:
    async with internet() as running:
        yield running


def fetcher(net: Internet, allowed: Allowed | None = None) -> Fetcher:
    return Fetcher(allowed or Allowed(), net.lookup, net.open_socket)


async def outcome(net: Internet, url: str, allowed: Allowed | None = None) -> str:
    """The sentence of a refusal, or nothing."""
    try:
        await fetcher(net, allowed).fetch(url, **LIMITS)
    except BadRequest as error:
        return error.message
    return ""


async def refused(net: Internet, url: str, allowed: Allowed | None = None) -> BadRequest:
    with pytest.raises(BadRequest) as told:
        await fetcher(net, allowed).fetch(url, **LIMITS)
    return told.value


def test_there_are_at_least_three_hundred_vectors() -> None:
    assert len(set(VECTORS.values())) >= 300


def read(url: str) -> Target | None:
    try:
        return parse(url)
    except BadRequest:
        return None


def test_no_url_is_read_as_leading_to_a_public_address_but_by_its_name() -> None:
    for name, url in VECTORS.items():
        target = read(url)
        if target is None:
            continue
        if target.address is None:
            assert target.host in {known.lower() for known in NAMES} | {"public.example"}, name
        else:
            assert not is_public(target.address), name


async def test_no_vector_reaches_the_canary(net: Internet) -> None:
    for name, url in VECTORS.items():
        if name.endswith("after a fragment and @"):  # this is public.example by every standard; others may disagree
            assert (await fetcher(net).fetch(url, **LIMITS)).content == PNG
        else:
            assert (await refused(net, url)).param == "url", name
    assert net.hits == 0
    assert set(net.connected) == {PUBLIC}


async def test_with_its_network_allowed_the_canary_is_hit(net: Internet) -> None:
    """Or the test above could not fail."""
    plain = [url for name, url in PLAIN.items() if not name.startswith("the name")]
    told = [await outcome(net, url, OPEN) for url in plain]
    assert told.count(REFUSED) == len([text for text in (*FAMILIES.values(), *SIX.values()) if _is_metadata(text)])
    assert net.hits == told.count("") > 25


def _is_metadata(text: str) -> bool:
    return not OPEN.permits("", ip_address(text))


async def test_no_redirect_reaches_the_canary(net: Internet) -> None:
    count = 0
    for status in REDIRECTS:
        for url in PLAIN.values():
            for location in (url, url.removeprefix("http:"), url.replace("http://", "HTTP://user:pass@")):
                error = await refused(net, f"http://public.example/?status={status}&to={quoted(location)}")
                assert error.param == "url"
                count += 1
    assert net.hits == 0
    assert len(net.requests) == count >= 300


async def test_no_odd_redirect_reaches_the_canary(net: Internet) -> None:
    """What reads as a path is one of the same server; no header holds a line break or a NUL."""
    for url in VECTORS.values():
        if not re.search(r"[\r\n\0]", url):
            await outcome(net, f"http://public.example/?status=302&to={quoted(url)}")
    assert net.hits == 0
    assert set(net.connected) == {PUBLIC}


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://[::1]/", "//10.0.0.1/", "http://localhost/"])
async def test_only_a_location_of_a_redirect_is_followed(net: Internet, url: str) -> None:
    for query in (
        f"header={quoted(f'Refresh: 0; url={url}')}&header={quoted('Content-Type: image/png')}",
        f"header={quoted(f'Content-Location: {url}')}&header={quoted('Content-Type: image/png')}",
        f"header={quoted(f'Link: <{url}>; rel=canonical')}&header={quoted('Content-Type: image/png')}",
    ):
        assert (await fetcher(net).fetch(f"http://public.example/?{query}", **LIMITS)).content == PNG
    for status in (201, 300, 304, 305, 306, 400, 401, 407, 503):
        await refused(net, f"http://public.example/?status={status}&to={quoted(url)}")
    assert net.hits == 0


# --- names that change ---


async def test_a_name_that_changes_after_its_check_is_connected_to_as_it_was_checked(
    net: Internet,
) -> None:
    net.names["rebinding.example"] = [[PUBLIC], ["127.0.0.1"]]
    assert (await fetcher(net).fetch("http://rebinding.example/", **LIMITS)).content == PNG
    assert (net.asked, net.connected, net.hits) == (["rebinding.example"], [PUBLIC], 0)


async def test_a_name_that_changes_before_a_redirect_is_checked_anew(net: Internet) -> None:
    for status in REDIRECTS:
        for location in ("/next", "?next", "next", "http://rebinding.example/", "//rebinding.example:8080/"):
            net.names["rebinding.example"] = [[PUBLIC], ["127.0.0.1"]]
            error = await refused(net, f"http://rebinding.example/?status={status}&to={quoted(location)}")
            assert error.message == REFUSED
    assert net.hits == 0


async def test_a_name_with_both_families_is_tried_by_both(net: Internet) -> None:
    net.names["both.example"] = [[PUBLIC_6, PUBLIC]]
    assert (await fetcher(net).fetch("http://both.example/", **LIMITS)).content == PNG
    assert set(net.connected) <= {PUBLIC, PUBLIC_6}


async def test_a_socket_for_an_address_that_was_not_checked_is_not_opened(net: Internet) -> None:
    guard = Guard(Allowed(), None, net.lookup, net.open_socket)
    with pytest.raises(PermissionError):
        guard._socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80)))


# --- what a refusal tells ---


async def test_one_sentence_for_every_refusal_tells_nothing_of_what_is_there(net: Internet) -> None:
    assert {(await refused(net, url)).message for url in PLAIN.values()} == {REFUSED}


# --- the network itself: no seam between, a real listener, and the system's own resolver ---


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
async def test_the_real_loopback_is_reached_only_where_it_is_allowed(net: Internet, host: str) -> None:
    family = socket.AF_INET6 if host == "[::1]" else socket.AF_INET
    url = f"http://{host}:{net.ports['canary', family]}/"
    for allowed in (Allowed(), Allowed.of(["10.0.0.0/8", "other.example"])):
        with pytest.raises(BadRequest, match="no public address"):
            await Fetcher(allowed).fetch(url, **LIMITS)
    assert net.hits == 0
    for entries in (["127.0.0.1", "::1"], ["127.0.0.0/8", "::1/128"], [host.strip("[]"), "127.0.0.1", "::1"]):
        await Fetcher(Allowed.of(entries)).fetch(url, **LIMITS)
    assert net.hits == 3


# --- a base address that a caller gives ---


def egress(net: Internet, url: str, allowed: Allowed | None = None) -> Egress:
    guard = Guard(allowed or Allowed(), "passthrough_url", net.lookup, net.open_socket)
    asking = Egress(url, "Provider 'x'", {"Authorization": "Bearer the-callers"})
    asking.transport = GuardedTransport(Timeouts(), guard, "passthrough_url")
    return asking


async def test_no_base_address_of_a_caller_reaches_the_canary(net: Internet) -> None:
    for name, url in VECTORS.items():
        if "#@" in url and name.endswith("after a fragment and @"):
            continue
        asking = egress(net, url)
        for ask in (asking.get, lambda path, asking=asking: asking.post(path, {})):
            with pytest.raises(BadRequest) as told:
                await ask("")
            assert told.value.param == "passthrough_url", name
        await asking.close()
    assert net.hits == 0


async def test_a_base_address_of_a_caller_that_is_public_is_asked_with_the_callers_key(net: Internet) -> None:
    asking = egress(net, "http://public.example")
    with pytest.raises(Exception, match="not JSON"):
        await asking.get("models")
    await asking.close()
    assert b"GET /models " in net.requests[0]
    assert b"Host: public.example\r\n" in net.requests[0]
    assert b"Authorization: Bearer the-callers\r\n" in net.requests[0]
    asking = egress(net, "http://10.0.0.7", Allowed.of(["10.0.0.0/8"]))
    with pytest.raises(Exception, match="not JSON"):
        await asking.get("models")
    await asking.close()
    assert net.hits == 1


async def test_an_egress_of_a_caller_is_guarded_and_has_the_callers_headers_alone(net: Internet) -> None:
    port = net.ports["canary", socket.AF_INET]
    for url in (f"http://127.0.0.1:{port}/v1", f"http://public.example@127.0.0.1:{port}/v1", "file:///etc/passwd"):
        with pytest.raises(BadRequest) as told:
            egress_of_caller(url, "Provider 'x'", {}, "passthrough_url")
        assert told.value.param == "passthrough_url"
    named = egress_of_caller(f"http://localhost:{port}/v1#x", "Provider 'x'", {"X-Key": "1"}, "passthrough_url")
    assert (named.base_url, named.headers) == (f"http://localhost:{port}/v1", {"X-Key": "1"})
    assert (named.max_reply_bytes, named.max_stream_bytes) == (8 << 20, 64 << 20)
    with pytest.raises(BadRequest, match="no public address"):
        await named.get("models")
    await named.close()
    assert net.hits == 0


# --- a base address that a tenant's provider has ---


def confined(net: Internet, url: str, allowed: Allowed | None = None) -> Egress:
    asking = Egress(url, "Provider 'x'", {"Authorization": "Bearer the-tenants"})
    asking.transport = ConfinedTransport(Timeouts(), Guard(allowed or Allowed(), None, net.lookup, net.open_socket))
    return asking


async def test_no_address_of_a_tenants_provider_reaches_the_canary(net: Internet) -> None:
    """And the fault is not the caller's: another home of the model may answer."""
    for name, url in VECTORS.items():
        if "#@" in url and name.endswith("after a fragment and @"):
            continue
        asking = confined(net, url)
        with pytest.raises(Unavailable, match="a tenant's and leads to no public address") as told:
            await asking.post("chat/completions", {})
        assert (told.value.status, told.value.param) == (503, None), name
        await asking.close()
    assert net.hits == 0


async def test_a_tenants_provider_reaches_what_is_public_and_what_the_operator_allows(net: Internet) -> None:
    for url, allowed in (("http://public.example", None), ("http://10.0.0.7", Allowed.of(["10.0.0.0/8"]))):
        asking = confined(net, url, allowed)
        with pytest.raises(Exception, match="not JSON"):
            await asking.get("models")
        await asking.close()
    assert b"Authorization: Bearer the-tenants\r\n" in net.requests[0]
    assert net.hits == 1


async def test_an_error_of_who_reads_a_confined_reply_stays_what_it_is(net: Internet) -> None:
    transport = confined(net, "http://public.example").transport
    with pytest.raises(BadRequest, match="its own"):
        async with transport.send(Outgoing("GET", "http://public.example/")):
            raise BadRequest("its own")
    await transport.close()


async def test_confining_an_egress_keeps_what_signs_its_requests(net: Internet) -> None:
    async def sign(outgoing: Outgoing) -> dict[str, str]:
        signed.append(outgoing.url)
        return {}

    signed: list[str] = []
    asking = Egress("http://127.0.0.1:1", "Provider 'x'", signer=sign)
    confine(asking, None, sign)
    with pytest.raises(Unavailable, match="a tenant's"):
        await asking.get("models")
    await asking.close()
    assert signed == ["http://127.0.0.1:1/models"]
