"""The cells of benchmarks/gateway.py: a kind of call, so many clients, one server; every answer is checked."""

import itertools
import os
import statistics
import sys
from collections.abc import Awaitable
from dataclasses import dataclass

import uvloop

from benchmarks._calls import Calls, said
from benchmarks._load import Cell, cpu_seconds, load, pss_megabytes
from benchmarks._targets import ALONE, Target

BUSY = 0.9
SHOWN_WRONG = 3
COLUMNS = (
    "",
    "clients",
    "",
    "requests/s",
    "events/s",
    "p50 ms",
    "p99 ms",
    "µs/request",
    "µs/event",
    "PSS MB",
    "errors",
    "fast lane",
    "clients' core",
)


@dataclass
class Pairs:
    """The same cell of two servers, in turn of either order, again and again."""

    first: list[Cell]
    second: list[Cell]

    @property
    def rates(self) -> list[float]:
        """Requests a second of the first, of the second's."""
        return [one.rate / other.rate for one, other in zip(self.first, self.second, strict=True)]

    @property
    def costs(self) -> list[float]:
        """The same of the processor, which holds where the machine does other work, too."""
        return [other.cost / one.cost for one, other in zip(self.first, self.second, strict=True)]

    @property
    def of_rates(self) -> float:
        return statistics.median(self.rates)

    @property
    def of_costs(self) -> float:
        return statistics.median(self.costs)

    @property
    def added(self) -> float:
        """Milliseconds more to the half of the answers."""
        return statistics.median(one.p(0.5) - other.p(0.5) for one, other in zip(self.first, self.second, strict=True))

    def tell(self, name: str) -> None:
        for way, ratios in (("by the clock", self.rates), ("of the processor", self.costs)):
            print(f"{name}, {way}, in pairs: {' '.join(f'{ratio:.3f}' for ratio in ratios)}", flush=True)


class Bench:
    def __init__(self, alone: Target) -> None:
        self.alone = alone
        self.numbers = itertools.count()
        self.busy = 0.0  # the most that was used of the clients' core, without the upstream alone

    def cell(self, target: Target, kind: type[Calls], clients: int, seconds: float) -> Cell:
        calls = target.calls(kind, self.numbers)
        return self.watched(target, calls, load(target.port, calls, clients, seconds))

    def watched(self, target: Target, calls: Calls, loading: Awaitable[Cell]) -> Cell:
        """What the load found, with what it cost everybody."""
        others = [os.getpid(), self.alone.pid]
        before = cpu_seconds(target.pid), sum(map(cpu_seconds, others))
        cell: Cell = uvloop.run(_awaited(loading))
        cell.server = cpu_seconds(target.pid) - before[0]
        cell.others = sum(map(cpu_seconds, others)) - before[1]
        cell.memory = pss_megabytes(target.pid)
        if target.name != ALONE:
            self.busy = max(self.busy, cell.others / cell.seconds)
        self.count(target, calls, cell)
        return cell

    def count(self, target: Target, calls: Calls, cell: Cell) -> None:
        target.errors += cell.errors
        target.lanes += cell.lanes
        target.asked[calls.operation] += len(cell.answers)
        for number, answer in cell.answers.items():
            try:
                name = calls.checked(number, answer)
            except (ValueError, KeyError, IndexError, TypeError) as error:
                target.wrong += 1
                if target.wrong <= SHOWN_WRONG:
                    print(f"Wrong of {target.name}, {calls.name}: {error!r}"[:1000], file=sys.stderr)
            else:
                if calls.stored:
                    target.said[name] = said(number)

    def pairs(
        self, first: Target, second: Target, kind: type[Calls], clients: int, seconds: float, rounds: int
    ) -> Pairs:
        pairs = Pairs([], [])
        both = [(first, pairs.first), (second, pairs.second)]
        for number in range(rounds):
            for target, cells in both if number % 2 else both[::-1]:
                cells.append(self.cell(target, kind, clients, seconds))
        return pairs


async def _awaited(loading: Awaitable[Cell]) -> Cell:
    return await loading


def show(line: str) -> None:
    print(line, flush=True)


def heading() -> str:
    return f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def row(kind: type[Calls], name: str, cell: Cell) -> str:
    streamed = kind.events > 1
    figures = [
        kind.name,
        f"{cell.clients:,}",
        name,
        f"{cell.rate:.0f}",
        f"{cell.rate * kind.events:.0f}" if streamed else "",
        f"{cell.p(0.5):.2f}",
        f"{cell.p(0.99):.2f}",
        f"{cell.cost:.0f}",
        f"{cell.cost / kind.events:.1f}" if streamed else "",
        f"{cell.memory:.0f}",
        f"{cell.errors}",
        f"{cell.fast} of {len(cell.answers)}" if cell.lanes else "",
        f"{100 * cell.others / cell.seconds:.0f} %",
    ]
    return f"| {' | '.join(figures)} |"
