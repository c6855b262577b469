"""The admin's pages of API keys and users, its log-in and its lock."""

import re

import httpx
import pytest
from django.contrib.sessions.models import Session

from apps.access.models import ApiKey, User
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.pages import PASSWORD, Browser

KEYS = "/admin/access/apikey/"
MODELS = "/v1/models"


async def issued(browser: Browser, **fields: str) -> str:
    page = await browser.submit(f"{KEYS}add/", **{"name": "laptop", **fields})
    found = re.search(r"lls-[\w-]{40,}", page.text)
    assert found is not None
    return found[0]


async def test_a_secret_is_shown_once_and_kept_nowhere(
    browser: Browser, running: LlamaStack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    secret = await issued(browser)
    shown = browser.pages[-1]
    assert "no-store" in shown.headers["cache-control"]
    key = await db(ApiKey.objects.get)
    for path in (KEYS, f"{KEYS}{key.pk}/change/", f"{KEYS}{key.pk}/history/", "/admin/"):
        page = await browser.open(path)
        assert secret not in page.text
        assert key.digest not in page.text
    sessions = await db(lambda: [session.get_decoded() for session in Session.objects.all()])
    assert secret not in f"{sessions} {dict(browser.http.cookies)} {shown.url} {caplog.text}"


async def test_a_key_is_its_makers_and_known_at_once(browser: Browser, running: LlamaStack) -> None:
    secret = await issued(browser)
    principal = await running.live.principal({"authorization": f"Bearer {secret}"}, required=True)
    assert (principal.name, principal.tenant, principal.is_admin) == ("ada", "default", False)


async def test_a_revoked_key_stays_revoked(browser: Browser, running: LlamaStack) -> None:
    await issued(browser)
    key = await db(ApiKey.objects.get)
    page = await browser.submit(KEYS, action="revoke", _selected_action=str(key.pk))
    assert "Revoked: laptop" in page.text
    assert not running.live.snapshot.keys
    await browser.submit(f"{KEYS}{key.pk}/change/", name="renamed", revoked_at="")
    key = await db(ApiKey.objects.get)
    assert key.name == "renamed"
    assert key.revoked_at is not None


async def test_a_user_is_added_with_a_tenant(browser: Browser) -> None:
    await browser.submit(
        "/admin/access/user/add/", username="ben", password1=PASSWORD, password2=PASSWORD, usable_password="true"
    )
    ben = await db(lambda: User.objects.get(username="ben"))
    await browser.submit(f"/admin/access/user/{ben.pk}/change/", tenant="blue", is_staff="on")
    ben = await db(lambda: User.objects.get(username="ben"))
    assert (ben.tenant, ben.is_staff, ben.check_password(PASSWORD)) == ("blue", True, True)


async def test_log_in_wants_the_password_and_the_pages_token(client: httpx.AsyncClient) -> None:
    await db(User.objects.create_superuser, "ada", "ada@example.com", PASSWORD)
    browser = Browser(client)
    refused = await client.post("/admin/login/", data={"username": "ada", "password": PASSWORD})
    assert refused.status_code == 403
    assert "Please enter the correct username" in (await browser.log_in("ada", "wrong")).text
    assert "Providers" in (await browser.log_in("ada")).text


async def test_who_is_not_staff_is_refused(client: httpx.AsyncClient) -> None:
    await db(User.objects.create_user, "eve", "eve@example.com", PASSWORD)
    browser = Browser(client)
    page = await browser.log_in("eve")
    assert "Please enter the correct username" in page.text
    assert "/admin/login/" in str((await browser.open(KEYS)).url)


async def test_staff_without_rights_sees_nothing(client: httpx.AsyncClient) -> None:
    await db(lambda: User.objects.create_user("eve", "eve@example.com", PASSWORD, is_staff=True))
    browser = Browser(client)
    page = await browser.log_in("eve")
    assert KEYS not in page.text
    for path in (KEYS, f"{KEYS}add/", "/admin/registry/provider/add/", "/admin/access/user/"):
        assert (await browser.open(path)).status_code == 403


async def test_five_wrong_passwords_lock_the_name(client: httpx.AsyncClient) -> None:
    await db(User.objects.create_superuser, "ada", "ada@example.com", PASSWORD)
    browser = Browser(client)
    for _ in range(5):
        page = await browser.log_in("ada", "wrong")
    assert page.status_code == 429
    assert "Try again in 15 minutes" in page.text
    assert (await browser.log_in("ada")).status_code == 429
    assert (await browser.log_in("ben", "wrong")).status_code == 200


async def test_no_page_asks_another_host_for_anything(browser: Browser) -> None:
    await issued(browser)
    for path in (
        "/admin/",
        KEYS,
        "/admin/registry/provider/",
        "/admin/registry/provider/add/",
        "/admin/registry/model/add/",
    ):
        await browser.open(path)
    for page in browser.pages:
        assert not re.findall(r'(?:src|href|action)="(?:https?:)?//[^"]+"', page.text)
