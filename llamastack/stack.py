"""The running, resolved whole: one typed attribute an API. The only global of a process.

Importing this needs no Django that is set up; making a LlamaStack does.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from llamastack import collector
from llamastack.apis import Api
from llamastack.errors import Unavailable, UpstreamTimeout

if TYPE_CHECKING:
    from apps.inference.protocol import RoutedInference
    from llamastack.recording import Tape

HERE, WORKERS, WORKER = "here", "workers", "worker"  # settings.JOBS: who does them; `worker` is one of the workers
T = TypeVar("T")
logger = logging.getLogger(__name__)


class LlamaStack:
    """Composed, not inherited: `stack.inference` satisfies the protocol of the API of that name.

    With a `tape`, what providers ask of the outside is recorded or replayed.
    """

    def __init__(self, tape: "Tape | None" = None) -> None:
        from apps.batches.service import BatchesService
        from apps.file_processors.service import FileProcessorsService
        from apps.files.service import FilesService
        from apps.inference.gateway import Gateway
        from apps.inference.lane.unattended import Unattended
        from apps.inference.pace import Pace
        from apps.inference.service import InferenceService
        from apps.jobs import kinds
        from apps.jobs.bell import Bell
        from apps.jobs.worker import Worker
        from apps.registry.live import Live
        from apps.vector_io.service import VectorIOService
        from llamastack import settings
        from llamastack.flusher import Flusher
        from llamastack.pool import ProviderPool
        from llamastack.watch import Watch

        services: dict[Api, object] = {}
        beside = settings.JOBS == WORKER  # a server, which runs all of the providers
        self.live = Live(ProviderPool(services, tape, settings.WORKERS + beside), duties=not beside)
        self.flusher = Flusher()
        self.files = FilesService(self.live)
        self.file_processors = FileProcessorsService(self.live, self.files)
        pace = Pace()
        self.inference: RoutedInference = InferenceService(self.live, self.flusher, pace)
        self.worker = Worker(partial(kinds.of, self), periodic=kinds.PERIODIC, long=kinds.LONG, known=kinds.KINDS)
        self.bell = None if settings.JOBS == HERE else Bell(send)
        self.batches = BatchesService(self.live)
        self.vector_io = VectorIOService(self.live, self.files, self.inference)
        self.files.forget.append(self.vector_io.forget_file)
        services[Api.batches] = self.batches
        services[Api.file_processors] = self.file_processors
        services[Api.files] = self.files
        services[Api.inference] = self.inference
        self.gateway = Gateway(self.live, self.flusher, pace)
        self.unattended = Unattended(self.live, self.flusher, pace)
        self.loop = asyncio.get_running_loop()
        self.watch = Watch(self)
        self.held: AbstractContextManager[object] = nullcontext()

    async def start(self) -> None:
        from llamastack.db import db, held_open

        await self.live.start()
        self.flusher.start()
        self.held = await db(held_open)
        if self.bell is None:
            self.worker.start()

    async def stop(self) -> None:
        from llamastack.db import settled

        self.watch.stop()
        await self.worker.stop()
        if self.bell is not None:
            await asyncio.to_thread(self.bell.close)
        await self.live.stop()
        await self.files.stop()
        await self.file_processors.stop()
        await self.live.pool.close()
        await self.flusher.stop()
        with self.held:
            await settled()

    def ring(self, job_id: str, kind: str, priority: int) -> None:
        """There is a job, as from now on everybody can read. From whatever thread."""
        if self.bell is None:
            self.loop.call_soon_threadsafe(self.worker.ring)
        else:
            self.bell.ring(job_id, kind, priority)

    @classmethod
    @asynccontextmanager
    async def running(cls, config: str | Path) -> AsyncIterator["LlamaStack"]:
        """The Stack of a distribution or file on the caller's own loop, for Python code that calls it directly.

        Raises ConfigError, or EnvironmentFault where this program cannot hold it.
        """
        from llamastack.embedded import PROCESS

        taking = asyncio.create_task(asyncio.to_thread(PROCESS.take, config))
        try:
            await asyncio.shield(taking)
            yield await start()
        finally:
            await taking  # a thread goes on where its caller was cancelled
            await stop()
            await asyncio.to_thread(PROCESS.free)


_running: LlamaStack | None = None
_starting: asyncio.Lock | None = None


def current() -> LlamaStack:
    """The running Stack of this process."""
    if _running is None:
        raise Unavailable("The stack has not started.", retry_after=1)
    return _running


def is_running() -> bool:
    return _running is not None


def run(work: Callable[[LlamaStack], Coroutine[Any, Any, T]], timeout: float | None = 10) -> T:
    """From a thread (a page's view): have the Stack do something on its own loop, and wait for it."""
    stack = current()
    future = asyncio.run_coroutine_threadsafe(work(stack), stack.loop)
    try:
        return future.result(timeout)
    except TimeoutError as error:
        future.cancel()
        raise UpstreamTimeout(f"There was no answer within {timeout:g} s.") from error


async def start(tape: "Tape | None" = None) -> LlamaStack:
    """Start the Stack of this process; harmless to repeat. Who serves without a lifespan calls it at each request.

    Where no `tape` is given, it is the one that the environment names, if it does.
    """
    global _running, _starting
    if _running is None:
        _starting = _starting or asyncio.Lock()
        async with _starting:
            if _running is None:
                stack = LlamaStack(tape or _tape())
                try:
                    await stack.start()
                except BaseException:  # also where the request that started it is cancelled
                    await stack.stop()
                    raise
                _running = stack
                collector.settle()
    return _running


def send(job_id: str, kind: str, priority: int) -> None:
    """Tell a worker of a job, by Redis. Raises whatever its client does."""
    from apps.jobs import kinds
    from llamastack import celery

    celery.send(job_id, kinds.queue(kind), celery.step(priority))


def _tape() -> "Tape | None":
    from llamastack.recording import Tape

    tape = Tape.of(os.environ)
    if tape is not None:  # nobody is to meet it by accident
        logger.warning("%s", tape)
    return tape


async def stop() -> None:
    global _running, _starting
    stack, _running, _starting = _running, None, None
    if stack is not None:
        await stack.stop()
