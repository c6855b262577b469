"""POST and DELETE /v1/models."""

import asyncio
from typing import Any

import httpx
import pytest

from apps.access.models import ApiKey
from apps.registry import service
from apps.registry.models import Model, Origin, Provider
from apps.registry.schemas import ProviderModel
from llamastack.call import Principal
from llamastack.db import db
from llamastack.errors import PermissionDenied
from llamastack.stack import LlamaStack
from tests.unit.inference.test_chat_completions import HELLO, URL


async def test_a_registered_model_answers_at_once_and_then_is_gone(client: httpx.AsyncClient, sky: Provider) -> None:
    given = {"model_id": "my/blue", "provider_id": "sky", "provider_model_id": "sky-2", "metadata": {"note": "mine"}}
    made = (await client.post("/v1/models", json=given)).json()
    assert (made["identifier"], made["provider_resource_id"], made["metadata"]) == (
        "my/blue",
        "sky-2",
        {"note": "mine"},
    )
    assert (await client.post(URL, json={"model": "my/blue", "messages": HELLO})).status_code == 200
    deleted = await client.delete("/v1/models/my/blue")
    assert deleted.json() == {"id": "my/blue", "object": "model", "deleted": True}
    assert (await client.get("/v1/models/my/blue")).status_code == 404
    assert (await client.delete("/v1/models/my/blue")).status_code == 404


async def test_the_owner_and_the_tenant_are_the_callers(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    _, secret = await db(ApiKey.issue, "ops", "maya", admin=True, tenant="blue")
    await running.live.refresh()
    headers = {"Authorization": f"Bearer {secret}"}
    await client.post("/v1/models", json={"model_id": "mine", "provider_id": "sky"}, headers=headers)
    row = await db(Model.objects.get, identifier="mine")
    assert (row.tenant, row.owner, row.origin) == ("blue", "maya", Origin.api)
    assert (await client.get("/v1/models/mine")).status_code == 404
    assert (await client.get("/v1/models/mine", headers=headers)).status_code == 200


@pytest.mark.parametrize(("model_id", "provider"), [("sky/new", "sky"), ("new", "sky")])
async def test_the_provider_may_be_understood(
    client: httpx.AsyncClient, sky: Provider, model_id: str, provider: str
) -> None:
    made = (await client.post("/v1/models", json={"model_id": model_id})).json()
    assert made["provider_id"] == provider


@pytest.mark.parametrize(
    ("given", "status", "field"),
    [
        ({}, 400, "model_id"),
        ({"model_id": "m", "provider_id": "nobody"}, 400, "provider_id"),
        ({"model_id": "m", "model_type": "smell"}, 400, "model_type"),
        ({"model_id": "m", "model_type": "embedding"}, 400, "metadata"),
        ({"model_id": "m", "provider": "sky"}, 400, "provider"),
        ({"model_id": "m", "metadata": {"notes": ["enc:v1:stolen"]}}, 400, "metadata"),
        ({"model_id": "x" * 256}, 400, "model_id"),
        ({"model_id": "nul\x00"}, 400, "model_id"),
        ({"model_id": "two\nlines"}, 400, "model_id"),
    ],
)
async def test_what_cannot_be_registered(
    client: httpx.AsyncClient, sky: Provider, given: Any, status: int, field: str | None
) -> None:
    response = await client.post("/v1/models", json=given)
    assert response.status_code == status, response.text
    assert field is None or response.json()["error"]["param"] == field


async def test_a_name_that_is_taken_is_a_conflict(client: httpx.AsyncClient, sky: Provider) -> None:
    given = {"model_id": "twice", "provider_id": "sky"}
    assert (await client.post("/v1/models", json=given)).status_code == 200
    assert (await client.post("/v1/models", json=given)).status_code == 409


async def test_a_key_that_is_no_admins_may_change_nothing(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    _, secret = await db(ApiKey.issue, "app", "maya")
    await running.live.refresh()
    headers = {"Authorization": f"Bearer {secret}"}
    refused = await client.post("/v1/models", json={"model_id": "m", "provider_id": "sky"}, headers=headers)
    assert refused.status_code == 403
    assert (await client.delete("/v1/models/sky/sky-1", headers=headers)).status_code == 403
    assert (await client.get("/v1/models/sky/sky-1", headers=headers)).status_code == 200


async def test_an_admin_of_one_tenant_cannot_remove_what_all_share(sky: Provider) -> None:
    key = (await db(Model.objects.get, identifier="sky/sky-1")).pk
    with pytest.raises(PermissionDenied):
        await db(service.unregister_model, Principal("maya", "blue", frozenset({"admin"})), key)


async def test_the_environment_is_the_operators(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "hunter2")
    hidden = "${env.A_SECRET}"
    given = {"model_id": "m", "provider_id": "sky", "provider_model_id": hidden, "metadata": {"note": hidden}}
    await client.post("/v1/models", json=given)
    await db(service.record_listing, sky.pk, [ProviderModel(provider_model_id=hidden)])
    theirs = Provider(identifier="theirs", provider_type="remote::openai", tenant="default")
    await db(service.edit_provider, theirs, {"base_url": f"http://127.0.0.1:9/{hidden}"}, True)
    await running.live.refresh()
    for path in ("/v1/models", "/v1/providers"):
        answer = await client.get(path)
        assert ("hunter2" in answer.text, answer.status_code) == (False, 200)


async def test_one_of_many_who_want_a_name_gets_it(client: httpx.AsyncClient, sky: Provider) -> None:
    given = {"model_id": "wanted", "provider_id": "sky"}
    answers = await asyncio.gather(*(client.post("/v1/models", json=given) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 7]
