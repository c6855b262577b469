"""Stored completions in the admin: to look at and to delete."""

import re

import httpx
from django.contrib.auth.models import Permission

from apps.access.models import User
from apps.inference.models import StoredCompletion
from apps.registry.models import Provider
from llamastack.db import db
from tests.unit.inference.test_stored import chat
from tests.unit.pages import Browser

LIST = "/admin/inference/storedcompletion/"


async def test_a_stored_completion_is_shown_and_cannot_be_changed(
    client: httpx.AsyncClient, browser: Browser, sky: Provider
) -> None:
    name = await chat(client, messages=[{"role": "user", "content": "<b>Why</b> is that?"}], metadata={"who": "me"})
    listed = (await browser.open(LIST)).text
    assert name in listed
    page = (await browser.open(f"{LIST}{name}/change/")).text
    assert all(re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", shown) for shown in (listed, page))
    assert "The sky is blue." in page
    assert "StoredCompletion object" not in page
    assert "&lt;b&gt;Why&lt;/b&gt; is that?" in page
    assert 'name="_save"' not in page
    assert (await browser.open(f"{LIST}add/")).status_code == 403


async def test_a_stored_completion_is_deleted(client: httpx.AsyncClient, browser: Browser, sky: Provider) -> None:
    name = await chat(client)
    await browser.submit(f"{LIST}{name}/delete/", post="yes")
    assert not await db(StoredCompletion.objects.filter(pk=name).exists)


async def test_staff_of_another_tenant_see_none(client: httpx.AsyncClient, browser: Browser, sky: Provider) -> None:
    name = await chat(client)
    await db(make_staff_of, "theirs")
    page = await browser.open(LIST)
    assert (page.status_code, name in page.text) == (200, False)
    assert "The sky is blue." not in (await browser.open(f"{LIST}{name}/change/")).text
    await db(make_staff_of, "default")
    assert name in (await browser.open(LIST)).text


def make_staff_of(tenant: str) -> None:
    user = User.objects.get()
    user.tenant, user.is_superuser = tenant, False
    user.save()
    user.user_permissions.set([Permission.objects.get(codename="view_storedcompletion")])
