"""The job that removes jobs which ended long ago, and what happened in them."""

from django.conf import settings

from apps.jobs.models import Job, JobEvent
from apps.jobs.work import Running
from llamastack.db import db
from llamastack.stack import LlamaStack


async def sweep(stack: LlamaStack, running: Running) -> None:
    if not settings.JOBS_KEPT:
        return
    events = jobs = 0
    while gone := await db(JobEvent.objects.forget, settings.JOBS_KEPT):
        events += gone
        await running.progress(events=events)
    while gone := await db(Job.objects.forget, settings.JOBS_KEPT):
        jobs += gone
        await running.progress(events=events, jobs=jobs)
