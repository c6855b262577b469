"""The job of a batch."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

from django.utils import timezone
from pydantic import BaseModel, Field, ValidationError

from apps.batches.doing import Doing
from apps.batches.models import Batch, Status
from apps.batches.protocol import BatchLimits
from apps.jobs.work import Cancelled, Running, Unreadable, read
from apps.registry.kept import opened
from llamastack.call import Call, Principal
from llamastack.db import db
from llamastack.errors import BadRequest, Conflict, StackError, Unavailable
from llamastack.stack import LlamaStack

LOOKS_SECONDS = 1.0  # whether a batch that waits for its place is to be cancelled


class Payload(BaseModel):
    """Of a job: the batch, and what its creator was besides its owner."""

    form: Literal[1] = Field(alias="schema")
    batch_id: str
    scopes: list[str]
    key: str


async def run(stack: LlamaStack, running: Running) -> None:
    payload = read(Payload, running.job)
    batch: Batch | None = await db(Batch.objects.filter(pk=payload.batch_id).first)
    if batch is None:
        raise Unreadable(f"There is no batch '{payload.batch_id}' any more.")
    if batch.ended:
        _tell(Status(batch.status), batch.errors)
        return
    principal = Principal(batch.owner, batch.tenant, frozenset(payload.scopes), payload.key)
    data = opened(batch.provider_data)
    limits = await _limits(stack, running, batch)
    async with _place(limits.places, running):
        call = Call(principal, provider_data=data, background=True)
        doing = Doing(stack, running, batch, call, limits)
        _tell(await doing.end(), doing.errors)


class Ending:
    """The limits of a batch of which no line is asked for any more. Satisfies `BatchLimits`."""

    lines_at_once = most_under_way = 1
    keeps_provider_data = False

    def __init__(self) -> None:
        self.places = asyncio.Semaphore()


async def _limits(stack: LlamaStack, running: Running, batch: Batch) -> BatchLimits:
    """Raises Unavailable where no provider does batches and this one has not come to its end."""
    try:
        return await stack.batches.limits(batch.tenant)
    except Unavailable:
        if not (batch.finalizing_at or running.job.cancel_requested or timezone.now() >= batch.expires_at):
            raise
        return Ending()


def again(payload: Any) -> None:
    """Raises Conflict where the batch of this payload has ended: nothing more comes of its job."""
    try:
        batch_id = Payload.model_validate(payload).batch_id
    except ValidationError:
        return
    batch: Batch | None = Batch.objects.filter(pk=batch_id).first()
    if batch is not None and batch.ended:
        raise Conflict(
            f"The batch has ended, as {batch.status}: to try its job again changes nothing. "
            "Create another batch: POST /v1/batches.",
            code="batch_ended",
        )


async def sweep(stack: LlamaStack, running: Running) -> None:
    """Batches that have not ended, though their jobs have: those that failed and were not tried again."""
    ended, last = 0, ""
    while batch_ids := await db(Batch.objects.left, last):
        for batch_id in batch_ids:
            ended += await db(Batch.objects.settle, batch_id)
        last = batch_ids[-1]
        await running.progress(ended=ended)


@asynccontextmanager
async def _place(places: asyncio.Semaphore, running: Running) -> AsyncIterator[None]:
    """One of the places for batches; none for a batch that is to be cancelled, which takes no time."""
    taken = False
    try:
        while not taken:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOKS_SECONDS):
                    taken = await places.acquire()
            if not taken:
                await running.progress(**running.job.progress)
    except Cancelled:
        pass  # it is met again by whoever does the batch
    try:
        yield
    finally:
        if taken:
            places.release()


def _tell(status: Status, errors: list[Any]) -> None:
    """How the job has ended whose batch has ended so."""
    if status == Status.cancelled:
        raise Cancelled
    if status == Status.failed:
        raise BadRequest(f"The batch failed: {_first(errors)}")
    if status == Status.expired:
        raise StackError("The batch was not done within its completion window.", code="batch_expired")


def _first(errors: list[Any]) -> str:
    """The first of them, and how many there are besides; the batch's page has them all."""
    first, others = errors[0], len(errors) - 1
    where = f"Line {first['line']}: " if first["line"] else ""
    return f"{where}{first['message']}" + (f" Other errors in its file: {others}." if others else "")
