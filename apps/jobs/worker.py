"""A worker: does the jobs that are due, a few at a time, on the loop of the Stack."""

import asyncio
import logging
from contextlib import suppress

from apps.jobs.models import Job
from apps.jobs.work import Kinds, work
from llamastack.db import db
from llamastack.errors import Unavailable

AT_ONCE = 8
LOOKS_SECONDS = 1.0  # for jobs of other processes: who adds one here rings
STOP_SECONDS = 25.0  # whoever stops a server gives it 30
logger = logging.getLogger(__name__)


class Worker:
    """The rows are the truth: whoever has added a job rings, and one that nobody has rung for is found all the same."""

    def __init__(self, kinds: Kinds, at_once: int = AT_ONCE) -> None:
        self.kinds = kinds
        self.at_once = at_once
        self._doing: dict[str, asyncio.Task[None]] = {}
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Take no more, and hand back what is being done: whoever comes next goes on with it at once."""
        tasks = [self._task, *self._doing.values()] if self._task else []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)

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
            self._doing[job_id] = asyncio.create_task(self._do(job_id), name=job_id)

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
