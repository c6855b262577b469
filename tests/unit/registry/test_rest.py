"""/manage/: who may, what every view does alike, and its description."""

import json
import subprocess
import sys
from typing import Any

import httpx
import pytest
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from pytest_django.fixtures import Settings

from apps.access.models import ApiKey, User
from apps.registry.models import Provider
from llamastack import settings as ours
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.conftest import session_of

PROVIDERS = "/manage/providers"
NEW = {"provider_id": "two", "provider_type": "remote::openai", "config": {"base_url": "http://127.0.0.1:9/v1"}}


async def key_of(running: LlamaStack, **fields: Any) -> dict[str, str]:
    """Headers with a new key."""
    _, secret = await db(ApiKey.issue, "script", "maya", **fields)
    await running.live.refresh()
    return {"Authorization": f"Bearer {secret}"}


async def log_in(client: httpx.AsyncClient, **rights: Any) -> None:
    user = await db(User.objects.create, username="ada", **rights)
    client.cookies.set(ours.SESSION_COOKIE_NAME, await db(session_of, user))


async def with_token(client: httpx.AsyncClient) -> dict[str, str]:
    """Headers with the CSRF token that a page hands out."""
    await client.get("/manage/", headers={"Accept": "text/html"})
    return {"X-CSRFToken": client.cookies[ours.CSRF_COOKIE_NAME]}


def named(listing: httpx.Response) -> list[dict[str, Any]]:
    """What a list's rows are, without the health that may be found out between two requests."""
    return [
        {k: v for k, v in row.items() if k not in ("state", "reason", "checked_at")}
        for row in listing.json()["results"]
    ]


# --- who may ---


async def test_without_a_key_the_loopback_has_the_anonymous_admin(client: httpx.AsyncClient) -> None:
    links = (await client.get("/manage/")).json()
    assert links["providers"] == "http://localhost/manage/providers"
    made = await client.post(PROVIDERS, json=NEW)
    assert (made.status_code, made.json()["owner"], made.json()["tenant"]) == (201, "anonymous", "default")


async def test_where_keys_are_required_nobody_else_comes_in(
    client: httpx.AsyncClient, running: LlamaStack, settings: Settings
) -> None:
    settings.AUTH_REQUIRED = True
    for headers in ({}, {"Authorization": "Bearer lls-wrong"}):
        refused = await client.get(PROVIDERS, headers=headers)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert refused.json()["error"]["type"] == "authentication_error"
    assert (await client.get(PROVIDERS, headers=await key_of(running, admin=True))).status_code == 200


