"""A batch that is being done. Answers are kept as they come: after a crash none of them is asked for once more."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.access.models import may_act
from apps.batches.answers import answer, unanswered
from apps.batches.keeping import Kept, lines_of
from apps.batches.lines import Checked, Line, checked, lines
from apps.batches.models import WRITTEN, Batch, Status
from apps.batches.output import written
from apps.batches.pace import Pace
from apps.batches.protocol import BatchLimits
from apps.batches.schemas import BatchError
from apps.jobs.models import Job
from apps.jobs.work import Cancelled, Lost, Running
from llamastack.call import Call
from llamastack.db import db
from llamastack.errors import NotFound, StackError, Unavailable
from llamastack.stack import LlamaStack

MOST_BYTES = 200 * 1024 * 1024  # of an input file, as OpenAI has it
KEEPS_SECONDS = 1.0
PATIENCE_SECONDS = 60.0  # with a database that is gone; who comes after us is told by the fence
LOOKS_SECONDS = 15.0  # whether its owner may still act
KEPT = timedelta(days=1)  # after its time is over: so long what was answered waits for a provider of files
GONE = BatchError(
    code="owner_disabled",
    message="Whoever created this batch has no API key and no active user any more: it was stopped.",
)
EXPIRED = "batch_expired", "This request could not be executed before the completion window expired."


class Expired(Exception):
    """The completion window is over."""


class Gone(Exception):
    """Whoever has created the batch may do so no more: nothing more is spent for them."""


@dataclass(frozen=True)
class Begun:
    """How it stands where somebody begins with it. `to_be_cancelled` is None where the job is another's since."""

    lines: set[int]
    to_be_cancelled: bool | None
    may_act: bool


def begun_by(job: Job, batch: Batch, key: str) -> Begun:
    row = Job.objects.held(job).values_list("cancel_requested", flat=True).first()
    return Begun(lines_of(batch), row, may_act(batch.tenant, batch.owner, key))


