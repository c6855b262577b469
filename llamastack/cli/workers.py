"""Serving by several processes: each is a whole server on the same sockets, and this one only watches over them.

Uvicorn's own supervisor starts a worker that dies anew at once and for ever, waits for nobody else while it replaces
one, and leaves workers behind where it is killed itself.
"""

import asyncio
import itertools
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.multiprocess import mark_process_dead

from llamastack import db, metrics
from llamastack.cli.address import Address, refusal
from llamastack.cli.console import say
from llamastack.cli.shared_folder import shared_folder
from llamastack.cli.signals import LEAVES, Signals, end
from llamastack.cli.worker import PATIENCE_SECONDS
from llamastack.environment import EnvironmentFault

WORKERS = "LLAMA_STACK_WORKERS"  # how many processes there are, for the settings of each
BACKLOG = 2048  # uvicorn's
PROGRAM = ("-m", "llamastack.cli.worker")
READY_SECONDS = 120.0
QUICK_SECONDS = 10.0  # a worker that ends as soon as this failed to start, more or less
LONGEST_PAUSE_SECONDS = 30.0
REPLACED_SECONDS = 30.0  # how long the next is not replaced yet, for one that still has calls in flight
logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Worker:
    """A process that serves. Its `number` is nobody else's as long as it lives."""

    number: int
    process: asyncio.subprocess.Process
    ready: asyncio.Task[bool]
    began: float
    ended: asyncio.Task[int] = field(init=False)

    def send(self, number: signal.Signals) -> None:
        if self.process.returncode is None:
            self.process.send_signal(number)

    def __str__(self) -> str:
        return f"Worker {self.number} (process {self.process.pid})"


