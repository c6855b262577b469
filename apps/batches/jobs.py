"""The job of a batch: check its file, answer its lines a few at a time, write the two files.

Answers are kept as they come, so that whoever goes on after a crash asks for none of them again.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from django.utils import timezone
from pydantic import BaseModel, Field, ValidationError

from apps.batches.answers import Answer, answer, unanswered
from apps.batches.lines import Checked, Line, checked, lines
from apps.batches.models import WRITTEN, Batch, BatchAnswer, Status
from apps.batches.protocol import BatchLimits
from apps.files.protocol import NewFile
from apps.files.schemas import MOST_LISTED, ExpiresAfter, FileFilter, FileUpload
from apps.jobs.work import Cancelled, Lost, Running, Unreadable
from llamastack.call import Call, Principal
from llamastack.db import db
from llamastack.encryption import decrypt
from llamastack.errors import BadRequest, NotFound, StackError
from llamastack.provider_data import ProviderData
from llamastack.stack import LlamaStack

KEEPS_SECONDS = 0.5
PURPOSE: Literal["batch_output"] = "batch_output"
EXPIRED = "batch_expired", "This request could not be executed before the completion window expired."


class Payload(BaseModel):
    """Of a job: the batch, and what its creator was besides its owner."""

    form: Literal[1] = Field(alias="schema")
    batch_id: str
    scopes: list[str]
    key: str


class Expired(Exception):
    """The completion window is over."""


async def run(stack: LlamaStack, running: Running) -> None:
    try:
        payload = Payload.model_validate(running.job.payload)
    except ValidationError as error:
        raise Unreadable(f"The payload of this job cannot be read: {error.errors()[0]['msg']}.") from error
    batch: Batch | None = await db(Batch.objects.filter(pk=payload.batch_id).first)
    if batch is None:
        raise Unreadable(f"There is no batch '{payload.batch_id}' any more.")
    if batch.ended:
        _tell(Status(batch.status))
        return
    principal = Principal(batch.owner, batch.tenant, frozenset(payload.scopes), payload.key)
    data = orjson.loads(decrypt(batch.provider_data)) if batch.provider_data else {}
    limits = await stack.batches.limits(batch.tenant)
    async with limits.places:
        _tell(await Doing(stack, running, batch, Call(principal, provider_data=ProviderData(data)), limits).end())


def _tell(status: Status) -> None:
    """How the job has ended whose batch has ended so."""
    if status == Status.cancelled:
        raise Cancelled
    if status == Status.failed:
        raise BadRequest("The input file is not valid: the batch's 'errors' say why.")
    if status == Status.expired:
        raise StackError("The batch was not done within its completion window.", code="batch_expired")


@dataclass
class Doing:
    """A batch that is being done."""

    stack: LlamaStack
    running: Running
    batch: Batch
    call: Call
    limits: BatchLimits

    def __post_init__(self) -> None:
        self.done: set[int] = set()
        self.answers: list[Answer] = []

    async def end(self) -> Status:
        self.done = await db(_done, self.batch.id)
        resumed = self.batch.status == Status.finalizing
        if resumed:
            status = self._as_it_was_left()
        else:
            status = await self._answered()
            if status == Status.failed:
                return status
            await self._write(status=Status.finalizing, finalizing_at=timezone.now())
            await self.running.log(f"{len(self.done)} of {self.batch.total} lines have been answered.")
        files = {
            "output_file_id": await self._file("output", True, resumed),
            "error_file_id": await self._file("error", False, resumed),
        }
        await self._end(status, **files)
        return status

    def _as_it_was_left(self) -> Status:
        """Whoever wrote the files before is gone; no line has been answered since."""
        if len(self.done) == self.batch.total and self.batch.total:
            return Status.completed
        asked = self.running.job.cancel_requested or self.batch.cancelling_at is not None
        return Status.cancelled if asked or timezone.now() < self.batch.expires_at else Status.expired

    async def _answered(self) -> Status:
        try:
            await self._tell_progress()
            if self.batch.status == Status.validating and not await self._valid():
                return Status.failed
            await self._answer_lines()
        except Cancelled:
            return Status.cancelled
        except Expired:
            await self._expire_lines()
            return Status.expired
        return Status.completed

    # --- the input file ---

    async def _valid(self) -> bool:
        found = await self._checked()
        if found.errors:
            told = [error.model_dump() for error in found.errors]
            await self._end(Status.failed, errors=told, total=found.total)
            return False
        self.batch.total = found.total
        began = {"status": Status.in_progress, "in_progress_at": timezone.now()}
        await self._write(total=found.total, model=found.model, **began)
        await self.running.log(f"The input file is valid: {found.total} lines.")
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
        async with aclosing(self._content()) as content:
            return await checked(content, self.batch.endpoint)

    def _content(self) -> Any:
        return self.stack.files.content(self.call, self.batch.input_file_id)

    async def _lines_left(self) -> AsyncGenerator[Line]:
        async with aclosing(self._content()) as content:
            async for line in lines(content):
                if line.number not in self.done:
                    yield line

    # --- its lines ---

    async def _answer_lines(self) -> None:
        """Raises Cancelled and Expired, with all kept that has been answered by then."""
        asking = asyncio.create_task(self._ask())
        try:
            while not asking.done():
                await asyncio.wait([asking], timeout=KEEPS_SECONDS)
                await self._keep()
                await self._tell_progress()
                if timezone.now() >= self.batch.expires_at and not asking.done():
                    raise Expired
            asking.result()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await self._keep()  # also where the server stops

    async def _ask(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        places = asyncio.Semaphore(self.limits.lines_at_once)

        async def ask(line: Line) -> None:
            async with places:
                answered = await answer(self.stack.inference, self.call, self.batch.endpoint, line)
                self.answers.append(answered)  # a step of its own: the list is another one by now

        try:
            async with aclosing(self._lines_left()) as left:
                async for line in left:
                    while places.locked():
                        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    task = asyncio.create_task(ask(line))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                    await asyncio.sleep(0)  # it takes its place
            while tasks:
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _expire_lines(self) -> None:
        async with aclosing(self._lines_left()) as left:
            async for line in left:
                self.answers.append(unanswered(line, *EXPIRED))
                if len(self.answers) >= WRITTEN:
                    await self._keep()
        await self._keep()

    async def _keep(self) -> None:
        answers, self.answers = self.answers, []
        if not answers:
            return
        rows = [
            BatchAnswer(batch_id=self.batch.id, line=one.line, succeeded=one.succeeded, text=one.text.decode())
            for one in answers
        ]
        if not await db(Batch.objects.keep, self.running.job, self.batch.id, rows, _counts(answers)):
            raise Lost
        self.done.update(one.line for one in answers)

    # --- its row ---

    async def _tell_progress(self) -> None:
        await self.running.progress(done=len(self.done), total=self.batch.total)

    async def _write(self, **fields: Any) -> None:
        if not await db(Batch.objects.write, self.running.job, self.batch.id, **fields):
            raise Lost

    async def _end(self, status: Status, **fields: Any) -> None:
        if not await db(Batch.objects.end, self.running.job, self.batch.id, status, **fields):
            raise Lost

    # --- what it writes ---

    async def _file(self, name: str, succeeded: bool, resumed: bool) -> str | None:
        """The id of a file of the answers, in the order of the lines; None where there are none."""
        if not await db(BatchAnswer.objects.filter(batch=self.batch.id, succeeded=succeeded).exists):
            return None
        filename = f"{self.batch.id}_{name}.jsonl"
        if resumed and (former := await self._former(filename)):
            return former
        seconds = self.batch.output_seconds
        expiry = None if seconds is None else ExpiresAfter(anchor="created_at", seconds=seconds)
        described = FileUpload(filename=filename, purpose=PURPOSE, expires_after=expiry)
        new = NewFile(self._written(succeeded), lambda: described)
        return (await self.stack.files.upload(self.call, new)).id

    async def _former(self, filename: str) -> str | None:
        """The file that whoever was killed had written; clients can upload none of this purpose."""
        page = await self.stack.files.list(self.call, FileFilter(purpose=PURPOSE, limit=MOST_LISTED))
        return next((file.id for file in page.data if file.filename == filename), None)

    async def _written(self, succeeded: bool) -> AsyncIterator[bytes]:
        last = 0
        while rows := await db(_page, self.batch.id, succeeded, last):
            last = rows[-1][0]
            yield b"".join(text.encode() + b"\n" for _, text in rows)


def _done(batch_id: str) -> set[int]:
    return set(BatchAnswer.objects.filter(batch=batch_id).values_list("line", flat=True))


def _page(batch_id: str, succeeded: bool, last: int) -> list[tuple[int, str]]:
    rows = BatchAnswer.objects.filter(batch=batch_id, succeeded=succeeded, line__gt=last).order_by("line")
    return list(rows.values_list("line", "text")[:WRITTEN])


def _counts(answers: list[Answer]) -> dict[str, int]:
    """By the columns of a batch."""
    asked, cached, said, reasoned = (sum(column) for column in zip(*(one.tokens for one in answers), strict=True))
    done = sum(one.succeeded for one in answers)
    tokens = {"input_tokens": asked, "cached_tokens": cached, "output_tokens": said, "reasoning_tokens": reasoned}
    return {"completed": done, "failed": len(answers) - done, **tokens}
