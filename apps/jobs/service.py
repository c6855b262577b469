"""Jobs as those see them whose they are: what there is, how each goes, and its end."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from apps.jobs.models import ENDED, Job, JobEvent
from apps.jobs.schemas import JobEventObject, JobFilter, JobObject
from llamastack.call import Principal
from llamastack.db import db
from llamastack.errors import Conflict, NotFound
from llamastack.pagination import Page

LOOKS_SECONDS = 0.5  # for what has happened in a job that somebody watches
QUIET_SECONDS = 15.0  # after which whoever watches is told that nothing has happened: proxies cut what is silent
MOST_EVENTS = 500  # that are read at once
SHOWN = 100
Event = JobObject | JobEventObject | None


def found(principal: Principal, job_id: str) -> Job:
    job: Job | None = Job.objects.visible_to(principal).filter(pk=job_id).first()
    if job is None:
        raise NotFound(f"There is no job '{job_id[:SHOWN]}'. GET /v1alpha/jobs lists them.", param="job_id")
    return job


def got(principal: Principal, job_id: str) -> JobObject:
    return shown(found(principal, job_id))


def listed(principal: Principal, paging: JobFilter) -> Page[JobObject]:
    known = Job.objects.visible_to(principal)
    wanted: dict[str, Any] = paging.model_dump(include={"kind", "status"}, exclude_none=True)
    rows = known.filter(**wanted).after(paging.after, paging.order, known)
    jobs = [shown(job) for job in rows[: paging.limit + 1]]
    data = jobs[: paging.limit]
    first, last = (data[0].id, data[-1].id) if data else ("", "")
    return Page(data=data, first_id=first, last_id=last, has_more=len(jobs) > len(data))


def cancelled(principal: Principal, job_id: str) -> JobObject:
    """The job, which has been cancelled, or will be when whoever does it looks."""
    found(principal, job_id)
    done = Job.objects.cancel(job_id)
    job = found(principal, job_id)
    if not done and job.status != "cancelled":
        raise Conflict(f"The job is {job.status}: there is nothing to cancel.", code="job_ended")
    return shown(job)


def retried(principal: Principal, job_id: str) -> JobObject:
    job = found(principal, job_id)
    if not Job.objects.retry(job_id):
        raise Conflict(
            f"The job is {job.status}: what can be tried again has failed or was cancelled.", code="job_state"
        )
    return got(principal, job_id)


async def events(principal: Principal, job_id: str, after: int, quiet: float = QUIET_SECONDS) -> AsyncGenerator[Event]:
    """What happens in the job after the event of the number `after`, and the job whenever it has changed.

    None where nothing has happened for a while. The last one is the job that has ended.
    """
    last: JobObject | None = None
    told = time.monotonic()
    while True:
        job, happened = await db(_happened, principal, job_id, after)
        for event in happened:
            after = event.number
            yield event
        if len(happened) == MOST_EVENTS:
            continue
        if happened or job != last or time.monotonic() - told >= quiet:
            told = time.monotonic()
            yield job if job != last else None
            last = job
        if job.status in ENDED:
            return
        await asyncio.sleep(LOOKS_SECONDS)


def _happened(principal: Principal, job_id: str, after: int) -> tuple[JobObject, list[JobEventObject]]:
    job = got(principal, job_id)  # before its events: those of one that has ended are all there
    rows = JobEvent.objects.filter(job=job_id, number__gt=after).order_by("number")[:MOST_EVENTS]
    return job, [
        JobEventObject(number=row.number, kind=row.kind, data=row.data, created_at=row.created_at.timestamp())
        for row in rows
    ]


def shown(job: Job) -> JobObject:
    return JobObject(
        id=job.id,
        kind=job.kind,
        status=job.status,
        progress=job.progress,
        attempt=job.attempt,
        error=job.error or None,
        cancel_requested=job.cancel_requested,
        created_at=int(job.created_at.timestamp()),
        ended_at=None if job.ended_at is None else int(job.ended_at.timestamp()),
    )
