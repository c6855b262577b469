"""Any server of the OpenAI dialect, with headers from the caller's provider data."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from apps.inference.providers.remote.passthrough import Passthrough, PassthroughConfig
from llamastack.errors import BadRequest
from llamastack.provider_data import ProviderData
from tests.unit.inference.scripted import CALL, chat, said, scripted, started

CHAT = "POST /v1/chat/completions"
FORWARD = {"maas_token": "Authorization", "tenant_id": "X-Tenant-ID"}
DATA = {"maas_token": SecretStr("Bearer theirs"), "tenant_id": 7, "other": "kept here"}


def passthrough(**config: Any) -> Passthrough:
    return Passthrough("pass", PassthroughConfig.model_validate(config))


async def test_only_the_keys_that_are_named_go_upstream() -> None:
    async with scripted({CHAT: said()}) as vendor:
        async with started(passthrough(base_url=vendor.url, forward_headers=FORWARD)) as provider:
            await provider.post_chat_completion(replace(CALL, provider_data=ProviderData(DATA)), chat())
            await provider.post_chat_completion(CALL, chat())
    first, second = (asked.headers for asked in vendor.asked)
    assert (first["Authorization"], first["X-Tenant-ID"]) == ("Bearer theirs", "7")
    assert "kept here" not in str(first)
    assert not {"Authorization", "X-Tenant-ID"} & second.keys()


async def test_the_configs_own_key_wins_over_a_forwarded_one() -> None:
    async with scripted({CHAT: said()}) as vendor:
        config = {"url": vendor.url, "api_key": "ours", "forward_headers": {"maas_token": "authorization"}}
        async with started(passthrough(**config)) as provider:
            await provider.post_chat_completion(replace(CALL, provider_data=ProviderData(DATA)), chat())
    assert vendor.asked[0].headers.getall("Authorization") == ["Bearer ours"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ["a\r\nX-Admin: 1", "a\u2028b", {"a": 1}, ["a"]])
async def test_a_value_that_is_no_line_of_text_is_refused(value: object) -> None:
    call = replace(CALL, provider_data=ProviderData({"tenant_id": value}))
    async with scripted({CHAT: said()}) as vendor:
        async with started(passthrough(base_url=vendor.url, forward_headers=FORWARD)) as provider:
            with pytest.raises(BadRequest, match="one line of text"):
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
