"""A worker until SIGINT or SIGTERM: Celery hands jobs to its threads, and one thread holds the Stack that does them."""

import asyncio
import faulthandler
import logging
import os
import platform
import threading
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import uvloop
from celery import signals
from celery.exceptions import SecurityWarning

from apps.jobs import kinds
from apps.jobs.tending import tending
from apps.jobs.work import HUNG
from apps.jobs.worker import planning
from llamastack import celery, db, stack
from llamastack.cli import alive
from llamastack.cli.console import say
from llamastack.cli.signals import end

START_SECONDS = 120.0
STOP_SECONDS = 30.0
WATCH_SECONDS = 5.0
logger = logging.getLogger(__name__)


class Loop:
    """The thread with the Stack."""

    def __init__(self, queues: Sequence[str], concurrency: int) -> None:
        self._queues = queues
        self._concurrency = concurrency
        self._ready: Future[None] = Future()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._main, name="llama-stack", daemon=True)
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Raises what keeps the Stack from starting."""
        self._thread.start()
        self._ready.result(START_SECONDS)
        threading.Thread(target=watch, args=[self._loop], name="watch", daemon=True).start()

    def leave(self, **_: Any) -> None:
        """Take no more jobs, and hand back those that are being done. Also from a signal's handler."""
        self._loop.call_soon_threadsafe(self._leave)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(STOP_SECONDS)

    # --- below here, its thread ---

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._run())
        except BaseException as error:  # raised by whoever waits for the start
            if self._ready.done():
                logger.exception("The Stack ended")
                os._exit(1)
            self._ready.set_exception(error)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        await stack.start()
        worker = stack.current().worker
        worker.at_once = self._concurrency
        duties = (tending(self._queues, worker), planning(kinds.PERIODIC), alive.touching())
        beside = [asyncio.create_task(duty) for duty in duties]
        self._ready.set_result(None)
        try:
            await self._over.wait()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await stack.stop()

    def _leave(self) -> None:
        self._leaving = asyncio.create_task(stack.current().worker.stop())


def watch(loop: asyncio.AbstractEventLoop, seconds: float = HUNG.total_seconds()) -> None:
    """End this process where its loop has hung for so long: whoever looks after it starts another."""
    while not loop.is_closed():
        turned = threading.Event()
        try:
            loop.call_soon_threadsafe(turned.set)
        except RuntimeError:  # closed meanwhile
            return
        if not turned.wait(seconds):
            logger.critical("Nothing has gone on for %g s: this worker ends. Where each thread is:", seconds)
            faulthandler.dump_traceback()
            os._exit(1)
        time.sleep(WATCH_SECONDS)


def work(queues: Sequence[str], concurrency: int) -> None:
    """Do the jobs of these queues, so many at once, until told to stop. They are handed back then."""
    loop = Loop(queues, concurrency)
    loop.start()
    signals.setup_logging.connect(_as_django_has_it, weak=False)
    signals.worker_shutting_down.connect(loop.leave, weak=False)
    signals.worker_ready.connect(lambda **_: _announce(queues, concurrency), weak=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # that it runs as root, which matters where pickles are read
        worker = celery.app.Worker(
            hostname=f"{os.getpid()}@{platform.node()}",
            queues=list(queues),
            concurrency=concurrency,
            pool="threads",
            quiet=True,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        worker.start()
    loop.stop()
    db.end()
    end()


def _as_django_has_it(**_: Any) -> None:
    """Celery sets up no logging where somebody has done so."""


def _announce(queues: Sequence[str], concurrency: int) -> None:
    which = "queue " + queues[0] if len(queues) == 1 else "queues " + ", ".join(queues)
    say(f"[green]A worker does the jobs of the {which}[/green], {concurrency} at once. Ctrl-C stops it.")
