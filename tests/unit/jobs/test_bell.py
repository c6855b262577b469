"""The doorbell, and what is done about one that nobody has heard."""

import asyncio
import json
import threading
from typing import Any

import pytest
from django.db import transaction

from apps.jobs import kinds
from apps.jobs.bell import MOST_WAITING, Bell
from apps.jobs.models import Job
from apps.jobs.tending import remind
from apps.jobs.work import Running
from llamastack import celery, settings
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.plugin import ON_SQLITE
from tests.unit.jobs.conftest import by_celery
from tests.unit.jobs.test_work import queued
from tests.unit.jobs.test_worker import all_are, until

DAY = 86_400.0  # seconds: nothing is looked for again while tests run


def test_it_rings_in_order_and_sends_what_waits_before_it_is_closed() -> None:
    sent: list[tuple[str, str, int]] = []
    bell = Bell(lambda *told: sent.append(told))
    for number in range(100):
        bell.ring(f"job_{number}", "batch", 0)
    bell.close()
    assert sent == [(f"job_{number}", "batch", 0) for number in range(100)]
    bell.ring("job_after", "batch", 0)
    bell.close()
    assert sent[-1][0] == "job_after"


def test_nobody_waits_for_a_redis_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    answers = threading.Event()
    bell = Bell(lambda *told: answers.wait() and None)
    for number in range(MOST_WAITING + 10):
        bell.ring(f"job_{number}", "batch", 0)
    answers.set()
    bell.close()


def test_one_that_cannot_be_sent_is_told_in_the_log_once_and_the_next_is_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried: list[str] = []

    def send(job_id: str, kind: str, priority: int) -> None:
        tried.append(job_id)
        raise ConnectionError("Connection refused")

    bell = Bell(send)
    bell.ring("job_1", "batch", 0)
    bell.ring("job_2", "batch", 0)
    bell.close()
    assert tried == ["job_1", "job_2"]
    assert caplog.text.count("tells workers of no job; they find them by themselves: Connection refused") == 1


async def rung(running: LlamaStack) -> list[str]:
    """The ids that the running server has told its workers from now on."""
    await running.worker.stop()
    told: list[str] = []
    running.bell = Bell(lambda job_id, kind, priority: told.append(job_id))
    return told


async def test_whatever_queues_a_job_rings_once_it_is_committed(running: LlamaStack) -> None:
    told = await rung(running)
    job_id = await db(queued)
    job = await db(Job.objects.claim, job_id)
    await db(Job.objects.hand_back, job)
    await db(Job.objects.cancel, job_id)
    await db(Job.objects.retry, job_id)
    await asyncio.to_thread(running.bell.close) if running.bell else None
    assert told == [job_id] * 3


async def test_nothing_is_told_of_a_job_that_is_not_committed(running: LlamaStack) -> None:
    told = await rung(running)

    def saved_in_vain() -> None:
        with transaction.atomic():
            queued()
            transaction.set_rollback(True)

    await db(saved_in_vain)
    await asyncio.to_thread(running.bell.close) if running.bell else None
    assert told == []


def test_messages_are_json_and_no_pickle_is_taken() -> None:
    conf = celery.app.conf
    assert (conf.accept_content, conf.task_serializer, conf.task_ignore_result) == (["json"], "json", True)
    assert set(kinds.QUEUES) == set(celery.QUEUES) == {queue.name for queue in conf.task_queues}


@pytest.mark.parametrize(("priority", "step"), [(5, celery.HIGH), (0, celery.PLAIN), (-1, celery.LOW)])
def test_the_most_urgent_has_the_lowest_step(priority: int, step: int) -> None:
    assert celery.step(priority) == step > celery.URGENT


if not ON_SQLITE:  # which runs without Redis

    def messages(queue: str = "default") -> list[tuple[str, int]]:
        """What waits in Redis, the next first: ids with their priority. It is taken out."""
        taken = []
        with celery.app.connection_or_acquire() as connection:
            while message := connection.default_channel.basic_get(queue, no_ack=True):
                body: Any = json.loads(message.body)
                taken.append((body[0][0], message.properties["priority"]))
        return taken

    @pytest.fixture
    def empty() -> None:
        assert settings.REDIS_URL
        celery.app.control.purge()

    def test_what_is_lost_is_sent_again_and_what_waits_is_not(empty: None) -> None:
        waiting = [("job_1", 0), ("job_2", 3)]
        for _ in range(2):
            remind("default", [], waiting)
        assert messages() == [("job_2", celery.HIGH), ("job_1", celery.PLAIN)]
        remind("default", [], waiting)
        assert len(messages()) == 2

    def test_what_a_worker_has_left_comes_before_all_that_waits(empty: None) -> None:
        for number in range(3):
            celery.send(f"job_{number}", "default", celery.HIGH)
        for _ in range(2):
            remind("default", ["job_left"], [("job_0", 1)])
        assert messages() == [("job_left", celery.URGENT), *((f"job_{n}", celery.HIGH) for n in range(3))]

    def test_each_queue_is_its_own(empty: None) -> None:
        remind("gpu", [], [("job_1", 0)])
        assert messages() == []
        assert messages("gpu") == [("job_1", celery.PLAIN)]

    @pytest.mark.django_db(transaction=True)
    async def test_what_has_waited_for_a_place_is_sent_again_once_there_is_one(running: LlamaStack) -> None:
        async def run(running: Running) -> None:
            await running.progress(done=True)

        await running.worker.stop()
        for _ in range(6):
            await db(queued, kind="long")
        async with by_celery(running, run, at_once=2, long=["long"], every=DAY):
            await until(lambda: all_are("completed", 6))