@dataclass
class Doing:
    """Its file is checked, its lines answered a few at a time, and its two files written."""

    stack: LlamaStack
    running: Running
    batch: Batch
    call: Call
    limits: BatchLimits

    def __post_init__(self) -> None:
        self.pace = Pace()
        self.kept = Kept(self.running.job, self.batch, self.pace)
        self.writable = asyncio.Event()  # whether answers can be kept: nothing is asked that would be lost
        self.writable.set()
        self.errors: list[Any] = self.batch.errors
        self.looked = -math.inf  # when it was looked whether the owner may still act

    async def end(self) -> Status:
        begun = await self._begun()
        resumed = self.batch.status == Status.finalizing
        if resumed:
            status = self._as_it_was_left()
        else:
            status = await self._answered(begun)
            if status == Status.failed and not self.kept.lines:
                await self._end(status, errors=self.errors, total=self.batch.total)
                return status
            told = f"{len(self.kept.lines)} of {self.batch.total} lines have been answered."
            await self._step(told, status=Status.finalizing, finalizing_at=timezone.now(), errors=self.errors)
        await self._end(status, **await self._files(resumed))
        return status

    def _as_it_was_left(self) -> Status:
        """Whoever wrote the files before is gone; no line has been answered since."""
        began = self.batch.finalizing_at
        in_time = began is None or began < self.batch.expires_at
        all_lines = self.batch.total > 0 and len(self.kept.lines) == self.batch.total
        if in_time and all_lines:
            return Status.completed
        if in_time and self.errors:
            return Status.failed
        asked = self.running.job.cancel_requested or self.batch.cancelling_at is not None
        return Status.cancelled if in_time or (asked and not all_lines) else Status.expired

    async def _files(self, resumed: bool) -> dict[str, Any]:
        """Raises Unavailable, for at most a day after its time, where no file can be written."""
        try:
            return await written(self.stack.files, self.call, self.batch, left=resumed)
        except Unavailable as gone:
            if not self._is_given_up():
                raise
            told = f"What was answered could not be written to its files, and is lost: {gone.message}"
            self.errors = [*self.errors, BatchError(code=gone.code or "", message=told).model_dump()]
            return {"errors": self.errors}

    def _is_over(self) -> bool:
        return timezone.now() >= self.batch.expires_at

    def _is_given_up(self) -> bool:
        return timezone.now() >= self.batch.expires_at + KEPT

    async def _begun(self) -> "Begun":
        begun = await db(begun_by, self.running.job, self.batch, self.call.principal.key)
        if begun.to_be_cancelled is None:
            raise Lost
        self.kept.begin(begun.lines)
        self.looked = time.monotonic()
        return begun

    async def _answered(self, begun: "Begun") -> Status:
        try:
            if begun.to_be_cancelled:
                raise Cancelled
            if not begun.may_act:
                raise Gone
            if self.batch.status == Status.validating and not await self._valid():
                return Status.failed
            await self._answer_lines()
            if len(self.kept.lines) < self.batch.total:
                raise RuntimeError(f"{self.batch.total - len(self.kept.lines)} lines of {self.batch.id} have no answer")
        except Cancelled:
            return Status.cancelled
        except Gone:
            self.errors = [GONE.model_dump()]
            return Status.failed
        except Expired:
            await self._expire_lines()
            return Status.expired
        except (NotFound, Unavailable) as gone:  # a line's own errors are its answers: this is the input file
            return self._without_input(gone)
        return Status.completed

    def _without_input(self, gone: StackError) -> Status:
        """Raises what is Unavailable, for which the job waits: without an answer until its time is over."""
        if isinstance(gone, Unavailable) and (self.kept.lines or not self._is_over()):
            raise gone
        self._tell_of_input(gone)
        return Status.expired if isinstance(gone, Unavailable) else Status.failed

    def _tell_of_input(self, error: StackError) -> None:
        more = "any more" if isinstance(error, NotFound) else "before the completion window was over"
        told = f"The input file cannot be read {more}: {error.message} What had been answered by then is kept."
        self.errors = [BatchError(code=error.code or "", message=told, param="input_file_id").model_dump()]

    # --- the input file ---

    async def _valid(self) -> bool:
        found = await self._checked()
        self.batch.total = found.total
        if found.errors:
            self.errors = [error.model_dump() for error in found.errors]
            return False
        began = {"status": Status.in_progress, "in_progress_at": timezone.now()}
        told = f"The input file is valid: {found.total} lines."
        if not await self._step(told, total=found.total, model=found.model, **began):
            raise Cancelled
        return True

    async def _checked(self) -> Checked:
        found = Checked(self.batch.endpoint)
        try:
            file = await self.stack.files.get(self.call, self.batch.input_file_id)
        except NotFound:
            told = "There is no such file. GET /v1/files lists them."
            found.wrong("file_not_found", told, "input_file_id")
            return found
        if file.purpose != "batch":
            told = f"The file was uploaded for '{file.purpose}'. Upload it with the purpose 'batch'."
            found.wrong("invalid_purpose", told, "input_file_id")
            return found
        if file.bytes > MOST_BYTES:
            told = f"The file has {file.bytes:,} bytes; {MOST_BYTES:,} (200 MB) is the most. Split it into several."
            found.wrong("file_too_large", told, "input_file_id")
            return found
        async with aclosing(self._content()) as content:
            return await checked(content, self.batch.endpoint)

    def _content(self) -> Any:
        return self.stack.files.content(self.call, self.batch.input_file_id)

    async def _lines_left(self) -> AsyncGenerator[Line]:
        async with aclosing(self._content()) as content:
            async for line in lines(content):
                if line.number not in self.kept.lines:
                    yield line

    # --- its lines ---

    async def _answer_lines(self) -> None:
        """Keeps all that is answered. Raises Cancelled, Expired, Gone and, of the input file, NotFound."""
        if self._is_over():
            raise Expired
        asking = asyncio.create_task(self._ask())
        asking.add_done_callback(lambda _: self.kept.due.set())
        try:
            over = False
            while not over:
                with suppress(TimeoutError):
                    async with asyncio.timeout(KEEPS_SECONDS):
                        await self.kept.due.wait()
                self.kept.due.clear()
                over = asking.done()
                await self._kept_on()
                if self._is_over() and not asking.done():
                    raise Expired
            asking.result()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await self.kept.write()  # also where the server stops

    async def _kept_on(self) -> None:
        """Keep what has been answered and go on, also where the database is gone for a while and comes back."""
        patience = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                await self._go_on(await self.kept.write())
                self.writable.set()
                return
            except Unavailable:
                if time.monotonic() >= patience:
                    raise
                self.writable.clear()
                await asyncio.sleep(KEEPS_SECONDS)

    async def _ask(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        places = asyncio.Semaphore(self.limits.lines_at_once)

        def over(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            places.release()

        try:
            async with aclosing(self._lines_left()) as left:
                async for line in left:
                    await places.acquire()
                    await self.writable.wait()
                    task = asyncio.create_task(self._ask_one(line))
                    tasks.add(task)
                    task.add_done_callback(over)
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_one(self, line: Line) -> None:
        answered = await answer(self.stack.inference, self.stack.unattended, self.call, self.batch.endpoint, line)
        self.kept.add(answered)

    async def _expire_lines(self) -> None:
        """Where the input file is gone, nobody knows any more what its lines were called.

        Where it is only out of reach, it is waited for if there are answers, which could not be written either.
        """
        try:
            async with aclosing(self._lines_left()) as left:
                async for line in left:
                    self.kept.add(unanswered(line, *EXPIRED))
                    if len(self.kept.coming) >= WRITTEN:
                        await self.kept.write()
        except (NotFound, Unavailable) as gone:
            if self.kept.lines and isinstance(gone, Unavailable) and not self._is_given_up():
                raise
            self._tell_of_input(gone)
        await self.kept.write()

    # --- its row ---

    async def _go_on(self, told: bool | None) -> None:
        """Tell how far it is, unless that was told with what was written. Raises Cancelled, and Gone within a quarter
        of a minute."""
        if told is None:
            await self.running.progress(**self._progress)
        elif not told:
            raise Cancelled
        if time.monotonic() - self.looked >= LOOKS_SECONDS:
            if not await db(may_act, self.batch.tenant, self.batch.owner, self.call.principal.key):
                raise Gone
            self.looked = time.monotonic()
        if (pace := self.pace.due()) is not None:
            await self.running.metric(**pace)

    @property
    def _progress(self) -> dict[str, int]:
        return {"done": len(self.kept.lines), "total": self.batch.total}

    async def _step(self, message: str, **fields: Any) -> bool:
        goes_on = await db(Batch.objects.step, self.running.job, self.batch.id, message, self._progress, **fields)
        if goes_on is None:
            raise Lost
        return bool(goes_on)

    async def _end(self, status: Status, **fields: Any) -> None:
        if not await db(Batch.objects.end, self.running.job, self.batch.id, status, self._progress, **fields):
            raise Lost
