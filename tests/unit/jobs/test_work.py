"""A job is claimed by one, written to by whoever holds it, and ended once."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from apps.jobs.models import MOST_ATTEMPTS, PLANNED_KEPT, Job, JobEvent, Status
from apps.jobs.work import Run, Running, work
from llamastack.db import db
from llamastack.errors import BadRequest, ProviderOff, Unavailable
from llamastack.ids import new_id

pytestmark = pytest.mark.django_db(transaction=True)
OVER = timedelta(seconds=-1)
SHORT = timedelta(seconds=0.3)
LONG = 10**9  # seconds: a turn that does not end while tests run


def queued(**fields: Any) -> str:
    told = {"id": new_id("job_"), "owner": "ada", "kind": "test", "created_at": timezone.now(), **fields}
    job = Job(**told)
    job.save()
    return job.id


def at_once(count: int, job_id: str) -> int:
    """How many of so many that claim it in the same moment have it."""

    def claim(_: int) -> bool:
        try:
            return Job.objects.claim(job_id) is not None
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as threads:
        return sum(threads.map(claim, range(count)))


def test_of_many_that_claim_a_job_one_has_it() -> None:
    assert [at_once(8, queued()) for _ in range(5)] == [1] * 5


def told(job: Job, message: str) -> int | None:
    """The number of the event."""
    row = Job.objects.tell(job, "log", {"message": message})
    return row and int(row.events)


def test_a_job_whose_lease_is_over_is_claimed_again_and_the_first_writes_nothing_more() -> None:
    first = Job.objects.claim(queued(), OVER)
    second = Job.objects.claim(first.id)
    assert (second.attempt, second.fence) == (2, first.fence + 1)
    assert not Job.objects.renew(first)
    assert Job.objects.report(first, {"done": 1}) is None
    assert Job.objects.tell(first, "log", {}) is None
    assert not Job.objects.finish(first, Status.failed)
    assert Job.objects.finish(second, Status.completed)
    assert not Job.objects.finish(second, Status.failed)
    assert Job.objects.get().status == "completed"


def test_one_that_was_never_ended_is_set_aside_after_three_attempts_and_can_be_tried_anew() -> None:
    job_id = queued()
    assert [Job.objects.claim(job_id, OVER).attempt for _ in range(3)] == [1, 2, 3]
    assert Job.objects.claim(job_id) is None
    job = Job.objects.get()
    assert (job.status, "3 times" in job.error, job.ended_at is None) == ("quarantined", True, False)
    assert Job.objects.retry(job_id)
    assert Job.objects.claim(job_id).attempt == 1


def test_the_most_urgent_comes_first_and_then_the_oldest() -> None:
    made = [queued(priority=priority) for priority in (0, 5, 0, 5)]
    assert Job.objects.next(9) == [made[1], made[3], made[0], made[2]]
    assert Job.objects.next(2, under_way=[made[3]]) == [made[1], made[0]]


def test_one_that_was_left_is_as_due_as_one_that_waits() -> None:
    made = [queued(priority=priority) for priority in (0, 1, 0)]
    for job_id in made[1:]:
        Job.objects.claim(job_id, OVER)
    assert Job.objects.next(9) == [made[1], made[0], made[2]]
    Job.objects.claim(made[0])
    assert Job.objects.next(9) == [made[1], made[2]]


def test_what_nobody_asks_for_is_planned_once_in_its_time_and_not_beside_another() -> None:
    for _ in range(2):
        Job.objects.plan("test", LONG)
    job = Job.objects.claim(Job.objects.get().id)
    assert (job.kind, job.owner, job.tenant, job.payload) == ("test", "system", "default", {})
    Job.objects.plan("test", 1800)  # another turn: but one is under way
    Job.objects.finish(job, Status.completed)
    Job.objects.plan("test", LONG)  # it has been done in this turn
    assert Job.objects.count() == 1
    Job.objects.update(created_at=timezone.now() - PLANNED_KEPT - timedelta(hours=1))
    Job.objects.plan("test", 1800)
    assert list(Job.objects.values_list("status", flat=True)) == ["queued"]


def test_events_are_numbered() -> None:
    job = Job.objects.claim(queued())
    assert [told(job, str(number)) for number in range(3)] == [1, 2, 3]
    assert list(JobEvent.objects.order_by("number").values_list("number", flat=True)) == [1, 2, 3]


async def done(run: Run, **options: Any) -> tuple[bool, Job]:
    job_id = await db(queued)
    ours = await work(job_id, lambda kind: run, **options)
    return ours, await db(Job.objects.get, pk=job_id)


async def test_a_loop_that_hangs_loses_its_job_to_others() -> None:
    freed, claimed = threading.Event(), threading.Event()

    async def run(running: Running) -> None:
        freed.wait(60)  # the loop, too
        await asyncio.sleep(60)

    def others(job_id: str) -> None:
        try:
            while not Job.objects.filter(pk=job_id, fence__gt=0).left().exists():
                time.sleep(0.02)
            if Job.objects.claim(job_id):
                claimed.set()
        finally:
            freed.set()
            connections.close_all()

    job_id = await db(queued)
    other = threading.Thread(target=others, args=[job_id])
    other.start()
    assert not await work(job_id, lambda kind: run, lease=SHORT, hung=SHORT)
    other.join()
    assert claimed.is_set()
    assert (await db(Job.objects.get, pk=job_id)).status == "running"


async def test_what_runs_to_its_end_is_completed() -> None:
    async def run(running: Running) -> None:
        await running.progress(done=1, total=2)
        await running.log("half")
        await running.metric(loss=0.5)

    ours, job = await done(run)
    assert (ours, job.status, job.progress, job.events) == (True, "completed", {"done": 1, "total": 2}, 2)
    told = await db(lambda: list(JobEvent.objects.order_by("number").values_list("kind", "data")))
    assert told == [("log", {"message": "half"}), ("metric", {"loss": 0.5})]


async def begun(error: Unavailable, times: int) -> Job:
    """A job that is begun so often, and each time finds this."""

    async def run(running: Running) -> None:
        raise error

    job_id = await db(queued)
    for _ in range(times):
        assert await work(job_id, lambda kind: run)
        assert not await work(job_id, lambda kind: run)  # it is left alone for a while
        await db(lambda: Job.objects.filter(ended_at=None).update(lease_until=timezone.now() + OVER))
    return await db(Job.objects.get)


async def test_one_whose_provider_is_switched_off_waits_and_uses_no_attempt() -> None:
    job = await begun(ProviderOff("No provider."), MOST_ATTEMPTS + 2)
    assert (job.status, job.attempt) == ("queued", 0)
    assert job.error == "It waits, and is tried again every 15 s: No provider."


async def test_what_else_is_unavailable_is_tried_three_times_and_tells_what_was_told_last() -> None:
    job = await begun(Unavailable("No disk."), MOST_ATTEMPTS - 1)
    assert (job.status, job.attempt) == ("queued", 2)
    assert job.error == "It waits, and is tried again every 15 s: No disk."
    await db(Job.objects.all().delete)
    job = await begun(Unavailable("No disk."), MOST_ATTEMPTS)
    assert (job.status, job.error) == ("quarantined", "It was begun 3 times. What was told last: No disk.")
    assert job.ended_at is not None


async def test_one_that_waits_is_cancelled_at_once_and_one_that_runs_where_it_looks() -> None:
    waiting, running = await db(queued), await db(queued)
    for job_id in (waiting, running):
        job = await db(Job.objects.claim, job_id)
        if job_id == waiting:
            assert await db(Job.objects.wait, job, "No provider.")
        assert await db(Job.objects.cancel, job_id)
    found = {job.id: (job.status, job.cancel_requested, job.error) for job in await db(lambda: list(Job.objects.all()))}
    assert found == {waiting: ("cancelled", True, ""), running: ("running", True, "")}


async def test_what_has_its_cancel_before_it_and_waits_has_something_left_to_do() -> None:
    job = await db(Job.objects.claim, await db(queued))
    assert await db(Job.objects.cancel, job.id)
    assert await db(Job.objects.wait, job, "No provider.")
    assert await db(Job.objects.cancel, job.id)
    assert (await db(Job.objects.get)).status == "queued"


async def test_what_was_told_before_is_forgotten_when_it_ends_well() -> None:
    async def run(running: Running) -> None:
        pass

    job_id = await db(lambda: queued(error="No disk."))
    assert await work(job_id, lambda kind: run)
    assert (await db(Job.objects.get)).error == ""


@pytest.mark.parametrize(
    ("error", "told"), [(BadRequest("No such file."), "No such file."), (KeyError("x"), "its log says more")]
)
async def test_what_fails_says_why(error: Exception, told: str) -> None:
    async def run(running: Running) -> None:
        raise error

    _, job = await done(run)
    assert (job.status, told in job.error) == ("failed", True)


async def test_a_cancel_is_met_where_progress_is_told() -> None:
    async def run(running: Running) -> None:
        assert await db(Job.objects.cancel, running.job.id)
        await running.progress(done=1)

    _, job = await done(run)
    assert job.status == "cancelled"


async def test_a_lease_is_renewed_while_the_job_runs() -> None:
    async def run(running: Running) -> None:
        until = (await db(Job.objects.get)).lease_until
        while (await db(Job.objects.get)).lease_until == until:
            await asyncio.sleep(0.02)
        assert (await db(Job.objects.get)).lease_until > until

    ours, job = await done(run, lease=timedelta(seconds=3))
    assert (ours, job.status) == (True, "completed")


async def test_who_has_lost_a_job_is_stopped_and_writes_nothing() -> None:
    async def run(running: Running) -> None:
        await db(lambda: Job.objects.filter(pk=running.job.id).update(fence=99))
        await asyncio.Event().wait()

    ours, job = await done(run, lease=SHORT)
    assert (ours, job.status, job.fence) == (False, "running", 99)


async def test_a_server_that_stops_hands_its_job_back() -> None:
    begun = asyncio.Event()

    async def run(running: Running) -> None:
        begun.set()
        await asyncio.Event().wait()

    job_id = await db(queued)
    task = asyncio.create_task(work(job_id, lambda kind: run))
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    job = await db(Job.objects.get)
    assert (task.cancelled(), job.status, job.attempt) == (True, "queued", 0)
