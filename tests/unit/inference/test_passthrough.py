"""Any server of the OpenAI dialect, with headers from the caller's provider data."""

from typing import Any

import pytest
from pydantic import ValidationError

from apps.inference.providers.remote.passthrough import Passthrough, PassthroughConfig
from llamastack.egress import Egress, Timeouts
from llamastack.egress.addresses import Allowed
from llamastack.egress.guard import Guard, GuardedTransport
from llamastack.errors import BadRequest
from llamastack.provider_data import ProviderData
from tests.unit.inference.scripted import CALL, Stream, chat, chunk, heard, said, scripted, started, with_data

CHAT = "POST /v1/chat/completions"
FORWARD = {"maas_token": "Authorization", "tenant_id": "X-Tenant-ID"}
DATA = {"maas_token": "Bearer theirs", "tenant_id": 7, "other": "kept here"}


class OnLoopback(Passthrough):
    """Callers may name this machine, where the tests' servers are."""

    def named(self, url: str) -> Egress:
        egress = Egress(f"{url.removesuffix('/')}/v1", self.upstream)
        egress.transport = GuardedTransport(Timeouts(), Guard(Allowed.of(["127.0.0.1"])))
        return egress


def passthrough(kind: type[Passthrough] = Passthrough, **config: Any) -> Passthrough:
    return kind("pass", PassthroughConfig.model_validate(config))


async def test_only_the_keys_that_are_named_go_upstream() -> None:
    async with scripted({CHAT: said()}) as vendor:
        async with started(passthrough(base_url=vendor.url, forward_headers=FORWARD)) as provider:
            await provider.post_chat_completion(with_data(**DATA), chat())
            await provider.post_chat_completion(CALL, chat())
    first, second = (asked.headers for asked in vendor.asked)
    assert (first["Authorization"], first["X-Tenant-ID"]) == ("Bearer theirs", "7")
    assert "kept here" not in str(first)
    assert not {"Authorization", "X-Tenant-ID"} & second.keys()


async def test_the_configs_own_key_wins_over_a_forwarded_one() -> None:
    async with scripted({CHAT: said()}) as vendor:
        config = {"url": vendor.url, "api_key": "ours", "forward_headers": {"maas_token": "authorization"}}
        async with started(passthrough(**config)) as provider:
            await provider.post_chat_completion(with_data(**DATA), chat())
    assert vendor.asked[0].headers.getall("Authorization") == ["Bearer ours"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("config", "uses"),
    [
        ({}, False),
        ({"forward_headers": FORWARD}, True),
        ({"forward_headers": {"maas_token": "authorization"}, "api_key": "ours"}, False),
        ({"forward_headers": {"nothing": "X-Other"}}, False),
        ({"base_url": ""}, True),
    ],
)
async def test_what_goes_along_of_a_callers_own_is_known(config: dict[str, Any], uses: bool) -> None:
    """So that nobody else is asked with the operator's key where the caller's has been refused."""
    async with started(passthrough(**{"base_url": "http://127.0.0.1:9"} | config)) as provider:
        assert provider.uses(ProviderData(DATA)) is uses


async def test_a_callers_key_counts_only_where_it_is_sent() -> None:
    data = ProviderData({"passthrough_api_key": "theirs"})
    async with started(passthrough(base_url="http://127.0.0.1:9")) as provider:
        assert provider.uses(data)
    async with started(passthrough(base_url="http://127.0.0.1:9", api_key="ours")) as provider:
        assert not provider.uses(data)


