"""Many paced streams at once: whether each ends as it should, the longest gap that its client sees, and the memory."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks import _upstream
from benchmarks._bench import Bench
from benchmarks._calls import EVENTS, Calls, Slow
from benchmarks._load import PATIENCE_SECONDS, Cell, Connection, client, percentile, pss_megabytes
from benchmarks._targets import Target

SPREAD_SECONDS = EVENTS * _upstream.PACES[_upstream.SLOW]  # the clients begin one after the other, over a stream's time
LOOK_SECONDS = 1.0


class Watched(Connection):
    """Notes the longest time between two pieces of an answer."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__()
        self.clock = clock
        self.last = self.longest = 0.0
        self.gaps: list[float] = []

    def ask(self, request: bytes) -> "asyncio.Future[bytes]":
        self.last = self.longest = 0.0
        answered = super().ask(request)
        answered.add_done_callback(lambda _: self.gaps.append(1000 * self.longest))
        return answered

    def data_received(self, data: bytes) -> None:
        now = self.clock()
        if self.last:
            self.longest = max(self.longest, now - self.last)
        self.last = now
        super().data_received(data)


@dataclass
class Streams:
    """What so many clients saw. Gaps are in milliseconds, the longest one of each stream; memory is PSS in MB."""

    cell: Cell
    gaps: list[float]
    before: float
    during: list[float] = field(default_factory=list)

    @property
    def added(self) -> float:
        return max(self.during, default=self.before) - self.before

    @property
    def gap(self) -> float:
        return percentile(self.gaps, 0.99)

    def row(self, name: str) -> str:
        cell = self.cell
        busy, others = 100 * cell.server / cell.seconds, 100 * cell.others / cell.seconds
        cost = cell.cost / EVENTS
        fast = f"{cell.fast} of {len(cell.answers)}" if cell.lanes else ""
        return (
            f"| {cell.clients:,} | {name} | {len(cell.answers):,} | {cell.errors} | {self.gap:.0f} | {cost:.1f} "
            f"| {self.before:.0f} | {self.added:.0f} | {fast} | {busy:.0f} % | {others:.0f} % |"
        )


COLUMNS = (
    "streams at once",
    "",
    "complete",
    "errors",
    "longest gap, p99 ms",
    "µs/event",
    "PSS MB before",
    "MB more",
    "fast lane",
    "server's core",
    "clients' core",
)


def heading() -> str:
    return f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def streams(bench: Bench, target: Target, clients: int, seconds: float) -> Streams:
    calls = target.calls(Slow, bench.numbers)
    found = Streams(Cell(clients), [], pss_megabytes(target.pid))
    bench.watched(target, calls, _load(found, target, calls, seconds))
    return found


async def _load(found: Streams, target: Target, calls: Calls, seconds: float) -> Cell:
    """Each client has one stream after the other until the time is over, and the last one to its end."""
    loop, cell = asyncio.get_running_loop(), found.cell
    made = [await loop.create_connection(Watched, "127.0.0.1", target.port) for _ in range(cell.clients)]
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    until = began + SPREAD_SECONDS + seconds
    async with asyncio.timeout(until - began + PATIENCE_SECONDS), _looking(found, target):
        await asyncio.gather(
            *(
                _client(place * SPREAD_SECONDS / cell.clients, link, calls, cell, until)
                for place, (_, link) in enumerate(made)
            )
        )
    cell.seconds = time.perf_counter() - began
    gc.enable()
    for transport, link in made:
        found.gaps += link.gaps
        transport.close()
    return cell


async def _client(delay: float, link: Watched, calls: Calls, cell: Cell, until: float) -> None:
    await asyncio.sleep(delay)
    await client(link, calls, cell, until)


@contextlib.asynccontextmanager
async def _looking(found: Streams, target: Target) -> AsyncIterator[None]:
    """Looks at the server's memory now and then, in a thread: the kernel takes its time."""

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            found.during.append(await asyncio.to_thread(pss_megabytes, target.pid))

    looking: asyncio.Task[Any] = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
