"""Requests that are signed: each try anew, with what it sends, and nothing of the signature is told."""

import itertools
import json
from collections.abc import Mapping

import pytest

from llamastack.egress import Egress
from llamastack.egress.retries import Retries
from llamastack.egress.transport import Outgoing
from llamastack.errors import UpstreamRejected
from llamastack.providers import ProviderUnavailable
from tests.upstream import Upstream, serving


class Numbering:
    """Signs by counting, and keeps what it was asked to sign."""

    def __init__(self) -> None:
        self.signed: list[Outgoing] = []
        self.numbers = itertools.count(1)

    async def __call__(self, outgoing: Outgoing) -> Mapping[str, str]:
        self.signed.append(outgoing)
        return {"Authorization": f"signature-{next(self.numbers)}"}


def signed(upstream: Upstream, signer: Numbering) -> Egress:
    egress = Egress(upstream.url, "Provider 'x'", {"X-Own": "mine"}, signer=signer)
    egress.retries = Retries(first_pause=0)
    return egress


async def test_the_signer_sees_what_is_sent_and_its_headers_go_with_it() -> None:
    signer = Numbering()
    async with serving() as upstream:
        egress = signed(upstream, signer)
        await egress.post("chat/completions", {"model": "sky", "messages": []})
        await egress.close()
    [outgoing] = signer.signed
    assert (outgoing.method, outgoing.url) == ("POST", f"{upstream.url}/chat/completions")
    assert json.loads(outgoing.body or b"")["model"] == "sky"
    assert upstream.headers[0]["Authorization"] == "signature-1"
    assert upstream.headers[0]["X-Own"] == "mine"


async def test_each_try_is_signed_anew() -> None:
    signer = Numbering()
    async with serving() as upstream:
        egress = signed(upstream, signer)
        with pytest.raises(Exception, match="answered 503"):
            await egress.post("chat/completions", {"model": "status-503", "messages": []})
        await egress.close()
    assert len(signer.signed) > 1
    sent = [headers["Authorization"] for headers in upstream.headers]
    assert sent == [f"signature-{n + 1}" for n in range(len(sent))]


async def test_a_signature_that_the_upstream_repeats_is_not_told() -> None:
    async def quoted(outgoing: Outgoing) -> Mapping[str, str]:
        return {"X-Token": "told you so"}  # as the upstream's error says

    async with serving() as upstream:
        egress = Egress(upstream.url, "Provider 'x'", signer=quoted)
        with pytest.raises(UpstreamRejected) as caught:
            await egress.post("chat/completions", {"model": "status-403", "messages": []})
        await egress.close()
    assert "told you so" not in caught.value.message


async def test_a_signer_without_credentials_says_so_and_nothing_is_sent() -> None:
    async def none(outgoing: Outgoing) -> Mapping[str, str]:
        raise ProviderUnavailable("There are no credentials: set AWS_PROFILE.")

    async with serving() as upstream:
        egress = Egress(upstream.url, "Provider 'x'", signer=none)
        with pytest.raises(ProviderUnavailable, match="set AWS_PROFILE"):
            await egress.get("models")
        await egress.close()
    assert not upstream.headers
