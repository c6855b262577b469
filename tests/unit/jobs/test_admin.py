"""Jobs in the admin: the facts without a script, and buttons for those who may press them."""

import re
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from apps.access.models import User
from apps.jobs.models import Job, Status
from apps.jobs.shown import left
from llamastack.db import db
from tests.unit.jobs.test_jobs_api import claimed, idle
from tests.unit.jobs.test_work import queued
from tests.unit.pages import Browser

__all__ = ["idle"]
pytestmark = pytest.mark.usefixtures("idle")
LIST = "/admin/jobs/job/"


def page_of(job_id: str) -> str:
    return f"{LIST}{job_id}/change/"


async def pressed(browser: Browser, job_id: str, button: str) -> httpx.Response:
    return await browser.submit(page_of(job_id), f"{LIST}{job_id}/{button}/")


def shown(page: str) -> str:
    """The state's word that is not hidden."""
    found = re.search(r'data-state="(\w+)">', page)
    assert found, page
    return found[1]


async def test_a_page_says_how_a_job_goes_without_a_script(browser: Browser) -> None:
    job = await claimed(progress={"done": 0, "total": 50})
    await db(lambda: Job.objects.filter(pk=job.id).update(started_at=timezone.now() - timedelta(seconds=125)))
    await db(Job.objects.report, job, {"done": 10, "total": 50})
    await db(Job.objects.tell, job, "log", {"message": "<b>one</b> of them"})
    await db(Job.objects.tell, job, "metric", {"loss": 0.5})
    await db(Job.objects.tell, job, "metric", {"loss": 0.25, "note": "</script>"})
    page = (await browser.open(page_of(job.id))).text
    assert shown(page) == "running"
    assert 'max="50" value="10"' in page
    assert "10 of 50" in page
    assert "about 8 min left" in page
    assert "&lt;b&gt;one&lt;/b&gt; of them" in page
    assert re.search(r"loss <strong data-latest>0.25<", page)
    assert "</script>\\" not in page
    assert 'data-after="3"' in page
    assert re.search(r'data-time="started">\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC<', page)
    assert 'name="_save"' not in page


async def test_a_page_says_why_a_job_has_failed(browser: Browser) -> None:
    job = await claimed()
    await db(Job.objects.finish, job, Status.failed, "No <disk>.")
    page = (await browser.open(page_of(job.id))).text
    assert (shown(page), "No &lt;disk&gt;." in page) == ("failed", True)
    assert re.search(r"data-cancel [^>]* hidden", page)
    assert not re.search(r"data-retry [^>]* hidden", page)


async def test_the_buttons_cancel_and_try_again(browser: Browser) -> None:
    waiting = await db(queued)
    page = (await pressed(browser, waiting, "cancel")).text
    assert (shown(page), "The job is cancelled" in page) == ("cancelled", True)
    page = (await pressed(browser, waiting, "retry")).text
    assert (shown(page), "queued again" in page) == ("queued", True)
    assert "what can be tried again" in (await pressed(browser, waiting, "retry")).text
    history = (await browser.open(f"{LIST}{waiting}/history/")).text
    assert (history.count("The job is cancelled"), history.count("queued again")) == (1, 1)
    begun = await claimed()
    page = (await pressed(browser, begun.id, "cancel")).text
    assert re.search(r"data-ending>A cancel is asked for", page)


async def test_a_button_without_its_token_or_by_a_link_does_nothing(browser: Browser) -> None:
    job_id = await db(queued)
    assert (await browser.http.post(f"{LIST}{job_id}/cancel/")).status_code == 403
    assert (await browser.http.get(f"{LIST}{job_id}/cancel/")).status_code == 405
    assert (await db(Job.objects.get)).status == "queued"


async def test_an_id_is_found_whatever_stands_in_it(browser: Browser) -> None:
    job_id = await db(queued, id="job_22af")
    assert job_id in (await browser.open(LIST)).text
    link = re.search(rf'href="({LIST}[^"]+/change/[^"]*)"', browser.pages[-1].text)
    assert link
    page = (await browser.open(link[1])).text
    button = re.search(r'formaction="([^"]+/cancel/)"', page)
    assert button
    assert shown((await browser.submit(link[1], button[1])).text) == "cancelled"


def permit(*rights: str, **fields: Any) -> None:
    user = User.objects.get()
    for name, value in {"is_superuser": False, **fields}.items():
        setattr(user, name, value)
    user.save()
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))


async def test_who_may_look_may_not_press(browser: Browser) -> None:
    job_id = await db(queued)
    await db(permit, "view_job")
    page = (await browser.open(page_of(job_id))).text
    assert (shown(page), "data-cancel" in page) == ("queued", False)
    assert (await pressed(browser, job_id, "cancel")).status_code == 403
    await db(permit, "view_job", "change_job")
    assert shown((await pressed(browser, job_id, "cancel")).text) == "cancelled"


async def test_staff_of_another_tenant_see_none(browser: Browser) -> None:
    job_id = await db(queued)
    await db(permit, "view_job", "change_job", tenant="other")
    page = await browser.open(LIST)
    assert (page.status_code, job_id in page.text) == (200, False)
    assert "data-job" not in (await browser.open(page_of(job_id))).text
    assert (await browser.submit("/admin/", f"{LIST}{job_id}/cancel/")).status_code == 403
    assert (await db(Job.objects.get)).status == "queued"


async def test_a_list_tells_states_and_progress_and_is_filtered(browser: Browser) -> None:
    job = await claimed(progress={"done": 5, "total": 10})
    waiting = await db(queued, kind="other")
    page = (await browser.open(LIST)).text
    assert 'max="10" value="5"' in page
    assert "5 of 10" in page
    for query, found in [("?status__exact=running", job.id), ("?kind=other", waiting), ("?queue=gpu", None)]:
        text = (await browser.open(LIST + query)).text
        assert [one for one in (job.id, waiting) if one in text] == [found] * (found is not None), query


async def test_a_list_tells_which_wait_for_something(browser: Browser) -> None:
    await db(queued)
    assert "waits" not in (await browser.open(LIST)).text
    await db(queued, error="It waits: no provider.")
    assert (await browser.open(LIST)).text.count("</span> waits") == 1


async def test_an_empty_list_says_whether_there_are_none_or_none_match(browser: Browser) -> None:
    page = (await browser.open(LIST)).text
    assert "There are no jobs yet." in page
    assert "Show all" not in page
    await db(queued)
    assert "Show all" not in (await browser.open(LIST)).text
    for query in ("?q=nothing", "?queue=gpu"):
        page = (await browser.open(LIST + query)).text
        assert "Nothing matches" in page
        assert re.search(r"0 results\s+\(", page), query


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "about 0 s left"), (30, "about 30 s left"), (150, "about 2 min left"), (7500, "about 2 h 5 min left")],
)
def test_how_long_it_takes_is_told_in_words(seconds: int, words: str) -> None:
    now = timezone.now()
    assert left(now + timedelta(seconds=seconds), now) == words
    assert left(None, now) == ""


async def test_what_its_page_names_is_there(browser: Browser) -> None:
    page = (await browser.open(page_of(await db(queued)))).text
    for name in ("job.js", "job.css"):
        assert f"/static/jobs/{name}" in page
        assert (await browser.http.get(f"/static/jobs/{name}")).status_code == 200
    assert "innerHTML" not in (await browser.http.get("/static/jobs/job.js")).text
