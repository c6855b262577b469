"""A worker: does the jobs that are due, a few at a time, on the loop of the Stack."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

from apps.jobs.models import Job
from apps.jobs.work import Kinds, work
from llamastack.db import db
from llamastack.errors import Unavailable

AT_ONCE = 8
PLANS_SECONDS = 60.0  # between two looks for what is to be done again
LOOKS_SECONDS = 1.0  # for jobs of other processes: who adds one here rings
STOP_SECONDS = 25.0  # whoever stops a server gives it 30
logger = logging.getLogger(__name__)


class Worker:
    """The rows are the truth: whoever has added a job rings, and one that nobody has rung for is found all the same."""

    def __init__(self, kinds: Kinds, at_once: int = AT_ONCE, periodic: Mapping[str, int] | None = None) -> None:
        self.kinds = kinds
        self.at_once = at_once
        self.periodic = periodic or {}
        self._doing: dict[str, asyncio.Task[None]] = {}
        self._bell = asyncio.Event()
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
        if self._stopping or job_id in self._doing:
            return
        doing = self._take(job_id)
        stopped = asyncio.create_task(self._stopped.wait())
        await asyncio.wait([doing, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()

    def ring(self) -> None:
        """There is a job."""
        self._bell.set()

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
            due = await db(Job.objects.next, room, list(self._doing))
        except Unavailable as error:
            logger.debug("No jobs can be looked for: %s", error.message)
            return
        except Exception:  # whatever it was, this worker goes on looking
            logger.exception("No jobs can be looked for")
            return
        for job_id in due:
            self._take(job_id)

    def _take(self, job_id: str) -> asyncio.Task[None]:
        task = self._doing[job_id] = asyncio.create_task(self._do(job_id), name=job_id)
        return task

    async def _do(self, job_id: str) -> None:
        ended = False
        try:
            ended = await work(job_id, self.kinds)
        except Unavailable as error:  # its lease ends by itself, and the job is begun again
            logger.warning("Job %s was left: %s", job_id, error.message)
        except Exception:  # nobody waits for this task
            logger.exception("Job %s was left", job_id)
        finally:
            del self._doing[job_id]
            if ended:
                self.ring()  # there is room for another one


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
