"""What a worker does beside its jobs: ids that were lost, with Redis or with another worker, are sent again."""

import asyncio
import logging
from collections.abc import Iterable

from django.db.models import Q

from apps.jobs import kinds
from apps.jobs.models import Job
from apps.jobs.worker import Worker
from llamastack.db import db
from llamastack.errors import Unavailable

TENDS_SECONDS = 2.0
MOST = 100  # that are looked at: with so many messages waiting, nobody is idle
logger = logging.getLogger(__name__)


async def tending(queues: Iterable[str], worker: Worker, every: float = TENDS_SECONDS) -> None:
    """For ever, at once and then again and again, also where a place has become free that others waited for. No ids
    are sent of those that `worker` has waiting."""
    told, most = False, MOST
    while True:
        for queue in queues:
            try:
                left, queued = await db(_due, queue, worker.waiting, most)
                await asyncio.to_thread(remind, queue, left, queued)
                told = False
            except Unavailable as error:
                logger.debug("No jobs can be looked for: %s", error.message)
            except Exception as error:  # of Redis' client: when it is back, this goes on
                logger.log(logging.DEBUG if told else logging.WARNING, "Queue %s is not looked after: %s", queue, error)
                told = True
        most = worker.at_once if await worker.room(every) else MOST


def remind(queue: str, left: list[str], queued: list[tuple[str, int]]) -> None:
    """Send ids again, where fewer messages wait than there are jobs to be done. One too many finds nothing to do."""
    from llamastack import celery

    if not left and not queued:
        return
    urgent, waiting = celery.waiting(queue)
    for job_id in left if urgent < len(left) else ():
        celery.send(job_id, queue, celery.URGENT)
    for job_id, priority in queued if waiting < len(queued) else ():
        celery.send(job_id, queue, celery.step(priority))


def _due(queue: str, waiting: Q, most: int) -> tuple[list[str], list[tuple[str, int]]]:
    """Of this queue: those that somebody has left, and the first of those that wait, each with its priority."""
    ours = Job.objects.exclude(kind__in=kinds.elsewhere([queue])).exclude(waiting)
    left = ours.left().order_by("lease_until").values_list("id", flat=True)[:most]
    queued = ours.queued().order_by("-priority", "created_at", "id").values_list("id", "priority")[:most]
    return list(left), list(queued)
