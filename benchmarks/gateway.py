"""How fast the server is as a gateway, beside the least that a gateway in Python does and the upstream alone.

    python -m benchmarks.gateway [--quick] [--write] [--django] [--parts cells …] [--seconds 1.5] [--rounds 5]
                                 [--clients 1 16 64 256] [--kinds chat …]

Servers, each a process: a fast upstream of bytes (benchmarks/_upstream.py), the raw floor (benchmarks/_floor.py) and
ours, as it is by default: one worker, keys required, what is said is stored, usage is recorded. Floor and server share
one core in turn, the clients and the upstream have the other. Every body is checked, and what is stored and recorded is
compared with what was answered. Parts:

cells     requests and events a second, p50 and p99 of whole answers, the server's processor for a request and an event,
          its memory, how many the fast lane answered, and how much of the clients' core was used, which must not be all
pairs     ours and the floor in turn: chats and embeddings; one client, beside the upstream alone; 64 streams, an event
          every 20 ms
streams   1,000 and 2,000 streams at once, an event every 100 ms each
registry  chats in turn with those of a server that has 10,000 models and 10,000 keys more

It exits with 1 where a body, a count or an error was wrong. A figure that misses its limit is said to.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from benchmarks import _bench, _figures, _kept, _streams
from benchmarks._bench import BUSY, Bench, show
from benchmarks._calls import KINDS, Calls, Chat, Embeddings, Paced, Streams
from benchmarks._figures import Figure
from benchmarks._load import Cell
from benchmarks._plot import Panel, svg
from benchmarks._targets import FLOOR, OURS, Target, cores, floor, on, ours, upstream
from tests.servers import ROOT

CLIENTS = (1, 16, 64, 256)
AT_ONCE = (1000, 2000)
ROWS = 10_000
OF_FLOOR = 64  # the clients of the last lines
PAGE, PLOT = ROOT / "docs/performance.md", ROOT / "docs/gateway.svg"


class Gateway:
    """One run: what it measured is in `found`, by the name of the figure, and its tables in `tables`."""

    def __init__(self, options: argparse.Namespace, running: ExitStack, folder: Path) -> None:
        self.options = options
        self.tables: list[str] = []
        self.found: dict[str, float] = {}
        self.cells: dict[tuple[str, int, str], Cell] = {}
        measured, others = cores()
        with on(others):
            self.alone = running.enter_context(upstream())
        url = f"http://127.0.0.1:{self.alone.port}/v1"
        with on(measured):
            self.floor = running.enter_context(floor(url))
            self.server = running.enter_context(ours(url, folder / "ours", fast=not options.django))
        self.served = [self.server]
        os.sched_setaffinity(0, others)

        def filled() -> Target:
            with on(measured):
                return running.enter_context(ours(url, folder / "filled", options.rows, fast=not options.django))

        self.filled = filled
        self.bench = Bench(self.alone)
        self.found |= {"ready": self.server.ready, "idle": self.server.idle}

    @property
    def targets(self) -> list[Target]:
        return [self.alone, self.floor, *self.served]

    def measure(self) -> None:
        for target in (self.floor, self.server):
            self.warm(target)
        for part in self.options.parts:
            began = time.perf_counter()
            PARTS[part](self)
            show(f"({part}: {time.perf_counter() - began:.0f} s)\n")

    def warm(self, target: Target) -> None:
        """The first calls of each kind take longer."""
        for kind in self.options.kinds:
            self.bench.cell(target, KINDS[kind], 16, self.options.seconds / 3)

    def told(self, line: str) -> None:
        show(line)
        self.tables.append(line)

    def table(self) -> None:
        self.told(_bench.heading())
        kinds = [KINDS[kind] for kind in self.options.kinds]
        for kind, clients, target in product(kinds, self.options.clients, self.targets[:3]):
            cell = self.cells[kind.name, clients, target.name] = self.bench.cell(
                target, kind, clients, self.options.seconds
            )
            self.told(_bench.row(kind, target.name, cell))

    def pairs(self) -> None:
        seconds, rounds = self.options.seconds, self.options.rounds
        for name, kind in (("chat", Chat), ("embeddings", Embeddings)):
            pairs = self.bench.pairs(self.server, self.floor, kind, OF_FLOOR, seconds, rounds)
            pairs.tell(f"{name} of the floor's, {OF_FLOOR} clients")
            self.found |= {name: pairs.of_rates, f"{name}_processor": pairs.of_costs}
        alone = self.bench.pairs(self.server, self.alone, Chat, 1, seconds, rounds)
        self.found["added"] = alone.added
        paced = self.bench.pairs(self.server, self.floor, Paced, OF_FLOOR, 2 * seconds, max(1, rounds // 2))
        server, least = ([cell.cost / Paced.events for cell in cells] for cells in (paced.first, paced.second))
        self.found |= {"event": statistics.median(server), "event_floor": statistics.median(least)}
        for name, costs in ((OURS, server), (FLOOR, least)):
            listed = " ".join(f"{cost:.1f}" for cost in costs)
            show(f"µs of the processor for an event, {OF_FLOOR} streams paced at 20 ms, {name}: {listed}")

    def streams(self) -> None:
        self.told(_streams.heading())
        for clients, target in product(self.options.at_once, self.targets[:3]):
            found = _streams.streams(self.bench, target, clients, 2 * self.options.seconds)
            self.told(found.row(target.name))
            if target is self.server:
                complete = len(found.cell.answers) / max(1, len(found.cell.answers) + found.cell.errors)
                name = f"streams_{clients}"
                self.found |= {name: complete, f"{name}_memory": found.added, f"{name}_gap": found.gap}

    def registry(self) -> None:
        filled = self.filled()
        self.served.append(filled)
        self.warm(filled)
        seconds, rounds = self.options.seconds, self.options.rounds + 1
        pairs = self.bench.pairs(filled, self.server, Chat, OF_FLOOR, seconds, rounds)
        pairs.tell(f"chats with {self.options.rows:,} models and keys, of those with hardly any")
        show(
            f"ready after {filled.ready:.2f} s and {self.server.ready:.2f} s; "
            f"idle PSS {filled.idle:.0f} MB and {self.server.idle:.0f} MB"
        )
        self.found |= {"rows": pairs.of_rates, "rows_processor": pairs.of_costs}

    # --- what came out ---

    def figures(self) -> list[Figure]:
        get = self.found.get
        figures = [
            Figure("chat, c = 64, of the raw floor", 0.70, 0.85, get("chat"), "%", more=True),
            Figure("the same, of the processor", 0.70, 0.85, get("chat_processor"), "%", more=True),
            Figure("CPU an event, 64 streams paced at 20 ms", 55, 35, get("event"), "µs"),
            Figure("added p50 at c = 1 over the upstream alone", 0.5, 0.3, get("added"), "ms"),
        ]
        for clients in self.options.at_once:
            name = f"streams_{clients}"
            figures += [
                Figure(f"{clients:,} paced streams at once: complete", 1, None, get(name), "%", more=True),
                Figure(f"{clients:,} paced streams at once: memory more", 150, None, get(f"{name}_memory"), "MB"),
                Figure(f"{clients:,} paced streams at once: longest gap, p99", 500, None, get(f"{name}_gap"), "ms"),
            ]
        return [
            *figures,
            Figure("embeddings (384-d, 16 inputs) of the raw floor", 0.70, 0.85, get("embeddings"), "%", more=True),
            Figure("the same, of the processor", 0.70, 0.85, get("embeddings_processor"), "%", more=True),
            Figure("start to ready without local models", 3, 2, get("ready"), "s"),
            Figure("idle PSS", 150, 120, get("idle"), "MB"),
            Figure(
                f"chat with {self.options.rows:,} models and keys, of that without", 0.95, None, get("rows"), "%", True
            ),
            Figure("the same, of the processor", 0.95, None, get("rows_processor"), "%", more=True),
        ]

    def panels(self) -> list[Panel]:
        """Those of the table, where it was measured."""
        shown = [(Chat, "chats a second", False), (Streams, "events a second, streams", False)]
        shown += [
            (Paced, "µs of the processor for an event, every 20 ms", True),
            (Embeddings, "embeddings a second", False),
        ]
        return [
            Panel(title, [f"{clients} clients" for clients in self.options.clients], self._bars(kind, costs))
            for kind, title, costs in shown
            if kind.name in self.options.kinds and self.cells
        ]

    def _bars(self, kind: type[Calls], costs: bool) -> dict[str, list[float]]:
        def value(cell: Cell) -> float:
            return cell.cost / kind.events if costs else cell.rate * kind.events

        every = self.options.clients
        return {name: [value(self.cells[kind.name, clients, name]) for clients in every] for name in (FLOOR, OURS)}

    def right(self) -> bool:
        """Whether no answer was wrong, nobody was left without one, and what our servers keep is what they answered.

        They must have stopped."""
        for target in self.targets:
            show(f"{target.name}: {target.errors} errors, {target.wrong} wrong answers")
        busy = self.bench.busy
        show(f"the clients' core was used by {100 * busy:.0f} % at most" + " (too much)" * (busy > BUSY))
        kept = [_kept.told(target) for target in self.served]
        return all(kept) and not any(target.errors or target.wrong for target in self.targets)


PARTS: dict[str, Callable[[Gateway], None]] = {
    "cells": Gateway.table,
    "pairs": Gateway.pairs,
    "streams": Gateway.streams,
    "registry": Gateway.registry,
}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a minute: 64 clients, short cells, one pair")
    parser.add_argument("--write", action="store_true", help="put tables and plot into docs/")
    parser.add_argument("--django", action="store_true", help="without the fast lane")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=1.5, help="of each cell")
    parser.add_argument("--rounds", type=int, default=5, help="pairs for the last lines")
    parser.add_argument("--rows", type=int, default=ROWS, help="models and keys of the filled server")
    parser.add_argument("--at-once", type=int, nargs="+", default=AT_ONCE, help="streams")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds, options.clients, options.at_once = 0.5, 1, (OF_FLOOR,), (200,)
    return options


def main() -> int:
    options, machine = parsed(), _figures.machine()
    measured, others = cores()
    show(machine)
    show(f"on core {min(measured)}: the servers that are measured; on {sorted(others)}: the clients and the upstream")
    with tempfile.TemporaryDirectory() as folder:
        with ExitStack() as running:
            gateway = Gateway(options, running, Path(folder))
            gateway.measure()
        right = gateway.right()
    lines = _figures.lines(gateway.figures())
    show("\n" + "\n".join(lines) + "\n")
    if options.write:
        text = [f"{machine}.", "", _figures.as_table(lines), "", *gateway.tables]
        _figures.write(PAGE, "gateway", "\n".join(text))
        PLOT.write_text(svg(gateway.panels()))
    if "pairs" in options.parts:
        show(f"embeddings_of_floor={gateway.found['embeddings']:.2f}")
        show(f"gateway_of_floor={gateway.found['chat']:.2f}")
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