class Workers:
    """As many as are wanted. Whoever ends unasked is followed by another one, after a pause that grows."""

    def __init__(
        self, count: int, handed: Sequence[int], env: Mapping[str, str], program: Sequence[str] = PROGRAM
    ) -> None:
        """Each worker runs `program`, with its descriptors as arguments: see worker.py. `handed` are the later ones."""
        self.count = count
        self.program = program
        self.handed = handed
        self.env = env
        self.leaving: signal.Signals | None = None
        self._alive: dict[int, Worker | None] = {}  # by number; None is about to be
        self._slots: list[Worker] = []
        self._changing = asyncio.Lock()
        self._left = asyncio.Event()
        self._replacing = asyncio.Event()
        self._clock = asyncio.get_running_loop().time
        # Nobody writes to it: who reads it learns that this process has ended, which holds the other end.
        self._lifeline, self._held = os.pipe()

    async def run(self, ready: Callable[[], None], let_go: Callable[[], None]) -> bool:
        """Serve until told to leave, and then let go of what was handed on. Returns False where it did not even start.

        Somebody may connect as long as any process holds a socket, and would wait for an answer that never comes.
        """
        for _ in range(self.count):
            if not self.leaving:
                self._slots.append(await self._start())
        started = [await worker.ready for worker in self._slots]
        if not all(started):
            self.leave(self.leaving or signal.SIGTERM)
        elif not self.leaving:
            ready()
        watching = [asyncio.create_task(self._keep(slot)) for slot in range(len(self._slots))]
        watching.append(asyncio.create_task(self._replace_when_wanted()))
        await self._left.wait()
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        let_go()
        await self._end()
        return all(started)

    def leave(self, number: signal.Signals) -> None:
        """All of them leave, as they would at that signal."""
        self.leaving = number
        self._left.set()
        for worker in self._living():
            worker.send(number)

    def replace(self) -> None:
        """Replace one after the other, each once another one is ready."""
        self._replacing.set()

    # --- one worker ---

    async def _start(self) -> Worker:
        number = next(number for number in itertools.count(1) if number not in self._alive)
        self._alive[number] = None
        told, telling = os.pipe()
        handed = [self._lifeline, telling, *self.handed]
        safe = [] if os.getcwd() in sys.path else ["-P"]  # what lies there shall be importable as it is here
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *safe, *self.program, *map(str, handed)),
            pass_fds=handed,
            env={**self.env, metrics.NUMBER: str(number)},
            stdin=asyncio.subprocess.DEVNULL,
            process_group=0,  # Ctrl-C is for this process, which passes it on
        )
        os.close(telling)
        worker = self._alive[number] = Worker(number, process, asyncio.create_task(_told(told)), self._clock())
        worker.ended = asyncio.create_task(self._ended(worker))
        if self.leaving:
            worker.send(self.leaving)
        return worker

    async def _ended(self, worker: Worker) -> int:
        code = await worker.process.wait()
        mark_process_dead(worker.number, self.env[metrics.FOLDER])  # type: ignore[no-untyped-call]
        del self._alive[worker.number]
        return code

    def _living(self) -> list[Worker]:
        return [worker for worker in self._alive.values() if worker]

    # --- all of them ---

    async def _keep(self, slot: int) -> None:
        """Who ends unasked is followed by another one."""
        failures = 0
        while True:
            worker = self._slots[slot]
            await asyncio.wait([worker.ended])
            if self._slots[slot] is not worker:  # it was replaced
                continue
            failures = failures + 1 if self._clock() - worker.began < QUICK_SECONDS else 0
            pause = min(LONGEST_PAUSE_SECONDS, 2.0 ** (failures - 2)) if failures > 1 else 0.0
            logger.error("%s ended with %d; another one starts in %g s", worker, worker.ended.result(), pause)
            await asyncio.sleep(pause)
            async with self._changing:
                if self._slots[slot] is worker:
                    self._slots[slot] = await self._start()

    async def _replace_when_wanted(self) -> None:
        while True:
            await self._replacing.wait()
            self._replacing.clear()
            for slot in range(self.count):
                if not await self._replaced(slot):
                    logger.error("A new worker did not become ready: the others serve on, and are not replaced")
                    break
            else:
                say(f"{self.count} workers have been replaced.")

    async def _replaced(self, slot: int) -> bool:
        """Whether a new worker serves in this slot. Calls in flight on the old one are waited for, a while."""
        worker = await self._start()
        await asyncio.wait([worker.ready], timeout=READY_SECONDS)
        if not worker.ready.done() or not worker.ready.result():
            worker.send(signal.SIGKILL)
            return False
        async with self._changing:
            old, self._slots[slot] = self._slots[slot], worker
        old.send(signal.SIGHUP)
        await asyncio.wait([old.ended], timeout=REPLACED_SECONDS)
        return True

    async def _end(self) -> None:
        """Wait for all of them; kill those that take longer than they may."""
        assert self.leaving
        deadline = self._clock() + LEAVES[self.leaving].seconds + PATIENCE_SECONDS
        while living := self._living():
            _, late = await asyncio.wait([worker.ended for worker in living], timeout=max(1, deadline - self._clock()))
            for worker in living if late and self._clock() > deadline else ():
                logger.error("%s takes too long, and is killed", worker)
                worker.send(signal.SIGKILL)


async def _told(pipe: int) -> bool:
    """Whether the other end of a pipe says something before it is closed."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(pipe, readable.set)
    try:
        await readable.wait()
        return bool(os.read(pipe, 1))
    finally:
        loop.remove_reader(pipe)
        os.close(pipe)


def serve(address: Address, ready: Callable[[], None], count: int) -> None:
    """Serve on the sockets of `address` by so many workers. Returns once all were told to stop and have stopped."""
    db.end()  # nothing is asked of the database here any more
    try:
        for bound in address.sockets:
            bound.listen(BACKLOG)
    except OSError as error:
        raise refusal(error, address.host, address.port) from error
    with shared_folder() as (folder, lock):
        handed = [lock, *(bound.fileno() for bound in address.sockets)]
        env = {**os.environ, WORKERS: str(count), metrics.FOLDER: str(folder)}
        served = asyncio.run(watched_over(count, handed, env, ready, address.close))
    if not served:
        raise EnvironmentFault("The workers could not start: the log says why. Nothing is served.")
    end()


async def watched_over(
    count: int, handed: Sequence[int], env: Mapping[str, str], ready: Callable[[], None], let_go: Callable[[], None]
) -> bool:
    """Whether the workers could start. Signals to this process are told to them."""
    workers = Workers(count, handed, env)
    tell = asyncio.get_running_loop().call_soon_threadsafe
    with Signals(lambda number: tell(workers.leave, number), lambda: tell(workers.replace)).caught():
        return await workers.run(ready, let_go)
