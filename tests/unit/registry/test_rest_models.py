"""/manage/models and /manage/keys."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone

from apps.access.models import ApiKey
from apps.registry.models import Model, Provider
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.inference.test_chat_completions import HELLO, URL
from tests.unit.registry.test_rest import key_of, log_in, with_token

MODELS = "/manage/models"
SKY = f"{MODELS}/sky/sky-1"
KEYS = "/manage/keys"


async def test_a_model_with_slashes_is_made_read_changed_and_removed(client: httpx.AsyncClient, sky: Provider) -> None:
    given = {"model_id": "my/own/blue", "provider_id": "sky", "provider_model_id": "sky-2", "aliases": ["blue"]}
    made = await client.post(MODELS, json=given)
    assert (made.status_code, made.headers["Location"]) == (201, "/manage/models/my/own/blue")
    assert (await client.post(URL, json={"model": "blue", "messages": HELLO})).status_code == 200
    address = made.headers["Location"]
    edited = (await client.patch(address, json={"metadata": {"note": "mine"}})).json()
    assert (edited["metadata"], edited["aliases"], edited["provider_model_id"]) == ({"note": "mine"}, ["blue"], "sky-2")
    replaced = (await client.put(address, json={"model_id": "my/own/blue", "provider_id": "sky"})).json()
    assert (replaced["metadata"], replaced["aliases"], replaced["provider_model_id"]) == ({}, [], None)
    assert (await client.delete(address)).status_code == 204
    assert (await client.get(address)).status_code == 404


async def test_a_model_is_switched_off_and_on(client: httpx.AsyncClient, sky: Provider) -> None:
    chat = {"model": "sky/sky-1", "messages": HELLO}
    await client.patch(SKY, json={"enabled": False})
    assert (await client.post(URL, json=chat)).status_code == 404
    assert [row["model_id"] for row in (await client.get(MODELS, params={"enabled": "false"})).json()["results"]] == [
        "sky/sky-1"
    ]
    await client.patch(SKY, json={"enabled": True})
    assert (await client.post(URL, json=chat)).status_code == 200


async def test_what_was_shown_comes_back_without_a_change(client: httpx.AsyncClient, sky: Provider) -> None:
    shown = (await client.get(SKY)).json()
    assert (await client.put(SKY, json=shown)).json() == shown
    assert not (await db(Model.objects.get, identifier="sky/sky-1")).override


@pytest.mark.parametrize(
    ("given", "status", "field"),
    [
        ({"provider_id": "skyy"}, 400, "provider_id"),
        ({"model_type": "smell"}, 400, "model_type"),
        ({"model_type": "embedding"}, 400, "metadata"),
        ({"aliases": ["sky/sky-2"]}, 409, "aliases"),
        ({"aliases": [1, ""]}, 400, "aliases[1]"),
        ({"aliases": ["x" * 256]}, 400, "aliases[0]"),
        ({"metadata": "none"}, 400, "metadata"),
        ({"metadata": {"note": "x" * 100_001}}, 400, "metadata"),
        ({"metadata": {"notes": ["enc:v1:stolen"]}}, 400, "metadata"),
        ({"model_id": "other"}, 400, "model_id"),
        ({"default": None}, 400, "default"),
        ({"alias": []}, 400, "alias"),
        ({"version": 1}, 409, "version"),
    ],
)
async def test_what_a_model_may_not_become(
    client: httpx.AsyncClient, sky: Provider, given: Any, status: int, field: str
) -> None:
    refused = await client.patch(SKY, json=given)
    assert (refused.status_code, refused.json()["error"]["param"]) == (status, field), refused.text
    assert not (await db(Model.objects.get, identifier="sky/sky-1")).override


@pytest.mark.parametrize("name", ["", "two\nlines", "x" * 256, "sky/sky-1"])
async def test_names_that_a_model_cannot_have(client: httpx.AsyncClient, sky: Provider, name: str) -> None:
    await db(Model.objects.update, tenant="default")
    refused = await client.post(MODELS, json={"model_id": name, "provider_id": "sky"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (409 if name == "sky/sky-1" else 400, "model_id")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"model_type": "llm"}, ["sky/sky-1", "sky/sky-2"]),
        ({"model_type": "embedding"}, []),
        ({"provider_id": "sky", "default": "true"}, ["sky/sky-2"]),
        ({"search": "blue"}, ["sky/sky-2"]),
        ({"origin": "yaml"}, []),
        ({"gone": "true"}, []),
    ],
)
async def test_models_are_filtered_and_searched(
    client: httpx.AsyncClient, sky: Provider, query: dict[str, str], found: list[str]
) -> None:
    await client.patch(f"{MODELS}/sky/sky-2", json={"aliases": ["blue"], "default": True})
    listed = (await client.get(MODELS, params=query)).json()["results"]
    assert [row["model_id"] for row in listed] == found


# --- keys ---


async def test_a_key_tells_its_secret_once(client: httpx.AsyncClient, running: LlamaStack) -> None:
    ops = await key_of(running, admin=True)
    expires = (timezone.now() + timedelta(days=1)).isoformat()
    made = (await client.post(KEYS, json={"name": "app", "expires_at": expires}, headers=ops)).json()
    assert (made["owner"], made["admin"], made["state"]) == ("maya", False, "valid")
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert (await client.get("/v1/models", headers=headers)).status_code == 200
    row = await db(ApiKey.objects.get, name="app")
    for path in (KEYS, f"{KEYS}/{made['prefix']}"):
        told = await client.get(path, headers=ops)
        assert (made["prefix"] in told.text, made["secret"] in told.text, row.digest in told.text) == (
            True,
            False,
            False,
        )


async def test_a_revoked_key_is_refused_at_once(client: httpx.AsyncClient, running: LlamaStack) -> None:
    ops = await key_of(running, admin=True)
    made = (await client.post(KEYS, json={"name": "app"}, headers=ops)).json()
    revoked = await client.post(f"{KEYS}/{made['prefix']}/revoke", headers=ops)
    assert (revoked.status_code, revoked.json()["state"]) == (200, "revoked")
    assert made["secret"] not in revoked.text
    assert not [key for key in running.live.snapshot.keys.values() if key.principal.name == "app"]
    assert (await client.get(KEYS, params={"revoked": "true"}, headers=ops)).json()["count"] == 1
    lost = await client.post(f"{KEYS}/{made['prefix'][:9]}/revoke", headers=ops)
    assert (lost.status_code, made["prefix"] in lost.json()["detail"]) == (404, True)


async def test_who_makes_a_key_says_who_it_is(client: httpx.AsyncClient, running: LlamaStack) -> None:
    """It would outlive the time in which nobody is asked for one."""
    assert (await client.get(KEYS)).status_code == 200
    assert (await client.post(KEYS, json={"name": "mine", "admin": True})).status_code == 403
    key, _ = await db(ApiKey.issue, "app", "maya")
    assert (await client.post(f"{KEYS}/{key.prefix}/revoke")).status_code == 403


async def test_keys_stay_in_their_tenant(client: httpx.AsyncClient, running: LlamaStack) -> None:
    blue = await key_of(running, admin=True, tenant="blue")
    other, _ = await db(ApiKey.issue, "app", "maya")
    assert (await client.post(f"{KEYS}/{other.prefix}/revoke", headers=blue)).status_code == 404
    refused = await client.post(KEYS, json={"name": "app", "tenant": "default"}, headers=blue)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tenant")
    made = (await client.post(KEYS, json={"name": "app", "tenant": "blue"}, headers=blue)).json()
    assert made["tenant"] == "blue"


async def test_staff_make_no_admins_keys(client: httpx.AsyncClient) -> None:
    from django.contrib.auth.models import Permission

    from apps.access.models import User

    await log_in(client, is_staff=True)
    rights = await db(lambda: list(Permission.objects.filter(codename="add_apikey")))
    await db(lambda: User.objects.get().user_permissions.set(rights))
    token = await with_token(client)
    assert (await client.post(KEYS, json={"name": "a", "admin": True}, headers=token)).status_code == 403
    assert (await client.post(KEYS, json={"name": "a"}, headers=token)).status_code == 201


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"name": "a", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "a", "expires_at": "soon"}, "expires_at"),
        ({"name": "a", "scope": "all"}, "scope"),
    ],
)
async def test_a_key_that_cannot_be_made(
    client: httpx.AsyncClient, running: LlamaStack, given: Any, field: str
) -> None:
    refused = await client.post(KEYS, json=given, headers=await key_of(running, admin=True))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)
