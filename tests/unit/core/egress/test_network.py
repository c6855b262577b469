"""A provider's `network` section: what it takes, its headers, time-outs and limits."""

import asyncio
import json
from typing import Any

import pytest
from pydantic import ValidationError

from apps.inference.providers.remote.openai import OpenAI, OpenAIConfig
from llamastack.apis import Api
from llamastack.egress.network import NetworkConfig, RemoteConfig
from llamastack.egress.transport import Outgoing
from llamastack.errors import StackError, UpstreamTimeout
from llamastack.providers import ProviderUnavailable, load, specs
from tests.unit.core.egress.networks import (
    NOBODY,
    Authority,
    Server,
    Streams,
    answer,
    head_of,
    kind,
    listening,
    reaching,
    silent,
)

pytestmark = pytest.mark.usefixtures("each_transport")


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
