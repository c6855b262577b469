"""PATCH /v1/models/{model_id}, and the names and the default that POST may give."""

from typing import Any

import httpx
import pytest

from apps.access.models import ApiKey
from apps.registry import service
from apps.registry.models import Model, Provider
from llamastack.config import ModelEntry, ProviderEntry, StackConfig
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.inference.test_chat_completions import HELLO, URL

MODEL = "/v1/models/sky/sky-1"


async def test_a_model_is_known_by_new_names_at_once(client: httpx.AsyncClient, sky: Provider) -> None:
    edited = (await client.patch(MODEL, json={"aliases": ["my/own", "blue"], "default": True})).json()
    assert (edited["aliases"], edited["default"], edited["provider_id"]) == (["my/own", "blue"], True, "sky")
    assert (await client.post(URL, json={"model": "my/own", "messages": HELLO})).status_code == 200
    assert (await client.get("/v1/models")).json()["data"][0]["id"] == "sky/sky-1"


async def test_only_what_is_given_changes(client: httpx.AsyncClient, sky: Provider) -> None:
    await client.patch(MODEL, json={"metadata": {"a": 1, "b": 2}, "aliases": ["blue"]})
    edited = (await client.patch("/v1/models/blue", json={"metadata": {"b": 3}})).json()
    assert (edited["metadata"], edited["aliases"]) == ({"b": 3}, ["blue"])
    assert (await client.patch(MODEL, json={})).json() == edited
    assert (await db(Model.objects.get, identifier="sky/sky-1")).override == {
        "aliases": ["blue"],
        "metadata": {"b": 3},
    }


async def test_a_model_moves_to_another_name_of_its_provider(client: httpx.AsyncClient, sky: Provider) -> None:
    await client.post("/v1/models", json={"model_id": "mine", "provider_id": "sky", "provider_model_id": "sky-1"})
    moved = (await client.patch("/v1/models/mine", json={"provider_model_id": "sky-2"})).json()
    assert moved["provider_resource_id"] == "sky-2"
    named = (await client.patch("/v1/models/mine", json={"provider_model_id": None})).json()
    assert named["provider_resource_id"] == "mine"


async def test_a_model_is_registered_with_its_other_names(client: httpx.AsyncClient, sky: Provider) -> None:
    given = {"model_id": "mine", "provider_id": "sky", "aliases": ["gpt-4o"], "default": True}
    made = (await client.post("/v1/models", json=given)).json()
    assert (made["aliases"], made["default"]) == (["gpt-4o"], True)
    assert (await client.get("/v1/models/gpt-4o")).json()["id"] == "mine"
    taken = await client.post("/v1/models", json={"model_id": "other", "provider_id": "sky", "aliases": ["mine"]})
    assert (taken.status_code, taken.json()["error"]["param"]) == (409, "aliases")


@pytest.mark.parametrize(
    ("given", "status", "field"),
    [
        ({"provider_id": "nobody"}, 400, "provider_id"),
        ({"provider_id": None}, 400, "provider_id"),
        ({"model_type": "embedding"}, 400, "metadata"),
        ({"model_type": "smell"}, 400, "model_type"),
        ({"aliases": ["sky/sky-2"]}, 409, "aliases"),
        ({"aliases": "one"}, 400, "aliases"),
        ({"aliases": [""]}, 400, "aliases[0]"),
        ({"aliases": ["nul\x00"]}, 400, "aliases[0]"),
        ({"aliases": [f"a{number}" for number in range(101)]}, 400, "aliases"),
        ({"metadata": [1]}, 400, "metadata"),
        ({"metadata": {"notes": ["enc:v1:stolen"]}}, 400, "metadata"),
        ({"default": "maybe"}, 400, "default"),
        ({"model_id": "other"}, 400, "model_id"),
    ],
)
async def test_what_a_model_may_not_become(
    client: httpx.AsyncClient, sky: Provider, given: Any, status: int, field: str
) -> None:
    response = await client.patch(MODEL, json=given)
    assert (response.status_code, response.json()["error"]["param"]) == (status, field), response.text
    assert not (await db(Model.objects.get, identifier="sky/sky-1")).override


async def test_a_model_nobody_knows_is_404(client: httpx.AsyncClient, sky: Provider) -> None:
    assert (await client.patch("/v1/models/sky/sky-9", json={"default": True})).status_code == 404


async def test_an_edit_lies_over_the_yaml_but_not_over_the_environment(
    client: httpx.AsyncClient, running: LlamaStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_MODEL", "sky-2")
    provider = ProviderEntry(
        api="inference", provider_id="sky", provider_type="remote::openai", declared={"base_url": "http://127.0.0.1:9"}
    )
    written = {"model_id": "m", "provider_id": "sky", "provider_model_id": "${env.THE_MODEL}"}
    model = ModelEntry(model_id="m", provider_id="sky", provider_model_id="sky-2", declared=written)
    config = StackConfig(image_name="test", providers={"inference": [provider]})
    config.registered_resources.models.append(model)
    await db(service.apply, config)
    await running.live.refresh()
    assert (await client.patch("/v1/models/m", json={"metadata": {"mine": True}})).json()["metadata"] == {"mine": True}
    assert (await client.patch("/v1/models/m", json={"provider_model_id": "sky-2"})).status_code == 200
    refused = (await client.patch("/v1/models/m", json={"provider_model_id": "sky-1"})).json()["error"]
    assert (refused["param"], refused["code"]) == ("provider_model_id", "read_only")


async def test_who_is_no_admin_or_of_another_tenant_changes_nothing(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    _, app = await db(ApiKey.issue, "app", "maya")
    _, blue = await db(ApiKey.issue, "ops", "bob", admin=True, tenant="blue")
    await running.live.refresh()
    for secret in (app, blue):
        headers = {"Authorization": f"Bearer {secret}"}
        assert (await client.patch(MODEL, json={"default": True}, headers=headers)).status_code == 403


async def test_who_is_no_admin_sees_no_config_of_a_provider(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    _, app = await db(ApiKey.issue, "app", "maya")
    await running.live.refresh()
    headers = {"Authorization": f"Bearer {app}"}
    for path in ("/v1/providers", "/v1/providers/sky"):
        told = await client.get(path, headers=headers)
        assert ("127.0.0.1" in told.text, "remote::openai" in told.text) == (False, True)
        assert "127.0.0.1" in (await client.get(path)).text
