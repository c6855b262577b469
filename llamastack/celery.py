"""Celery, which carries the ids of jobs to workers and keeps nothing: a job's row is what holds, a message a doorbell.

Imported by workers, by beat, and where the first message is sent.
"""

import logging
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection, Exchange, Queue

from llamastack import settings, stack

PREFIX = "llamastack:"  # of all keys in Redis, which others may use too
RETRY_SECONDS = 1.0
URGENT, HIGH, PLAIN, LOW = STEPS = [0, 3, 6, 9]  # Redis' transport: the lowest first
QUEUES = ("default", "gpu")
logger = logging.getLogger(__name__)


class SoonBack(Connection):
    """Celery waits ever longer between its tries, up to 30 s: a Redis that is back would be found late.

    And it tells of each of them, where one line says what to do until Redis is back.
    """

    def ensure_connection(self, errback: Any = None, max_retries: Any = None, *_: Any, **options: Any) -> Any:
        pauses = dict.fromkeys(("interval_start", "interval_max"), RETRY_SECONDS) | {"interval_step": 0}
        reasons: list[str] = []

        def failed(error: Exception, _: float) -> None:
            reason = str(error).rstrip(".")
            if reasons[-1:] != [reason]:
                logger.warning("Redis, at REDIS_URL, is tried each second, and cannot be used: %s.", reason)
                reasons.append(reason)

        connection = super().ensure_connection(failed, max_retries, **options | pauses)
        if reasons:
            logger.warning("Redis can be used.")
        return connection


class Broker(AMQP):
    Connection = SoonBack


app = Celery("llamastack", broker=settings.REDIS_URL, amqp=Broker, set_as_current=True)
app.conf.update(
    accept_content=["json"],
    task_serializer="json",
    task_ignore_result=True,
    result_expires=None,  # else beat has a row of its own that clears results away
    task_default_queue=QUEUES[0],
    task_queues=[Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
    task_create_missing_queues=False,
    # A message is gone once its job is begun: what comes of it stands in the row, and an id that is lost with a worker
    # or with Redis is sent again (apps/jobs/tending.py) long before a visibility time-out would do so.
    task_acks_late=False,
    worker_cancel_long_running_tasks_on_connection_loss=True,  # so there are none to cancel; without it Celery warns
    worker_disable_prefetch=True,  # whoever is busy keeps no message from who is not
    worker_prefetch_multiplier=1,
    worker_pool="threads",  # a fork of a process with a loaded model hangs
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "global_keyprefix": PREFIX,
        "priority_steps": STEPS,
        "queue_order_strategy": "priority",
        "socket_connect_timeout": 5,
        "socket_timeout": 15,
        "health_check_interval": 5,
    },
    # Nobody asks a worker anything by way of Redis, and it tells nothing: what there is to know stands in the rows.
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_detect_quorum_queues=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    timezone="UTC",
)


@app.task(name="work")  # type: ignore[untyped-decorator]
def work(job_id: str) -> None:
    """Do a job on the loop of this worker's Stack, and wait for it. A second delivery finds that it is another's."""
    stack.run(lambda running: running.worker.do(job_id), timeout=None)


def send(job_id: str, queue: str, step: int) -> None:
    """Raises whatever Redis' client does where it cannot be sent."""
    work.apply_async([job_id], queue=queue, priority=step, retry=False)


def step(priority: int) -> int:
    """The step of a job's priority, the higher of which is the more urgent."""
    return HIGH if priority > 0 else PLAIN if priority == 0 else LOW


def waiting(queue: str) -> tuple[int, int]:
    """How many messages wait in a queue: urgent ones, and all."""
    with app.connection_or_acquire() as connection:
        channel = connection.default_channel
        return channel.client.llen(queue), channel._size(queue)
