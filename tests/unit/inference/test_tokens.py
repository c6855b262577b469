"""When access tokens are renewed, and by whom."""

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from apps.inference.providers.remote.azure import AzureConfig
from apps.inference.providers.remote.tokens import Credentials, Tokens
from apps.inference.providers.remote.watsonx.provider import WatsonXConfig
from apps.registry.secrets import addresses
from llamastack.errors import UpstreamError


@pytest.mark.parametrize(("config", "field"), [(AzureConfig, "authority_host"), (WatsonXConfig, "iam_url")])
def test_a_secret_is_asked_for_again_where_its_token_server_changes(config: type[BaseModel], field: str) -> None:
    default = config.model_fields[field].default
    assert addresses({field: default}) == {field: "https://" + default.split("/")[2]}


class Issuer(Credentials):
    """Issues numbered tokens that hold for `seconds`, or fails, or waits until it may."""

    def __init__(self, seconds: float = 3600) -> None:
        self.seconds = seconds
        self.issued = 0
        self.fails = False
        self.may = asyncio.Event()
        self.may.set()

    async def issue(self) -> Any:
        self.issued += 1
        await self.may.wait()
        if self.fails:
            raise UpstreamError("it is down")
        return {"access_token": f"t{self.issued}", "expires_in": self.seconds}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_token_is_renewed_before_it_ends_and_not_earlier() -> None:
    issuer, clock = Issuer(), Clock()
    tokens = Tokens(issuer, clock)
    assert [await tokens.current(), await tokens.current()] == ["t1", "t1"]
    clock.now += 3600 - 226
    assert await tokens.current() == "t1"
    clock.now += 2
    assert await tokens.current() == "t2"


async def test_a_short_token_is_used_for_half_its_time() -> None:
    issuer, clock = Issuer(seconds=10), Clock()
    tokens = Tokens(issuer, clock)
    assert await tokens.current() == "t1"
    clock.now += 4
    assert await tokens.current() == "t1"
    clock.now += 2
    assert await tokens.current() == "t2"


async def test_one_asks_for_all_who_wait() -> None:
    issuer = Issuer()
    issuer.may.clear()
    tokens = Tokens(issuer, Clock())
    waiting = [asyncio.create_task(tokens.current()) for _ in range(5)]
    await asyncio.sleep(0)
    issuer.may.set()
    assert await asyncio.gather(*waiting) == ["t1"] * 5
    assert issuer.issued == 1


async def test_while_one_renews_the_others_use_what_still_holds() -> None:
    issuer, clock = Issuer(), Clock()
    tokens = Tokens(issuer, clock)
    await tokens.current()
    clock.now += 3600 - 100
    issuer.may.clear()
    renewing = asyncio.create_task(tokens.current())
    await asyncio.sleep(0)
    assert await tokens.current() == "t1"
    issuer.may.set()
    assert await renewing == "t2"


async def test_who_leaves_while_renewing_leaves_the_turn_to_the_next() -> None:
    issuer = Issuer()
    issuer.may.clear()
    tokens = Tokens(issuer, Clock())
    leaving, waiting = asyncio.create_task(tokens.current()), asyncio.create_task(tokens.current())
    await asyncio.sleep(0)
    leaving.cancel()
    issuer.may.set()
    assert await waiting == "t2"


async def test_a_renewal_that_fails_costs_nothing_while_the_old_token_holds() -> None:
    issuer, clock = Issuer(), Clock()
    tokens = Tokens(issuer, clock)
    await tokens.current()
    clock.now += 3600 - 200
    issuer.fails = True
    assert [await tokens.current(), await tokens.current()] == ["t1", "t1"]
    assert issuer.issued == 2  # it is not asked again at once
    clock.now += 21
    assert await tokens.current() == "t1"
    assert issuer.issued == 3
    clock.now += 200
    with pytest.raises(UpstreamError, match="it is down"):
        await tokens.current()
    issuer.fails = False
    assert await tokens.current() == "t5"
