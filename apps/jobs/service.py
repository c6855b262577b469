"""Jobs as those see them whose they are: what there is, how each goes, and its end."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from apps.access.models import User
from apps.jobs import kinds
from apps.jobs.models import ENDED, SYSTEM, Job, JobEvent, JobQuerySet, Status
from apps.jobs.schemas import JobEventObject, JobFilter, JobObject
from llamastack.call import Principal
from llamastack.db import db
from llamastack.errors import BadRequest, Conflict, NotFound, RateLimited
from llamastack.pagination import Page, page
from llamastack.stack import current

LOOKS_SECONDS = 0.5  # for what has happened in a job that somebody watches
RETRY_SECONDS = 5
QUIET_SECONDS = 15.0  # after which whoever watches is told that nothing has happened: proxies cut what is silent
MOST_EVENTS = 500  # that are read at once
SHOWN = 100
MOST_WATCHING = 100  # the jobs of one tenant, in one process: each looks twice a second
NUMBER = re.compile(r"\d{1,18}", re.ASCII)
Event = JobObject | JobEventObject | None
Seen = Callable[[], Awaitable[JobQuerySet]]


def of(principal: Principal) -> JobQuerySet:
    """Those that nobody asks for do their work for all tenants: they are an admin's to see, to cancel and to retry."""
    rows: JobQuerySet = Job.objects.visible_to(principal)
    return rows if principal.is_admin else rows.exclude(owner=SYSTEM, kind__in=kinds.PERIODIC)


def of_person(person: User) -> JobQuerySet:
    """As the admin shows them: a superuser sees those of all tenants."""
    rows: JobQuerySet = Job.objects.all() if person.is_superuser else Job.objects.filter(tenant=person.tenant)
    return rows


async def of_key(headers: dict[str, str]) -> JobQuerySet:
    """Those of whoever sends these headers, by names in lower case."""
    return of(await current().live.principal(headers, required=settings.AUTH_REQUIRED))


def of_queue(rows: QuerySet[Any], queue: str) -> QuerySet[Any]:
    """Those that the workers of a queue do, which with the default one are also those of kinds that there are not."""
    if queue == kinds.DEFAULT:
        return rows.exclude(kind__in=kinds.elsewhere([queue]))
    return rows.filter(kind__in=kinds.elsewhere({*kinds.QUEUES} - {queue}))


def found(rows: JobQuerySet, job_id: str) -> Job:
    """The job of that id among those that somebody may see."""
    job: Job | None = None if "\0" in job_id else rows.filter(pk=job_id).first()
    if job is None:
        raise NotFound(f"There is no job '{job_id[:SHOWN]}'. GET /v1alpha/jobs lists them.", param="job_id")
    return job


def got(rows: JobQuerySet, job_id: str) -> JobObject:
    return shown(found(rows, job_id))


def listed(known: JobQuerySet, paging: JobFilter) -> Page[JobObject]:
    wanted: dict[str, Any] = paging.model_dump(include={"kind", "status"}, exclude_none=True)
    rows = known.filter(**wanted).after(paging.after, paging.order, known)
    jobs = [shown(job) for job in rows[: paging.limit + 1]]
    return page(jobs[: paging.limit], len(jobs) > paging.limit)


def cancelled(rows: JobQuerySet, job_id: str) -> JobObject:
    """The job, which has been cancelled, or will be when whoever does it looks."""
    found(rows, job_id)
    done = rows.cancel(job_id)
    job = found(rows, job_id)
    if not done and job.status != Status.cancelled:
        raise Conflict(f"The job is {job.status}: there is nothing to cancel.", code="job_ended")
    return shown(job)


def retried(rows: JobQuerySet, job_id: str) -> JobObject:
    """The job, queued again."""
    job = found(rows, job_id)
    kinds.refuse_again(job.kind, job.payload)
    if not rows.retry(job_id):
        raise Conflict(
            f"The job is {job.status}: what can be tried again has failed, was cancelled, or was set aside.",
            code="job_state",
        )
    return got(rows, job_id)


def may_retry(job: Job) -> bool:
    try:
        kinds.refuse_again(job.kind, job.payload)
    except Conflict:
        return False
    return job.status in ENDED and job.status != Status.completed


def number(text: str, param: str) -> int:
    """The number of the last event that somebody has, as the field `param` tells it; 0 where it tells none."""
    if text and not NUMBER.fullmatch(text):
        raise BadRequest(f"'{param}' is the number of the last event that has come.", param=param)
    return int(text or 0)


async def events(
    seen: Seen, job_id: str, after: int = 0, param: str = "after", quiet: float = QUIET_SECONDS
) -> AsyncGenerator[Event]:
    """What happens in the job after the event of the number `after`, and the job whenever it has changed.

    None where nothing has happened for a while. The last one is the job that has ended. What may be `seen` is asked for
    at each look, since keys are revoked. `param` is the field that has told `after`. Raises RateLimited where too many
    watch.
    """
    tenant = await db(lambda rows: found(rows, job_id).tenant, await seen())
    with _watching.place(tenant):
        async with aclosing(_events(seen, job_id, after, param, quiet)) as happening:
            async for event in happening:
                yield event


class Watching:
    """How many watch the jobs of each tenant."""

    def __init__(self) -> None:
        self.count = Counter[str]()

    @contextmanager
    def place(self, tenant: str) -> Iterator[None]:
        if self.count[tenant] >= MOST_WATCHING:
            told = f"{MOST_WATCHING} clients watch jobs of this tenant, and there may be no more: end some of them, or "
            raise RateLimited(told + "look now and then: GET /v1alpha/jobs/{job_id}.", retry_after=RETRY_SECONDS)
        self.count[tenant] += 1
        try:
            yield
        finally:
            self.count[tenant] -= 1


_watching = Watching()


async def _events(seen: Seen, job_id: str, after: int, param: str, quiet: float) -> AsyncGenerator[Event]:
    last: JobObject | None = None
    told = time.monotonic()
    while True:
        job, happened = await db(_happened, await seen(), job_id, after, param)
        for event in happened:
            after = event.number
            yield event
        if len(happened) == MOST_EVENTS:
            continue
        if job != last:
            yield job
        if happened or job != last:
            last, told = job, time.monotonic()
        elif time.monotonic() - told >= quiet:
            told = time.monotonic()
            yield None
        if job.status in ENDED:
            return
        await asyncio.sleep(LOOKS_SECONDS)


def _happened(rows: JobQuerySet, job_id: str, after: int, param: str) -> tuple[JobObject, list[JobEventObject]]:
    row = found(rows, job_id)  # before its events: those of one that has ended are all there
    if after > row.events:
        raise BadRequest(f"'{param}' is {after}, but the last event of this job is {row.events}.", param=param)
    return shown(row), events_after(row, after)


def events_after(job: Job, after: int) -> list[JobEventObject]:
    rows = JobEvent.objects.filter(job=job, number__gt=after).order_by("number")[:MOST_EVENTS]
    return [
        JobEventObject(number=row.number, kind=row.kind, data=row.data, created_at=row.created_at.timestamp())
        for row in rows
    ]


def shown(job: Job) -> JobObject:
    return JobObject(
        id=job.id,
        kind=job.kind,
        owner=job.owner,
        status=job.status,
        progress=job.progress,
        attempt=job.attempt,
        error=job.error or None,
        cancel_requested=job.cancel_requested,
        created_at=int(job.created_at.timestamp()),
        started_at=epoch(job.started_at),
        expected_at=epoch(job.expected_at),
        ended_at=epoch(job.ended_at),
    )


def epoch(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp())
