"""Answers on their way to the database: each is there once, and counted once, whatever became of its commit."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.utils import timezone

from apps.batches.answers import Answer
from apps.batches.keeping import Kept
from apps.batches.models import COUNTED, AnswerRecord, Batch, BatchAnswer
from apps.batches.pace import Pace
from apps.jobs.models import Job
from apps.jobs.work import Lost
from llamastack.db import THREADS, db

pytestmark = pytest.mark.django_db(transaction=True)


def begun() -> Job:
    now: Any = timezone.now()
    job = Job.objects.create(id="job_1", owner="ada", kind="batch", created_at=now)
    Batch.objects.create(id="batch_1", owner="ada", created_at=now, expires_at=now, job=job)
    claimed: Job = Job.objects.claim(job.id)
    return claimed


def found() -> tuple[list[int], int, int]:
    batch = Batch.objects.get()
    return (
        list(BatchAnswer.objects.order_by("line").values_list("line", flat=True)),
        batch.completed,
        batch.input_tokens,
    )


def answer(line: int) -> Answer:
    return Answer(line, True, b"{}", (5, 0, 4, 0))


async def test_what_is_there_already_is_not_written_again() -> None:
    job = await db(begun)
    counts = dict.fromkeys(COUNTED, 0) | {"completed": 1, "input_tokens": 5}
    record = AnswerRecord("batch_1", 1, True, "{}")
    assert await db(Batch.objects.keep, job, "batch_1", [record], counts, {})  # a commit whose answer was lost
    kept = Kept(job, Batch(id="batch_1", total=2), Pace())
    for line in (1, 2):
        kept.add(answer(line))
    await kept.write()
    assert await db(found) == ([1, 2], 2, 10)
    assert (kept.lines, kept.coming) == ({1, 2}, [])


async def test_whoever_has_lost_the_job_writes_nothing() -> None:
    job = await db(begun)
    kept = Kept(job, Batch(id="batch_1", total=2), Pace())
    await kept.read()
    kept.add(answer(1))
    await db(lambda: Job.objects.update(fence=99))
    with pytest.raises(Lost):
        await kept.write()
    assert await db(found) == ([], 0, 0)


@asynccontextmanager
async def no_thread_free() -> AsyncIterator[None]:
    """For the database, until the block ends."""
    over, held = threading.Event(), threading.Barrier(THREADS + 1)

    def hold() -> None:
        held.wait()
        over.wait()

    holding = [asyncio.create_task(db(hold)) for _ in range(THREADS)]
    try:
        await asyncio.to_thread(held.wait)
        yield
    finally:
        over.set()
        await asyncio.gather(*holding)


async def test_who_is_told_to_stop_in_the_midst_of_a_write_waits_for_it() -> None:
    job = await db(begun)
    kept = Kept(job, Batch(id="batch_1", total=2), Pace())
    await kept.read()
    kept.add(answer(1))
    async with no_thread_free():
        writing = asyncio.create_task(kept.write())
        while kept.coming:
            await asyncio.sleep(0)
        writing.cancel()
        assert await asyncio.wait([writing], timeout=0.05) == (set(), {writing})
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await db(found) == ([1], 1, 5)
    assert (kept.lines, kept.coming) == ({1}, [])
