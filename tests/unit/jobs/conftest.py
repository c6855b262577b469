"""Who does jobs: a worker inside the server, and Celery's, which a private Redis tells of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from celery import signals
from celery.contrib.testing.worker import start_worker

from apps.jobs.bell import Bell
from apps.jobs.tending import TENDS_SECONDS, tending
from apps.jobs.work import Run
from apps.jobs.worker import AT_ONCE, Worker
from llamastack import celery
from llamastack.stack import LlamaStack, send
from tests.plugin import ON_SQLITE

Working = Callable[..., AbstractAsyncContextManager[Worker]]


@asynccontextmanager
async def inside(
    stack: LlamaStack, run: Run, at_once: int = AT_ONCE, long: Collection[str] = ()
) -> AsyncIterator[Worker]:
    worker = Worker(lambda kind: run, at_once, long=long)
    worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


@asynccontextmanager
async def by_celery(
    stack: LlamaStack, run: Run, at_once: int = AT_ONCE, long: Collection[str] = (), every: float = TENDS_SECONDS
) -> AsyncIterator[Worker]:
    stack.worker, stack.bell = Worker(lambda kind: run, at_once, long=long), Bell(send)
    await asyncio.to_thread(celery.app.control.purge)
    starting = start_worker(
        celery.app, pool="threads", concurrency=at_once, queues=["default"], perform_ping_check=False
    )
    await asyncio.to_thread(starting.__enter__)
    beside = asyncio.create_task(tending(["default"], stack.worker, every))
    try:
        yield stack.worker
    finally:
        beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)
        await stack.worker.stop()
        await asyncio.to_thread(starting.__exit__, None, None, None)


@pytest.fixture(params=[inside] if ON_SQLITE else [inside, by_celery])
async def working(running: LlamaStack, request: pytest.FixtureRequest) -> Working:
    """`async with working(run, at_once=2) as worker`: jobs of any kind are done by `run`."""
    await running.worker.stop()
    return lambda run, **options: request.param(running, run, **options)


def _as_it_is(**_: object) -> None:
    """Celery leaves logging alone where somebody has seen to it."""


signals.setup_logging.connect(_as_it_is)
