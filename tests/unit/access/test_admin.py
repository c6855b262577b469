"""The admin's pages of API keys, users and usage, its log-in and its lock."""

import re

import httpx
import pytest
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session

from apps.access.models import ApiKey, Usage, User
from apps.registry.models import Model, Provider
from llamastack import settings
from llamastack.db import db
from llamastack.rows import insert
from llamastack.stack import LlamaStack
from tests.unit.conftest import session_of
from tests.unit.core.test_rows import usage
from tests.unit.pages import PASSWORD, Browser, Forms
from tests.upstream import Upstream

KEYS = "/admin/access/apikey/"
MODELS = "/v1/models"
USAGE = "/admin/access/usage/"


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


async def test_the_first_page_counts_what_there_is(browser: Browser, sky: Provider) -> None:
    page = await browser.open("/admin/")
    assert "2 llm" in page.text
    assert "none yet" in page.text
    assert f"/admin/registry/provider/{sky.pk}/change/" in page.text


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


@pytest.fixture
async def ben(client: httpx.AsyncClient) -> Browser:
    """Staff of the tenant `blue` who may do everything but is no superuser."""

    def make() -> str:
        ben = User.objects.create(username="ben", tenant="blue", is_staff=True)
        ben.user_permissions.set(Permission.objects.all())
        return session_of(ben)

    client.cookies.set(settings.SESSION_COOKIE_NAME, await db(make))
    return Browser(client)


async def test_staff_of_a_tenant_sees_its_rows_and_the_shared_ones(ben: Browser, sky: Provider) -> None:
    await db(ApiKey.issue, "foreign", "ada")
    await issued(ben, name="own")
    assert (await db(lambda: ApiKey.objects.get(name="own"))).tenant == "blue"
    page = await ben.open(KEYS)
    assert (">own</a>" in page.text, ">foreign</a>" in page.text) == (True, False)
    page = await ben.open(f"/admin/registry/provider/{sky.pk}/change/")
    assert page.status_code == 200
    assert "Test connection" not in page.text


async def test_staff_of_a_tenant_changes_nothing_that_is_shared(ben: Browser, sky: Provider) -> None:
    models = await db(lambda: list(Model.objects.values_list("pk", flat=True)))
    token = {
        "csrfmiddlewaretoken": Forms((await ben.open(KEYS)).text).having("csrfmiddlewaretoken")["csrfmiddlewaretoken"]
    }
    chosen = {**token, "action": "disable", "_selected_action": [str(key) for key in models]}
    refused = [
        await ben.http.post("/admin/registry/model/", data=chosen),
        await ben.http.post(f"/admin/registry/provider/{sky.pk}/test/", data=token),
        await ben.http.post(f"/admin/registry/provider/{sky.pk}/delete/", data={**token, "post": "yes"}),
    ]
    assert [answer.status_code for answer in refused] == [403, 403, 403]
    assert await db(lambda: Model.objects.filter(override={}).count()) == 2


async def test_what_staff_of_a_tenant_adds_is_the_tenants(
    ben: Browser, running: LlamaStack, upstream: Upstream
) -> None:
    path = "/admin/registry/provider/add/?api=inference&provider_type=remote::openai"
    await ben.submit(path, identifier="own", config_base_url=upstream.url)
    assert [record.tenant for record in running.live.snapshot.providers.values()] == ["blue"]


async def test_staff_makes_no_superuser(ben: Browser) -> None:
    await db(User.objects.create, username="eve", tenant="blue")
    eve = await db(lambda: User.objects.get(username="eve"))
    await ben.submit(f"/admin/access/user/{eve.pk}/change/", is_superuser="on", tenant="default", first_name="Eve")
    eve = await db(lambda: User.objects.get(username="eve"))
    assert (eve.first_name, eve.is_superuser, eve.tenant) == ("Eve", False, "blue")


async def test_staff_make_no_admins_keys(browser: Browser) -> None:
    """With one they could change what all tenants share, which they cannot themselves."""

    def demote() -> None:
        ada = User.objects.get(username="ada")
        ada.is_superuser = False
        ada.save()
        ada.user_permissions.set(Permission.objects.filter(codename__endswith="_apikey"))

    await db(demote)
    await issued(browser, admin="on")
    assert not (await db(ApiKey.objects.get)).admin


# --- usage ---


async def test_usage_is_listed_with_its_sums_and_cannot_be_changed(browser: Browser, running: LlamaStack) -> None:
    rows = [usage("req_1", model="team/small", input_tokens=1234, output_tokens=1), usage("req_2", input_tokens=1)]
    await db(insert, [*rows, usage("req_3", model="team/large", status=502, error="upstream_error", whole=False)])
    page = await browser.open(USAGE)
    assert all(word in page.text for word in ("team/small", "team/large", "502", "1,235"))
    assert ('">1,234</td>' in page.text, "–</td>" in page.text) == (True, True)
    assert "Add usage" not in page.text
    filtered = await browser.open(f"{USAGE}?model__exact=team%2Fsmall")
    assert ("1,234</dd>" in filtered.text, "1,235</dd>" in filtered.text) == (True, False)
    row = await db(Usage.objects.get, request_id="req_3")
    shown = await browser.open(f"{USAGE}{row.pk}/change/")
    assert ("upstream_error" in shown.text, 'name="_save"' in shown.text) == (True, False)
    assert f"{row.created_at:%Y-%m-%d %H:%M:%S}" in shown.text
    assert "close_small" not in shown.text  # the admin's red cross, where "no" is nothing bad
    assert (await browser.http.get(f"{USAGE}{row.pk}/delete/")).status_code == 403


async def test_staff_see_the_usage_of_their_tenant_alone(browser: Browser) -> None:
    await db(insert, [usage("req_1", tenant="north", model="theirs"), usage("req_2", model="ours", input_tokens=77)])

    def demote() -> None:
        User.objects.update(is_superuser=False)
        right = Permission.objects.get(codename="view_usage")
        User.objects.get(username="ada").user_permissions.add(right)

    assert "theirs" in (await browser.open(USAGE)).text
    await db(demote)
    page = await browser.open(USAGE)
    assert ("ours" in page.text, "theirs" in page.text, "77</dd>" in page.text) == (True, False, True)


async def test_records_that_were_lost_are_told_above_the_usage(browser: Browser, running: LlamaStack) -> None:
    running.flusher.lost += 3
    running.flusher.waits += 2
    page = await browser.open(USAGE)
    assert "calls are missing here" in page.text
    assert "calls had to wait for room" in page.text
