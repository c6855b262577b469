"""`work(job_id)`: claim a job, run it, keep its lease, and write its end once."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from django.db import connections
from pydantic import BaseModel, ValidationError

from apps.jobs.models import LEASE, Job, Status
from llamastack.bodies import invalid
from llamastack.db import db
from llamastack.errors import ProviderOff, StackError, Unavailable

HUNG = timedelta(minutes=2)  # a model that is loaded may take a loop's time for a while
P = TypeVar("P", bound=BaseModel)
logger = logging.getLogger(__name__)


class Cancelled(Exception):
    """Somebody has asked for the job's end; it is raised where the job reports its progress."""


class Lost(Exception):
    """Somebody else has claimed the job since: nothing that is done for it counts any more."""


class Unreadable(Exception):
    """The job cannot be done by anybody: its kind is none, or its payload does not parse. The text says why."""


class Running:
    """What a job's `run` is given: the row as it was claimed, and the ways to tell how it goes."""

    def __init__(self, job: Job) -> None:
        self.job = job

    async def progress(self, **progress: Any) -> None:
        """Say how far it is. Raises Cancelled and Lost: what is done so far is the handler's to put in order."""
        go_on = await db(Job.objects.report, self.job, progress)
        if go_on is None:
            raise Lost
        if not go_on:
            raise Cancelled

    async def log(self, message: str) -> None:
        await self._tell("log", {"message": message})

    async def metric(self, **values: float) -> None:
        """Numbers by their names, each of which the job's page draws as a line."""
        await self._tell("metric", values)

    async def _tell(self, kind: str, data: dict[str, Any]) -> None:
        if await db(Job.objects.tell, self.job, kind, data) is None:
            raise Lost


def read(kind: type[P], job: Job) -> P:
    """The job's payload. Raises Unreadable."""
    try:
        return kind.model_validate(job.payload)
    except ValidationError as error:
        told = invalid(error.errors(), job.payload).message
        raise Unreadable(f"The payload of this job cannot be read: {told}") from error


Run = Callable[[Running], Awaitable[None]]
Kinds = Callable[[str], Run]


async def work(job_id: str, kinds: Kinds, lease: timedelta = LEASE, hung: timedelta = HUNG) -> bool:
    """Whether the job was ours to do, and it is written that it has ended, or waits. `kinds` gives what runs a kind."""
    job = await _claimed(job_id, lease)
    if job is None:
        return False
    task = asyncio.current_task()
    assert task is not None
    with renewed(job, lease, asyncio.get_running_loop(), task.cancel, hung) as lost:
        try:
            status, error = await _ended(job, kinds)
        except asyncio.CancelledError:
            if not lost.is_set():  # the server stops: the next one goes on at once
                await db(Job.objects.hand_back, job)
                raise
            task.uncancel()
            logger.warning("Job %s was left: its lease was lost", job_id)
            return False
        except Lost:
            logger.warning("Job %s was left: somebody else has claimed it since", job_id)
            return False
        except Unavailable as gone:
            return await _waits(job, gone)
    return await db(Job.objects.finish, job, status, error)


async def _claimed(job_id: str, lease: timedelta) -> Job | None:
    claiming = asyncio.create_task(db(Job.objects.claim, job_id, lease))
    try:
        job: Job | None = await asyncio.shield(claiming)
    except asyncio.CancelledError:  # the thread goes on all the same
        if claimed := await claiming:
            await db(Job.objects.hand_back, claimed)
        raise
    return job


async def _waits(job: Job, gone: Unavailable) -> bool:
    """Begun again later; where it is the database that is gone, once the lease has ended."""
    off = isinstance(gone, ProviderOff)
    try:
        waits: bool = await db(Job.objects.wait if off else Job.objects.leave, job, gone.message)
    except Unavailable:
        waits = False
    if waits:
        logger.log(logging.DEBUG if off else logging.WARNING, "Job %s waits: %s", job.id, gone.message)
    else:
        logger.warning("Job %s was left: %s", job.id, gone.message)
    return waits


async def _ended(job: Job, kinds: Kinds) -> tuple[Status, str]:
    try:
        await kinds(job.kind)(Running(job))
    except Cancelled:
        return Status.cancelled, ""
    except (Lost, Unavailable):
        raise
    except Unreadable as reason:
        return Status.quarantined, str(reason)
    except StackError as error:
        return Status.failed, error.message
    except Exception:  # a handler may fail in any way; its job says so, and the next job goes on
        logger.exception("Job %s failed", job.id)
        return Status.failed, "The server failed while it did this; its log says more."
    return Status.completed, ""


@contextmanager
def renewed(
    job: Job, lease: timedelta, loop: asyncio.AbstractEventLoop, stop: Callable[[], object], hung: timedelta = HUNG
) -> Iterator[threading.Event]:
    """The lease renewed from a thread of its own, however busy the loop is; where it is lost, `stop` is called.

    A loop that does not turn for as long as `hung` will do nothing any more: somebody else is to go on.
    """
    over, lost = threading.Event(), threading.Event()
    turned = time.monotonic()

    def turn() -> None:
        nonlocal turned
        turned = time.monotonic()

    def renew() -> None:
        try:
            while not over.wait(lease.total_seconds() / 3):
                loop.call_soon_threadsafe(turn)
                hangs = time.monotonic() - turned > hung.total_seconds()
                if hangs:
                    logger.error("Nothing has gone on for %s: job %s is left to others", hung, job.id)
                if hangs or not _kept(job, lease):
                    lost.set()
                    loop.call_soon_threadsafe(stop)
                    return
        finally:
            connections.close_all()

    thread = threading.Thread(target=renew, name=f"lease-{job.id}", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        over.set()


def _kept(job: Job, lease: timedelta) -> bool:
    """A database that is gone for a moment takes no lease away: it ends by itself, where it stays away."""
    try:
        return bool(Job.objects.renew(job, lease))
    except Exception as error:  # of whatever kind: the next time may go well
        logger.warning("The lease of job %s was not renewed: %s", job.id, error)
        return True
    finally:
        connections.close_all()