@pytest.mark.parametrize("value", ["a\r\nX-Admin: 1", "ä", {"a": 1}, ["a"]])
async def test_a_value_that_is_no_line_of_text_is_refused(value: object) -> None:
    call = with_data(tenant_id=value)
    async with scripted({CHAT: said()}) as vendor:
        async with started(passthrough(base_url=vendor.url, forward_headers=FORWARD)) as provider:
            with pytest.raises(BadRequest, match="one line of ASCII"):
                await provider.post_chat_completion(call, chat())
    assert vendor.asked == []


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"forward_headers": {"k": "Host"}}, "'Host' is blocked"),
        ({"forward_headers": {"k": "Transfer-Encoding"}}, "blocked"),
        ({"forward_headers": {"k": "cookie"}}, "blocked"),
        ({"forward_headers": {"k": "X-Forwarded-For"}}, "blocked"),
        ({"forward_headers": {"k": "Proxy-Authorization"}}, "blocked"),
        ({"forward_headers": {"k": "X-Debug"}, "extra_blocked_headers": ["x-debug"]}, "blocked"),
        ({"forward_headers": {"k": "X Tenant"}}, "no header's name"),
        ({"forward_headers": {"k": ""}}, "no header's name"),
        ({"forward_headers": {"__user": "X-User"}}, "reserved"),
        ({"extra_blocked_headers": [" "]}, "empty"),
    ],
)
def test_a_header_that_may_not_be_forwarded_is_refused_in_the_config(config: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        passthrough(base_url="http://localhost", **config)


@pytest.mark.parametrize(("own", "sent"), [({}, "Bearer theirs"), ({"api_key": "ours"}, "Bearer ours")])
async def test_a_callers_key_is_sent_where_the_config_has_none(own: dict[str, str], sent: str) -> None:
    async with scripted({CHAT: said()}) as vendor:
        async with started(passthrough(base_url=vendor.url, **own)) as provider:
            await provider.post_chat_completion(with_data(passthrough_api_key="theirs"), chat())
    assert vendor.asked[0].headers["Authorization"] == sent


async def test_a_server_that_a_caller_names_gets_nothing_of_the_operators() -> None:
    async with scripted({CHAT: said()}) as vendor:
        config = {"network": {"headers": {"X-Team": "ours"}}, "forward_headers": FORWARD}
        async with started(passthrough(OnLoopback, **config)) as provider:
            call = with_data(passthrough_url=vendor.url, passthrough_api_key="theirs", tenant_id="a")
            await provider.post_chat_completion(call, chat())
            vendor.script[CHAT] = Stream([chunk("Blue."), chunk(finish="stop")])
            assert await heard(await provider.post_chat_completion(call, chat(stream=True))) == "Blue."
    for asked in vendor.asked:
        assert (asked.headers["Authorization"], asked.headers["X-Tenant-ID"]) == ("Bearer theirs", "a")
        assert "X-Team" not in asked.headers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1"])
async def test_a_caller_may_not_lead_into_the_servers_own_network(host: str) -> None:
    async with scripted({CHAT: said()}) as vendor, started(passthrough()) as provider:
        url = f"http://{host}:{vendor.url.rpartition(':')[2]}"
        with pytest.raises(BadRequest) as refused:
            await provider.post_chat_completion(with_data(passthrough_url=url), chat())
        with pytest.raises(BadRequest):
            await heard(await provider.post_chat_completion(with_data(passthrough_url=url), chat(stream=True)))
    assert refused.value.param == "passthrough_url"
    assert vendor.asked == []


async def test_a_configured_address_is_asked_whatever_a_caller_names() -> None:
    async with scripted({CHAT: said()}) as ours, scripted({CHAT: said()}) as theirs:
        async with started(passthrough(OnLoopback, base_url=ours.url, api_key="ours")) as provider:
            await provider.post_chat_completion(with_data(passthrough_url=theirs.url), chat())
    assert len(ours.asked) == 1
    assert theirs.asked == []


async def test_without_any_address_the_caller_is_told_how_to_name_one() -> None:
    async with started(passthrough()) as provider:
        with pytest.raises(BadRequest, match="X-LlamaStack-Provider-Data") as refused:
            await provider.post_chat_completion(CALL, chat())
        assert await provider.get_models(CALL) == []
        assert (await provider.health()).ok
    assert refused.value.param == "passthrough_url"


def test_the_operators_key_is_for_the_operators_address_alone() -> None:
    with pytest.raises(ValidationError, match="api_key is for base_url alone"):
        passthrough(api_key="ours")
