"""Batches in the admin: counts, what is wrong with a file, and the ways to the files and the job."""

import re

import httpx
from django.contrib.auth.models import Permission

from apps.access.models import User
from apps.batches.models import Batch
from apps.files.models import File
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.batches.test_batches_api import create, done, ended, jsonl, line, upload
from tests.unit.pages import Browser

LIST = "/admin/batches/batch/"
DATE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


def page_of(batch_id: str) -> str:
    return f"{LIST}{batch_id}/change/"


async def test_a_page_tells_the_counts_and_leads_to_the_files_and_the_job(
    client: httpx.AsyncClient, browser: Browser, batches: LlamaStack
) -> None:
    batch = await done(client, line("a"), line("b", model="sky/none"))
    page = (await browser.open(page_of(batch["id"]))).text
    for title, count in [("Total", 2), ("Completed", 1), ("Failed", 1), ("Output tokens", 4)]:
        assert re.search(rf"<dt>{title}</dt><dd>{count}</dd>", page), title
    for name in ("input_file_id", "output_file_id", "error_file_id"):
        assert f"/admin/files/file/{batch[name].replace('_', '_5F')}/change/" in page, name
    job = await db(lambda: Batch.objects.get().job_id)
    assert f'data-job="{job}"' in page
    assert f"/admin/jobs/job/{job.replace('_', '_5F')}/change/" in page
    assert "2 of 2" in page
    assert re.search(rf"<dt>Completed</dt><dd>{DATE}</dd>", page)
    assert 'name="_save"' not in page
    about = (await browser.open(f"/admin/jobs/job/{job}/change/")).text
    assert f"Batch {batch['id']}" in about


async def test_a_page_says_what_is_wrong_with_a_file(
    client: httpx.AsyncClient, browser: Browser, batches: LlamaStack
) -> None:
    batch = await done(client, line("a"), line("a"), b"<b>no JSON</b>")
    page = (await browser.open(page_of(batch["id"]))).text
    assert "What was wrong" in page
    for error in batch["errors"]["data"]:
        assert re.search(rf"<td>{error['line']}</td>.*<td>{error['code']}</td>", page)
    assert "<b>no JSON" not in page
    assert ("data-cancel" in page, "data-retry" in page) == (True, False)


async def test_a_file_that_is_gone_has_no_link(
    client: httpx.AsyncClient, browser: Browser, batches: LlamaStack
) -> None:
    batch = await done(client, line("a"))
    await db(File.objects.filter(pk=batch["input_file_id"]).delete)
    page = (await browser.open(page_of(batch["id"]))).text
    assert f"{batch['input_file_id']} (is not kept any more)" in page


async def test_nor_has_a_file_of_another_tenant(
    client: httpx.AsyncClient, browser: Browser, batches: LlamaStack
) -> None:
    file_id = await upload(client, jsonl(line("a")))
    await db(File.objects.filter(pk=file_id).update, tenant="other")
    batch = await ended(client, (await create(client, file_id))["id"])
    page = (await browser.open(page_of(batch["id"]))).text
    assert f"{file_id} (is not kept any more)" in page


async def test_a_list_tells_how_far_each_is(client: httpx.AsyncClient, browser: Browser, batches: LlamaStack) -> None:
    batch = await done(client, line("a"), line("b", model="sky/none"))
    page = (await browser.open(LIST)).text
    assert batch["id"] in page
    assert "2 of 2</span>, 1 failed" in page
    assert re.search(rf">\s*{DATE}\s*<", page)
    await batches.worker.stop()
    waiting = await create(client, await upload(client, jsonl(line("b"))))
    assert (await browser.open(page_of(waiting["id"]))).status_code == 200
    assert re.search(r">\s*validating\s*<", browser.pages[-1].text)


async def test_who_may_not_look_at_jobs_sees_the_batch_alone(
    client: httpx.AsyncClient, browser: Browser, batches: LlamaStack
) -> None:
    batch = await done(client, line("a"))
    await db(permit, "view_batch")
    page = (await browser.open(page_of(batch["id"]))).text
    assert ("<dt>Total</dt><dd>1</dd>" in page, "data-job" in page) == (True, False)
    await db(permit, "view_batch", tenant="other")
    assert "<dt>Total</dt>" not in (await browser.open(page_of(batch["id"]))).text


def permit(*rights: str, tenant: str = "default") -> None:
    user = User.objects.get()
    user.is_superuser, user.tenant = False, tenant
    user.save()
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
