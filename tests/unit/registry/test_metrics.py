"""GET /metrics: what it says, and to whom."""

import asyncio
import time

import httpx
import pytest
from pytest_django.fixtures import Settings

from apps.access.models import User
from apps.registry.models import Provider
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.core.test_metrics import values
from tests.unit.pages import Browser
from tests.unit.registry.test_rest import key_of

HELLO = {"model": "sky/sky-1", "messages": [{"role": "user", "content": "Hello"}]}


async def read(client: httpx.AsyncClient, **options: dict[str, str]) -> dict[str, float]:
    page = await client.get("/metrics", **options)
    assert page.status_code == 200, page.text
    return values(page.text)


def of_both(told: dict[str, float], name: str, labels: str) -> float:
    """What both lanes have counted."""
    return sum(told.get(f"llama_stack_{name} lane={lane} {labels}", 0) for lane in ("fast", "django"))


async def test_requests_are_counted_by_operation_and_status(client: httpx.AsyncClient, sky: Provider) -> None:
    wanted = {
        "operation=chat status=200": 2,
        "operation=chat status=404": 1,
        "operation=GET /v1/models/<path:model_id> status=404": 1,
        "operation=GET / status=404": 1,
        "operation=refused status=400": 1,
    }
    before = await read(client)
    for model in ("sky/sky-1", "sky/sky-1", "sky/none-such"):
        await client.post("/v1/chat/completions", json=HELLO | {"model": model})
    await client.get("/v1/models/none/such")
    await client.get("/v1/nothing")
    await client.get("/v1/models", headers={"Host": "elsewhere"})
    after = await read(client)
    for labels, times in wanted.items():
        assert of_both(after, "requests_total", labels) - of_both(before, "requests_total", labels) == times, labels
    measured = ("request_seconds_count", "operation=chat")
    assert of_both(after, *measured) - of_both(before, *measured) >= 2


async def test_the_server_tells_its_state(client: httpx.AsyncClient, running: LlamaStack, sky: Provider) -> None:
    async with running.live.pool.use(running.live.snapshot.providers[sky.pk]):
        told = await read(client)
    assert told["llama_stack_calls_in_flight"] >= 1  # a health check may be another one
    assert told["llama_stack_snapshot_version worker=1"] == running.live.snapshot.version
    assert told["llama_stack_provider_down provider=sky tenant=*"] == 0
    assert told["llama_stack_worker_resident_bytes worker=1"] > 1e6
    async with asyncio.timeout(30):
        while (await read(client))["llama_stack_calls_in_flight"]:
            await asyncio.sleep(0.02)


async def test_a_stall_of_the_loop_is_seen(client: httpx.AsyncClient, running: LlamaStack) -> None:
    running.watch.start()
    await asyncio.sleep(0.05)
    time.sleep(0.3)
    await asyncio.sleep(0.05)
    assert (await read(client))["llama_stack_loop_stall_seconds worker=1"] > 0.2


async def test_a_server_is_ready_until_its_stack_stops(client: httpx.AsyncClient, running: LlamaStack) -> None:
    running.watch.start()
    assert (await read(client))["llama_stack_workers_ready"] == 1
    running.watch.stop()
    assert (await read(client))["llama_stack_workers_ready"] == 0


async def test_where_keys_are_required_it_is_for_an_admins_key(
    client: httpx.AsyncClient, running: LlamaStack, settings: Settings
) -> None:
    settings.AUTH_REQUIRED = True
    for headers in ({}, {"Authorization": "Bearer lls-wrong"}):
        refused = await client.get("/metrics", headers=headers)
        assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
    for key in (await key_of(running), await key_of(running, admin=True, tenant="north")):
        refused = await client.get("/metrics", headers=key)
        assert (refused.status_code, "default tenant" in refused.json()["detail"]) == (403, True)
    await read(client, headers=await key_of(running, admin=True))


@pytest.mark.parametrize("superuser", [True, False])
async def test_in_person_it_is_for_superusers(browser: Browser, settings: Settings, superuser: bool) -> None:
    settings.AUTH_REQUIRED = True
    await db(User.objects.filter(username="ada").update, is_superuser=superuser)
    assert (await browser.http.get("/metrics")).status_code == (200 if superuser else 401)