async def test_a_page_says_what_is_missing_where_nobody_has_logged_in(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    settings.AUTH_REQUIRED = True
    page = await client.get(PROVIDERS, headers={"Accept": "text/html"})
    assert (page.status_code, "/admin/login/?next=/manage/providers" in page.text) == (401, True)


@pytest.mark.parametrize("path", ["/manage/", PROVIDERS, "/manage/models", "/manage/keys", "/manage/nothing"])
async def test_a_key_that_is_no_admins_may_not_even_look(
    client: httpx.AsyncClient, running: LlamaStack, path: str
) -> None:
    refused = await client.get(path, headers=await key_of(running))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")


async def test_a_session_writes_with_its_csrf_token_alone(client: httpx.AsyncClient) -> None:
    await log_in(client, is_staff=True, is_superuser=True)
    refused = await client.post(PROVIDERS, json=NEW)
    assert (refused.status_code, "CSRF" in refused.json()["detail"]) == (403, True)
    made = await client.post(PROVIDERS, json=NEW, headers=await with_token(client))
    assert (made.status_code, made.json()["owner"], made.json()["tenant"]) == (201, "ada", "*")
    assert made.json()["origin"] == "admin"


async def test_staff_do_what_they_have_the_permission_for(client: httpx.AsyncClient, sky: Provider) -> None:
    from django.contrib.auth.models import Permission

    await log_in(client, is_staff=True)
    assert (await client.get(PROVIDERS)).status_code == 403

    def permit() -> None:
        rights = Permission.objects.filter(codename__in=("view_provider", "change_provider", "add_provider"))
        User.objects.get(username="ada").user_permissions.set(rights)

    await db(permit)
    assert (await client.get(PROVIDERS)).json()["count"] == 1
    token = await with_token(client)
    shared = await client.patch(f"{PROVIDERS}/inference/sky", json={"enabled": False}, headers=token)
    assert (shared.status_code, "superuser" in shared.json()["detail"]) == (403, True)
    made = await client.post(PROVIDERS, json=NEW, headers=token)
    assert (made.status_code, made.json()["tenant"]) == (201, "default")
    assert (await client.delete(f"{PROVIDERS}/inference/two", headers=token)).status_code == 403
    assert (await client.get("/manage/models")).status_code == 403


async def test_pages_of_other_sites_and_forms_are_refused(client: httpx.AsyncClient) -> None:
    foreign = await client.post(PROVIDERS, json=NEW, headers={"Origin": "https://evil.example"})
    form = await client.post(PROVIDERS, data={"provider_id": "two"})
    assert (foreign.status_code, form.status_code) == (403, 400)
    assert not await db(Provider.objects.count)


async def test_tenants_do_not_see_each_other(client: httpx.AsyncClient, running: LlamaStack, sky: Provider) -> None:
    blue = await key_of(running, admin=True, tenant="blue")
    green = await key_of(running, admin=True, tenant="green")
    assert (await client.post(PROVIDERS, json=NEW, headers=blue)).json()["tenant"] == "blue"
    address = f"{PROVIDERS}/inference/two"
    for method in ("GET", "PATCH", "DELETE"):
        answer = await client.request(method, address, json={"enabled": False}, headers=green)
        assert (answer.status_code, "two" in answer.json()["detail"]) == (404, True)
    assert [row["provider_id"] for row in (await client.get(PROVIDERS, headers=green)).json()["results"]] == ["sky"]
    shared = await client.patch(f"{PROVIDERS}/inference/sky", json={"enabled": False}, headers=blue)
    assert shared.status_code == 403


async def test_a_tenants_own_row_goes_before_the_shared_one(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    blue = await key_of(running, admin=True, tenant="blue")
    await client.post(PROVIDERS, json=NEW | {"provider_id": "sky"}, headers=blue)
    address = f"{PROVIDERS}/inference/sky"
    assert (await client.get(address, headers=blue)).json()["tenant"] == "blue"
    assert (await client.get(address, params={"tenant": "*"}, headers=blue)).json()["tenant"] == "*"
    assert (await client.get(address)).json()["tenant"] == "*"


# --- what every view does alike ---


async def test_a_list_comes_in_pages(client: httpx.AsyncClient, sky: Provider) -> None:
    page = (await client.get("/manage/models", params={"page_size": 1, "ordering": "-identifier"})).json()
    assert (page["count"], [row["model_id"] for row in page["results"]]) == (2, ["sky/sky-2"])
    rest = (await client.get(page["next"])).json()
    assert ([row["model_id"] for row in rest["results"]], rest["next"]) == (["sky/sky-1"], None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("origni=yaml", "origni"),
        ("ordering=sise", "ordering"),
        ("page_size=0", "page_size"),
        ("page_size=many", "page_size"),
        ("page_size=501", "page_size"),
        ("origin=nowhere", "origin"),
        ("enabled=perhaps", "enabled"),
        ("search=%00", None),
    ],
)
async def test_a_query_that_means_nothing_is_refused(client: httpx.AsyncClient, query: str, field: str | None) -> None:
    refused = await client.get(f"{PROVIDERS}?{query}")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "invalid_json"),
        (b'{"provider_id": "a\\u0000"}', "invalid_value"),
    ],
)
async def test_a_body_that_is_no_object_is_refused(client: httpx.AsyncClient, body: bytes, code: str) -> None:
    refused = await client.post(PROVIDERS, content=body, headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, code)


