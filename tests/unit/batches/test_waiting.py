"""A batch whose provider is switched off waits until it is there again, or its time is over."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone

from apps.batches.doing import KEPT
from apps.batches.models import Batch
from apps.jobs.models import MOST_ATTEMPTS, Job
from apps.registry import service
from apps.registry.models import Provider
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.batches.test_batches_api import URL, create, ended, get, jsonl, line, upload, written
from tests.unit.batches.test_left import answers, left, pass_time
from tests.upstream import Upstream

TOLD = {"files": "which keeps this file, is switched off", "batches": "No provider does batches here."}
BOTH = pytest.mark.parametrize("api", TOLD)


async def switch(batches: LlamaStack, api: str, *, on: bool) -> None:
    """As an operator does in the admin."""
    await db(lambda: service.edit_provider(Provider.objects.get(api=api), {}, enabled=on))
    await batches.live.refresh()


async def made(client: httpx.AsyncClient, batches: LlamaStack) -> str:
    """A batch that nobody has begun."""
    await batches.worker.stop()
    return str((await create(client, await upload(client, jsonl(line("a"), line("b")))))["id"])


async def looked_at(client: httpx.AsyncClient, batches: LlamaStack, times: int = 1) -> Any:
    """The job, once its pause has passed so many times and it was begun each time."""
    last = (await db(Job.objects.get)).fence + times
    async with asyncio.timeout(60):
        while (job := await db(Job.objects.get)).fence < last or job.status == "running":
            await db(lambda: Job.objects.filter(status="queued", fence__lt=last).update(lease_until=None))
            batches.worker.ring()
            await asyncio.sleep(0.01)
    return (await client.get("/v1alpha/jobs")).json()["data"][0]


@BOTH
async def test_it_waits_however_long_and_says_why(client: httpx.AsyncClient, batches: LlamaStack, api: str) -> None:
    batch_id = await made(client, batches)
    await switch(batches, api, on=False)
    batches.worker.start()
    job = await looked_at(client, batches, MOST_ATTEMPTS + 2)
    assert (job["status"], job["attempt"]) == ("queued", 0)
    assert job["error"].startswith("It waits, and is tried again every 15 s: ")
    assert TOLD[api] in job["error"]
    assert (await get(client, batch_id))["status"] == "validating"
    await switch(batches, api, on=True)
    await looked_at(client, batches)
    batch = await ended(client, batch_id)
    assert (batch["status"], batch["request_counts"]["completed"]) == ("completed", 2)
    assert (await client.get("/v1alpha/jobs")).json()["data"][0]["error"] is None


async def test_nobody_begins_it_before_its_pause_is_over(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    await made(client, batches)

    def waiting() -> tuple[list[str], Any]:
        job = Job.objects.claim(Job.objects.get().id)
        assert Job.objects.wait(job, "Not yet.", timedelta(hours=1))
        return Job.objects.next(9), Job.objects.claim(job.id)

    assert await db(waiting) == ([], None)


@BOTH
async def test_one_that_waits_is_cancelled_at_once(client: httpx.AsyncClient, batches: LlamaStack, api: str) -> None:
    batch_id = await made(client, batches)
    await switch(batches, api, on=False)
    batches.worker.start()
    await looked_at(client, batches)
    assert (await client.post(f"{URL}/{batch_id}/cancel")).json()["status"] == "cancelled"
    job = await db(Job.objects.get)
    assert (job.status, job.error, job.ended_at is None) == ("cancelled", "", False)


@BOTH
async def test_one_of_which_nothing_was_answered_expires(
    client: httpx.AsyncClient, batches: LlamaStack, api: str, upstream: Upstream
) -> None:
    batch_id = await made(client, batches)
    await switch(batches, api, on=False)
    batches.worker.start()
    await looked_at(client, batches)
    await pass_time(batch_id)
    await looked_at(client, batches)
    batch = await ended(client, batch_id)
    assert (batch["status"], batch["output_file_id"], upstream.requests) == ("expired", None, [])
    if api == "batches":  # its lines are known
        assert [one["error"]["code"] for one in await written(client, batch["error_file_id"])] == ["batch_expired"] * 2
    else:
        assert "before the completion window was over" in batch["errors"]["data"][0]["message"]


async def test_one_that_expires_without_a_provider_of_batches_has_its_answers(
    client: httpx.AsyncClient, batches: LlamaStack
) -> None:
    batch_id, _ = await left(client, batches)
    await switch(batches, "batches", on=False)
    await pass_time(batch_id)
    batches.worker.start()
    batch = await ended(client, batch_id)
    assert (batch["status"], await answers(client, batch)) == ("expired", ["a"])
    (expired,) = await written(client, batch["error_file_id"])
    assert (expired["custom_id"], expired["error"]["code"]) == ("b", "batch_expired")


async def test_without_a_provider_of_files_its_answers_wait_for_one(
    client: httpx.AsyncClient, batches: LlamaStack
) -> None:
    batch_id, _ = await left(client, batches)
    await switch(batches, "files", on=False)
    await pass_time(batch_id)
    batches.worker.start()
    assert (await looked_at(client, batches))["status"] == "queued"
    await switch(batches, "files", on=True)
    await looked_at(client, batches)
    batch = await ended(client, batch_id)
    assert (batch["status"], await answers(client, batch)) == ("expired", ["a"])
    assert len(await written(client, batch["error_file_id"])) == 1


async def test_but_not_for_ever(client: httpx.AsyncClient, batches: LlamaStack) -> None:
    batch_id, _ = await left(client, batches)
    await switch(batches, "files", on=False)
    long_ago = timezone.now() - KEPT - timedelta(minutes=1)
    await db(lambda: Batch.objects.filter(pk=batch_id).update(expires_at=long_ago))
    batches.worker.start()
    batch = await ended(client, batch_id)
    assert (batch["status"], batch["output_file_id"]) == ("expired", None)
    assert "is lost" in batch["errors"]["data"][-1]["message"]


async def test_one_whose_files_were_being_written_when_its_time_was_over_is_completed(
    client: httpx.AsyncClient, batches: LlamaStack
) -> None:
    batch_id, _ = await left(client, batches)
    began = timezone.now() - timedelta(hours=1)
    fields = {"status": "finalizing", "finalizing_at": began, "total": 1}
    await db(lambda: Batch.objects.filter(pk=batch_id).update(**fields))
    await switch(batches, "files", on=False)
    await pass_time(batch_id)
    batches.worker.start()
    assert (await looked_at(client, batches))["status"] == "queued"
    await switch(batches, "files", on=True)
    await looked_at(client, batches)
    batch = await ended(client, batch_id)
    assert (batch["status"], await answers(client, batch)) == ("completed", ["a"])


async def test_one_whose_lines_have_expired_is_expired_when_its_files_are_written_later(
    client: httpx.AsyncClient, batches: LlamaStack
) -> None:
    batch_id, _ = await left(client, batches)
    now = timezone.now()
    fields = {"status": "finalizing", "finalizing_at": now, "expires_at": now - timedelta(minutes=1), "total": 1}
    await db(lambda: Batch.objects.filter(pk=batch_id).update(**fields))
    batches.worker.start()
    assert (await ended(client, batch_id))["status"] == "expired"
