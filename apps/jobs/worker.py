"""A worker: does the jobs that are due, a few at a time, on the loop of the Stack."""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import timedelta

from django.db.models import DateTimeField, ExpressionWrapper, Q, Value
from django.db.models.functions import Now

from apps.jobs.models import Job
from apps.jobs.work import Kinds, work
from llamastack.db import db
from llamastack.errors import StackError, Unavailable

AT_ONCE = 8
PLANS_SECONDS = 60.0  # between two looks for what is to be done again
LOOKS_SECONDS = 1.0  # for jobs of other processes: who adds one here rings
LEFT = timedelta(hours=1)  # to newer workers: what is of no kind that this one knows
STOP_SECONDS = 25.0  # whoever stops a server gives it 30
logger = logging.getLogger(__name__)


class Worker:
    """The rows are the truth: whoever has added a job rings, and one that nobody has rung for is found all the same.

    Kinds that are `long` take hours: those of one tenant have half of the places and those of all tenants three
    quarters, so that what others ask for has its turn. They wait for that even where places are free.

    With `known`, jobs of other kinds are left for an hour: while a server is renewed, its newer workers know more.
    """

    def __init__(
        self,
        kinds: Kinds,
        at_once: int = AT_ONCE,
        periodic: Mapping[str, int] | None = None,
        long: Collection[str] = (),
        known: Collection[str] | None = None,
    ) -> None:
        self.kinds = kinds
        self.at_once = at_once
        self.periodic = periodic or {}
        self.long = long
        self.known = known
        self._doing: dict[str, asyncio.Task[None]] = {}
        self._long: dict[str, str] = {}  # of those that are being done: the job's id, its tenant
        self._bell = asyncio.Event()
        self._room = asyncio.Event()
        self._stopping = False
        self._stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(planning(self.periodic))]

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Take no more, and hand back what is being done: whoever comes next goes on with it at once.

        What is not handed back in time is left.
        """
        if self._stopping:
            await self._stopped.wait()
            return
        self._stopping = True
        tasks = [*self._tasks, *self._doing.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        self._stopped.set()

    async def do(self, job_id: str) -> None:
        """Do this one, for whoever has been told of it; it has ended or was left when this returns."""
        try:
            told = await db(due_beside, self.waiting, [job_id])
        except StackError as error:  # whoever tends the queue sends it again
            logger.warning("Job %s was left: %s", job_id, error.message)
            return
        if self._stopping or job_id in self._doing or not told or self._must_wait(*told[0][1:]):
            return
        doing = self._take(*told[0])
        stopped = asyncio.create_task(self._stopped.wait())
        await asyncio.wait([doing, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()

    def ring(self) -> None:
        """There is a job."""
        self._bell.set()

    async def room(self, seconds: float) -> bool:
        """Whether, within so long, a place has become free that other long jobs may have waited for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._room.wait()
        free = self._room.is_set()
        self._room.clear()
        return free

    async def _run(self) -> None:
        while True:
            self._bell.clear()
            if room := self.at_once - len(self._doing):
                await self._begin(room)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOKS_SECONDS):
                    await self._bell.wait()

    async def _begin(self, room: int) -> None:
        try:
            due = await db(next_beside, self.waiting, room, list(self._doing))
        except Unavailable as error:
            logger.debug("No jobs can be looked for: %s", error.message)
            return
        except Exception:  # whatever it was, this worker goes on looking
            logger.exception("No jobs can be looked for")
            return
        for job_id, kind, tenant in due:
            if self._must_wait(kind, tenant):
                self.ring()  # others may have its place
            elif job_id not in self._doing:
                self._take(job_id, kind, tenant)

    def _must_wait(self, kind: str, tenant: str) -> bool:
        return kind in self.long and (self._is_full or tenant in self._full_tenants)

    @property
    def waiting(self) -> Q:
        """Those that must wait, or are for others to do."""
        waiting = Q(pk__in=[])
        if self.known is not None:
            waiting |= ~Q(kind__in=self.known) & Q(
                created_at__gt=ExpressionWrapper(Now() - Value(LEFT), DateTimeField())
            )
        if self._is_full:
            return waiting | Q(kind__in=self.long)
        full = self._full_tenants
        return waiting | Q(kind__in=self.long, tenant__in=full) if full else waiting

    @property
    def _is_full(self) -> bool:
        return len(self._long) >= max(1, self.at_once * 3 // 4)

    @property
    def _full_tenants(self) -> list[str]:
        most = max(1, self.at_once // 2)
        return [tenant for tenant, count in Counter(self._long.values()).items() if count >= most]

    def _take(self, job_id: str, kind: str, tenant: str) -> asyncio.Task[None]:
        if kind in self.long:
            self._long[job_id] = tenant
        task = self._doing[job_id] = asyncio.create_task(self._do(job_id), name=job_id)
        return task

    async def _do(self, job_id: str) -> None:
        written = False
        try:
            written = await work(job_id, self.kinds)
        except Unavailable as error:  # its lease ends by itself, and the job is begun again
            logger.warning("Job %s was left: %s", job_id, error.message)
        except Exception:  # nobody waits for this task
            logger.exception("Job %s was left", job_id)
        finally:
            del self._doing[job_id]
            if self._long.pop(job_id, None) is not None:
                self._room.set()
            if written:
                self.ring()  # there is room for another one


def next_beside(waiting: Q, room: int, under_way: list[str]) -> list[tuple[str, str, str]]:
    """The id, kind and tenant of the next jobs that are due, without those that wait and those under way."""
    due = Job.objects.exclude(waiting).next(room, under_way)
    return due_beside(waiting, due) if due else []


def due_beside(waiting: Q, job_ids: list[str]) -> list[tuple[str, str, str]]:
    told: list[tuple[str, str, str]] = Job.objects.exclude(waiting).told(job_ids)
    return told


async def planning(periodic: Mapping[str, int], every: float = PLANS_SECONDS) -> None:
    """Have there be, again and again, the jobs that nobody asks for."""
    while True:
        await asyncio.sleep(every)
        for kind, seconds in periodic.items():
            try:
                await db(Job.objects.plan, kind, seconds)
            except Unavailable as error:
                logger.debug("No %s can be planned: %s", kind, error.message)
            except Exception:  # whatever it was, the next time may go well
                logger.exception("No %s can be planned", kind)
