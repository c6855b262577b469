"""The certificates, versions and ciphers that a provider's `network` section asks for."""

import asyncio
import ssl
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from apps.inference.providers.remote.openai import OpenAI, OpenAIConfig
from apps.inference.providers.remote.vllm import VLLM, VLLMConfig
from llamastack.egress.network import NetworkConfig, TLSConfig, opened
from llamastack.errors import StackError, UpstreamError
from llamastack.providers import ProviderUnavailable
from tests.unit.core.egress.networks import (
    NOBODY,
    Authority,
    Server,
    Streams,
    alerting,
    answer,
    head_of,
    kind,
    listening,
    proxying,
    reaching,
    tls_of,
)

pytestmark = pytest.mark.usefixtures("each_transport")


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
            async with asyncio.timeout(10):
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
