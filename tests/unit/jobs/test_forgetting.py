"""Jobs that ended long ago are removed with their events, and none that somebody needs."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.batches.models import Batch
from apps.jobs.models import BAD_KEPT, Job, JobEvent, Status
from llamastack.db import db
from llamastack.ids import new_id
from llamastack.stack import LlamaStack

KEPT = timedelta(days=30)
pytestmark = pytest.mark.django_db(transaction=True)


def ended(status: Status, ago: timedelta, **fields: Any) -> Job:
    """With an event."""
    when = timezone.now() - ago
    row = {"owner": "ada", "kind": "test", "status": status, "created_at": when, "ended_at": when}
    job = Job.objects.create(id=new_id("job_"), **row | fields)
    JobEvent.objects.create(job=job, number=1, kind="log", data={}, created_at=when)
    return job


def forgotten() -> tuple[int, int]:
    return JobEvent.objects.forget(KEPT), Job.objects.forget(KEPT)


def left() -> set[str]:
    return set(Job.objects.values_list("id", flat=True))


DAY = timedelta(days=1)


def test_what_ended_long_ago_is_removed_and_what_failed_later() -> None:
    for status in (Status.completed, Status.cancelled):
        ended(status, KEPT + DAY)
    for status in (Status.failed, Status.quarantined):
        ended(status, BAD_KEPT * KEPT + DAY)
    young = [ended(Status.completed, KEPT - DAY), ended(Status.failed, BAD_KEPT * KEPT - DAY)]
    waits = ended(Status.queued, 9 * KEPT, ended_at=None)
    runs = ended(Status.running, 9 * KEPT, ended_at=None)
    assert forgotten() == (4, 4)
    assert left() == {job.id for job in (*young, waits, runs)}
    assert JobEvent.objects.count() == 4
    assert forgotten() == (0, 0)


def test_a_job_that_a_batch_names_stays_without_its_events() -> None:
    job = ended(Status.completed, KEPT + DAY)
    now = timezone.now()
    Batch.objects.create(id="batch_1", owner="ada", created_at=now, expires_at=now, job=job)
    assert forgotten() == (1, 0)
    assert left() == {job.id}
    assert Batch.objects.exists()


async def swept(running: LlamaStack) -> Job:
    def queued() -> Job:
        made: Job = Job.objects.create(id=new_id("job_"), kind="jobs.sweep", owner="system", created_at=timezone.now())
        return made

    job = await db(queued)
    running.worker.ring()
    async with asyncio.timeout(60):
        while (job := await db(Job.objects.get, pk=job.pk)).ended_at is None:
            await asyncio.sleep(0.02)
    return job


async def test_a_sweep_tells_how_many_it_has_removed(running: LlamaStack) -> None:
    for _ in range(3):
        await db(ended, Status.completed, KEPT + DAY)
    job = await swept(running)
    assert (job.status, job.progress) == ("completed", {"events": 3, "jobs": 3})
    assert await db(left) == {job.id}


async def test_nothing_is_removed_where_all_is_to_be_kept(running: LlamaStack, settings: Any) -> None:
    settings.JOBS_KEPT = timedelta(0)
    old = await db(ended, Status.completed, 99 * KEPT)
    job = await swept(running)
    assert (job.status, await db(left)) == ("completed", {old.id, job.id})