async def test_what_is_not_there_is_said_in_the_one_shape(client: httpx.AsyncClient) -> None:
    lost = await client.get("/manage/provider/")
    assert (lost.status_code, lost.json()["error"]["code"]) == (404, "unknown_url")
    wrong = await client.put("/manage/keys", json={})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "POST" in wrong.headers["Allow"]
    other = await client.get(PROVIDERS, headers={"Accept": "image/png"})
    assert (other.status_code, other.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_a_slash_at_the_end_of_a_list_is_no_matter(client: httpx.AsyncClient, sky: Provider) -> None:
    for name in ("providers", "models", "keys"):
        plain, slashed = [await client.get(f"/manage/{name}{end}") for end in ("", "/")]
        assert (slashed.status_code, named(slashed)) == (200, named(plain))
    made = await client.post(f"{PROVIDERS}/", json=NEW)
    assert (made.status_code, made.headers["Location"]) == (201, "/manage/providers/inference/two")


async def test_the_page_of_what_is_not_there_has_no_forms(client: httpx.AsyncClient, sky: Provider) -> None:
    page = await client.get("/manage/nothing/", headers={"Accept": "text/html"})
    assert (page.status_code, "<form" in page.text) == (404, False)


async def test_pages_take_nothing_from_elsewhere(client: httpx.AsyncClient, sky: Provider) -> None:
    for path in ("/manage/", PROVIDERS, f"{PROVIDERS}/inference/sky", "/manage/models/sky/sky-1", "/manage/docs"):
        page = await client.get(path, headers={"Accept": "text/html"})
        assert page.status_code == 200, path
        policy = page.headers["Content-Security-Policy"]
        assert ("default-src 'self'" in policy, "frame-ancestors 'none'" in policy) == (True, True)
        assert "script-src" not in policy
        assert 'src="http' not in page.text
        for file in {part.split('"')[0] for part in page.text.split('"/static/')[1:]}:
            assert (await client.get(f"/static/{file}")).status_code == 200, file


async def test_the_api_imports_no_drf_until_manage_is_asked_for() -> None:
    code = (
        "import sys, llamastack.asgi, llamastack.urls\n"
        "from django.urls import reverse; reverse('admin:index')\n"
        "print({'rest_framework', 'django_filters', 'drf_spectacular'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- its description ---


def described() -> Any:
    return SchemaGenerator(urlconf="apps.registry.rest.urls").get_schema(request=None, public=True)


def test_the_description_is_valid_and_complete() -> None:
    GENERATOR_STATS.reset()
    schema = described()
    validate_schema(schema)
    assert not {**GENERATOR_STATS._warn_cache, **GENERATOR_STATS._error_cache}
    operations = {(path, method) for path, methods in schema["paths"].items() for method in methods}
    assert {
        ("/manage/providers", "post"),
        ("/manage/providers/{api}/{provider_id}", "patch"),
        ("/manage/providers/{api}/{provider_id}/discover", "post"),
        ("/manage/models/{model_id}", "delete"),
        ("/manage/keys/{prefix}/revoke", "post"),
        ("/manage/jobs/{job_id}/cancel", "post"),
    } <= operations
    for _, methods in schema["paths"].items():
        for operation in methods.values():
            assert operation["security"] == [{"bearer": []}, {"session": []}]
            assert "default" in operation["responses"]


async def test_the_description_needs_no_key(client: httpx.AsyncClient, settings: Settings) -> None:
    settings.AUTH_REQUIRED = True
    told = await client.get("/manage/openapi.json")
    assert (told.status_code, told.headers["Content-Type"]) == (200, "application/json")
    assert told.json()["info"]["title"] == "Llama Stack: management"


async def test_answers_have_the_fields_that_the_description_gives_them(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    headers = await key_of(running, admin=True)
    answers = {
        "Provider": (await client.get(f"{PROVIDERS}/inference/sky")).json(),
        "Model": (await client.get("/manage/models/sky/sky-1")).json(),
        "IssuedKey": (await client.post("/manage/keys", json={"name": "new"}, headers=headers)).json(),
    }
    schemas = json.loads(json.dumps(described()))["components"]["schemas"]
    for name, answer in answers.items():
        assert set(schemas[name]["properties"]) == set(answer), name
