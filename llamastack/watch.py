"""What a process knows of itself, told to its metrics once a second: the loop's stalls, queues, providers, memory."""

import asyncio
import os
import time
from typing import TYPE_CHECKING

from prometheus_client import Counter, disable_created_metrics

from llamastack import metrics, settings, stack

if TYPE_CHECKING:
    from llamastack.stack import LlamaStack

TICK_SECONDS = 0.02  # stalls are looked for as often as this: of a shorter one, less may be seen
TICKS_A_SAMPLE = 50
STALL_SECONDS = 15.0  # a stall is shown until as much, and at most twice as much, has passed
PAGE = os.sysconf("SC_PAGE_SIZE")


class Stalls:
    """The longest stall of this period and of the one before."""

    def __init__(self, now: float) -> None:
        self.began = now
        self.before = self.longest = 0.0

    def add(self, late: float, now: float) -> None:
        if now - self.began > STALL_SECONDS:
            self.began, self.before, self.longest = now, self.longest, 0.0
        self.longest = max(self.longest, late)

    @property
    def worst(self) -> float:
        return max(self.before, self.longest)


class Watch:
    def __init__(self, running: "LlamaStack") -> None:
        self.stack = running
        self.loop = running.loop
        self.stalls = Stalls(self.loop.time())
        self._ticks = 0
        self._next: asyncio.TimerHandle | None = None
        self._told = dict.fromkeys((metrics.stored_lost, metrics.usage_lost, metrics.usage_waits), 0)

    def start(self) -> None:
        """In a server's process. Others, which only hold a stack, have no figures that anybody reads."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they double what is shown
        metrics.worker_pid.set(os.getpid())
        metrics.worker_start_time_seconds.set(time.time())
        metrics.workers.set(settings.WORKERS)
        metrics.workers_ready.set(1)
        self.sample()
        self._wait()

    def stop(self) -> None:
        metrics.workers_ready.set(0)
        if self._next:
            self._next.cancel()

    def _wait(self) -> None:
        self._due = self.loop.time() + TICK_SECONDS
        self._next = self.loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        now = self.loop.time()
        self.stalls.add(now - self._due, now)
        self._ticks += 1
        if self._ticks % TICKS_A_SAMPLE == 0:
            self.sample()
        self._wait()

    def sample(self) -> None:
        live, flusher = self.stack.live, self.stack.flusher
        metrics.loop_stall_seconds.set(self.stalls.worst)
        metrics.snapshot_version.set(live.snapshot.version)
        metrics.calls_in_flight.set(live.pool.in_flight)
        metrics.queue_rows.set(flusher.rows)
        self._add(metrics.stored_lost, flusher.dropped)
        self._add(metrics.usage_lost, flusher.lost)
        self._add(metrics.usage_waits, flusher.waits)
        providers = live.snapshot.providers
        metrics.set_down({(each.tenant, each.provider_id): live.pool.refuses(key) for key, each in providers.items()})
        metrics.worker_cpu_seconds.set(time.process_time())
        metrics.worker_resident_bytes.set(resident())

    def _add(self, counter: Counter, total: int) -> None:
        counter.inc(total - self._told[counter])
        self._told[counter] = total


def losses() -> dict[str, int]:
    """For a page: how many usage records were lost, and how many calls waited for room, at all workers."""

    async def sample(running: "LlamaStack") -> None:
        running.watch.sample()

    if stack.is_running():
        stack.run(sample)
    return {"lost": metrics.total("usage_lost"), "waits": metrics.total("usage_waits")}


def resident() -> int:
    """The memory this process has resident, in bytes; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as told:
            return int(told.read().split()[1]) * PAGE
    except OSError:
        return 0
