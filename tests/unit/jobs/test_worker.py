"""A worker finds what is due, does a few jobs at a time, and hands back what it has not finished."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest
from django.utils import timezone

from apps.jobs import kinds
from apps.jobs.models import Job
from apps.jobs.work import Running
from apps.jobs.worker import LEFT, Worker, planning
from llamastack.db import db, settled
from llamastack.stack import LlamaStack
from tests.unit.jobs.conftest import Working
from tests.unit.jobs.test_work import OVER, queued

pytestmark = pytest.mark.django_db(transaction=True)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await true():
            await asyncio.sleep(0.02)


async def statuses() -> list[str]:
    return await db(lambda: list(Job.objects.order_by("created_at").values_list("status", flat=True)))


async def test_what_is_due_is_done_whoever_has_queued_it(working: Working) -> None:
    async def run(running: Running) -> None:
        await running.progress(done=True)

    await db(queued)
    left = await db(queued)
    await db(Job.objects.claim, left, OVER)
    async with working(run) as worker:
        await until(lambda: all_are("completed", 2))
        await db(queued)
        worker.ring()
        await until(lambda: all_are("completed", 3))


async def all_are(status: str, count: int) -> bool:
    return await statuses() == [status] * count


async def test_no_more_are_done_at_once_than_it_may(working: Working) -> None:
    begun: list[str] = []
    go_on = asyncio.Event()

    async def run(running: Running) -> None:
        begun.append(running.job.id)
        await go_on.wait()

    made = [await db(queued) for _ in range(3)]
    async with working(run, at_once=2) as worker:
        await until(lambda: reached(begun, 2))
        worker.ring()
        assert await db(Job.objects.next, 10) == [made[2]]
        go_on.set()
        await until(lambda: all_are("completed", 3))
    assert sorted(begun) == sorted(made)


async def test_one_tenant_s_long_jobs_leave_places_to_others(working: Working) -> None:
    begun: list[str] = []
    go_on = asyncio.Event()

    async def run(running: Running) -> None:
        begun.append(running.job.id)
        await go_on.wait()

    flood = [await db(queued, kind="long") for _ in range(4)]
    theirs = [await db(queued, kind="long", tenant="other") for _ in range(2)]
    short = await db(queued)
    async with working(run, at_once=4, long=["long"]) as worker:
        await until(lambda: reached(begun, 4))
        worker.ring()
        assert [len({*begun} & made) for made in ({*flood}, {*theirs}, {short})] == [2, 1, 1]
        go_on.set()
        await until(lambda: all_are("completed", 7))


async def reached(found: list[str], count: int) -> bool:
    return len(found) == count


async def test_a_worker_that_stops_hands_back_what_it_does(working: Working) -> None:
    begun: list[str] = []

    async def run(running: Running) -> None:
        begun.append(running.job.id)
        await asyncio.Event().wait()

    for _ in range(2):
        await db(queued)
    async with working(run):
        await until(lambda: reached(begun, 2))
    assert await statuses() == ["queued", "queued"]
    assert await db(lambda: set(Job.objects.values_list("attempt", flat=True))) == {0}


async def test_what_does_not_let_itself_be_stopped_is_left(running: LlamaStack) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def run(running: Running) -> None:
        while not go_on.is_set():
            begun.set()
            with suppress(asyncio.CancelledError):
                await go_on.wait()

    await running.worker.stop()
    worker = Worker(lambda kind: run)
    doing = asyncio.create_task(worker.do(await db(queued)))
    await begun.wait()
    await worker.stop(0.01)
    await worker.stop()  # which waits no second time
    await doing
    await worker.do(await db(queued))  # and takes no other
    assert await statuses() == ["running", "queued"]
    go_on.set()
    await until(lambda: none_is("running"))


async def none_is(status: str) -> bool:
    return status not in await statuses()


async def test_a_job_of_an_unknown_kind_is_set_aside(running: LlamaStack) -> None:
    job_id = await db(queued, created_at=timezone.now() - LEFT)
    running.worker.ring()
    await until(lambda: all_are("quarantined", 1))
    assert "of the kind 'test'" in (await db(Job.objects.get, pk=job_id)).error


async def test_for_an_hour_it_is_left_to_workers_of_a_newer_version(running: LlamaStack) -> None:
    newer = await db(queued)
    await db(queued, kind="files.sweep")
    running.worker.ring()
    await until(lambda: is_all({"queued", "completed"}))
    await running.worker.stop()
    older = Worker(partial(kinds.of, running), known=kinds.KINDS)
    await older.do(newer)
    assert (await db(Job.objects.get, pk=newer)).attempt == 0
    await Worker(lambda kind: nothing, known=["test"]).do(newer)
    assert await statuses() == ["completed", "completed"]


async def is_all(wanted: set[str]) -> bool:
    return {*await statuses()} == wanted


async def nothing(running: Running) -> None: ...


async def test_what_nobody_asks_for_is_planned(transactional_db: None) -> None:
    task = asyncio.create_task(planning({"test": 3600}, every=0.01))
    try:
        await until(lambda: all_are("queued", 1))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await settled()


def test_every_kind_has_its_function(transactional_db: None) -> None:
    assert set(kinds.PERIODIC) <= set(kinds.KINDS)
    for kind in kinds.KINDS:
        assert callable(kinds.of(None, kind).func)  # type: ignore[arg-type, attr-defined]
