"""How fast the server is as a gateway, beside the least that a gateway in Python does and the upstream alone.

    python -m benchmarks.gateway [--quick] [--seconds 1.5] [--rounds 5] [--clients 1 16 64 256] [--kinds chat …]

Three servers: a fast upstream of bytes (benchmarks/_upstream.py), the raw floor (benchmarks/_floor.py) and ours, as it
is by default: one worker, keys required, what is said is stored. Floor and server share one core in turn, the clients
and the upstream have the other. Every body is checked, and what is stored is compared with what was answered.

A cell: requests and events a second; p50 and p99 of whole answers; the server's processor for a request and for an
event; how much of the clients' core was used, which must not be all of it.
"""

import argparse
import itertools
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import uvloop

from benchmarks import _echo, _upstream
from benchmarks._calls import KINDS, said
from benchmarks._load import Cell, cpu_seconds, load, pss_megabytes
from tests.servers import ROOT, Server, environment, free_port, listening, serving, starting

CLIENTS = (1, 16, 64, 256)
OF_FLOOR = 64  # the clients of the last line
BUSY = 0.9
SHOWN_WRONG = 3
DATABASE = "llamastack.db"
ALONE, FLOOR, OURS = "upstream alone", "raw floor", "server"


@dataclass
class Target:
    """One of the three, and what it has answered."""

    name: str
    port: int
    pid: int
    key: str
    said: dict[str, str] = field(default_factory=dict)
    wrong: int = 0
    errors: int = 0


def cores() -> tuple[set[int], set[int]]:
    """Those of the servers that are measured, and those of everybody else."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


@contextmanager
def on(places: set[int]) -> Iterator[None]:
    """What is started meanwhile stays on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, places)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def upstream() -> Iterator[Target]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks._upstream", str(port)]
    with starting(command, os.environ.copy(), port) as server:
        yield Target(ALONE, port, until_listening(server), "any")


@contextmanager
def floor(url: str) -> Iterator[Target]:
    port, key = free_port(), "floor"
    command = [sys.executable, "-m", "uvicorn", "benchmarks._floor:application", "--port", str(port)]
    quiet = ["--no-access-log", "--log-level", "warning", "--lifespan", "off"]
    with starting([*command, *quiet], os.environ | {"BENCH_UPSTREAM": url, "BENCH_KEY": key}, port) as server:
        yield Target(FLOOR, port, until_listening(server), key)


def until_listening(server: Server) -> int:
    while not listening(server.port):
        if server.process.poll() is not None:
            raise RuntimeError(server.output)
        time.sleep(0.05)
    return server.process.pid


@contextmanager
def ours(url: str, folder: Path) -> Iterator[Target]:
    config, home = folder / "run.yaml", folder / "home"
    config.write_text(run_of(url))
    required = {"LLAMA_STACK_AUTH": "required"}
    command = [sys.executable, "-m", "llamastack.cli", "key", "create", "bench", "--config", str(config)]
    made = subprocess.run(
        command, cwd=ROOT, env=environment(home, **required), capture_output=True, text=True, check=True
    )
    with serving(config, home=home, env=required) as server:
        target = Target(OURS, server.port, server.process.pid, made.stdout.split()[-1])
        until_answered(target)
        yield target


def run_of(url: str) -> str:
    """One remote provider, and its three models under their own names."""
    provider = {"provider_id": "sky", "provider_type": "remote::openai", "config": {"base_url": url, "api_key": "any"}}
    models: list[dict[str, Any]] = [
        {"model_id": name, "provider_id": "sky", "provider_model_id": name} for name in (_echo.MODEL, _upstream.PACED)
    ]
    vectors = {"model_type": "embedding", "metadata": {"embedding_dimension": _upstream.DIMENSION}}
    models.append({"model_id": _upstream.VECTORS, "provider_id": "sky", **vectors})
    head = {"version": 2, "image_name": "gateway", "apis": ["inference"], "providers": {"inference": [provider]}}
    return json.dumps(head | {"registered_resources": {"models": models}})


def until_answered(target: Target) -> None:
    """Without the key nobody is served; with it, once the provider has started."""
    asked = orjson.dumps({"model": _echo.MODEL, "messages": [{"role": "user", "content": "Hi"}], "store": False})
    url = f"http://127.0.0.1:{target.port}/v1/chat/completions"
    kind = {"Content-Type": "application/json"}
    assert status(urllib.request.Request(url, asked, kind)) == 401
    while status(urllib.request.Request(url, asked, kind | {"Authorization": f"Bearer {target.key}"})) != 200:
        time.sleep(0.1)


def status(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


class Bench:
    def __init__(self, targets: list[Target], options: argparse.Namespace) -> None:
        self.targets = targets
        self.options = options
        self.numbers = itertools.count()
        self.busy = 0.0  # the most that was used of the clients' core, without the upstream alone

    def cell(self, target: Target, kind: str, clients: int) -> Cell:
        """One measurement, its answers checked."""
        calls = KINDS[kind](target.port, target.key, self.numbers)
        others = [os.getpid(), self.targets[0].pid]
        before = cpu_seconds(target.pid), sum(map(cpu_seconds, others))
        cell: Cell = uvloop.run(load(target.port, calls, clients, self.options.seconds))
        cell.server = cpu_seconds(target.pid) - before[0]
        cell.others = sum(map(cpu_seconds, others)) - before[1]
        if target.name != ALONE:
            self.busy = max(self.busy, cell.others / cell.seconds)
        target.errors += cell.errors
        for number, answer in cell.answers.items():
            try:
                name = calls.checked(number, answer)
            except (ValueError, KeyError, IndexError, TypeError) as error:
                target.wrong += 1
                if target.wrong <= SHOWN_WRONG:
                    print(f"Wrong of {target.name}, {kind}: {error!r}"[:1000], file=sys.stderr)
            else:
                if calls.stored:
                    target.said[name] = said(number)
        return cell

    def table(self) -> dict[tuple[str, int, str], Cell]:
        print("| | clients | | requests/s | events/s | p50 ms | p99 ms | µs/request | µs/event | clients' core |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        cells = {}
        for kind, clients in itertools.product(self.options.kinds, self.options.clients):
            for target in self.targets:
                cell = cells[kind, clients, target.name] = self.cell(target, kind, clients)
                print(row(kind, target.name, cell), flush=True)
        return cells

    def of_floor(self) -> tuple[float, float]:
        """The medians of pairs in turn of either order: our requests, of the floor's, a second by the clock and of the
        processor. The latter hold where the machine does other work, too."""
        pairs = []
        for number in range(self.options.rounds):
            order = self.targets[1:][:: 1 if number % 2 else -1]
            pairs.append({target.name: self.cell(target, "chat", OF_FLOOR) for target in order})
        rates = [pair[OURS].rate / pair[FLOOR].rate for pair in pairs]
        costs = [pair[FLOOR].cost / pair[OURS].cost for pair in pairs]
        for name, ratios in (("by the clock", rates), ("of the processor", costs)):
            listed = " ".join(f"{ratio:.3f}" for ratio in ratios)
            print(f"requests of the floor's, {name}, in pairs (chat, {OF_FLOOR} clients): {listed}")
        return statistics.median(rates), statistics.median(costs)


def row(kind: str, name: str, cell: Cell) -> str:
    events = KINDS[kind].events
    streamed = events > 1
    figures = [
        f"{cell.rate:.0f}",
        f"{cell.rate * events:.0f}" if streamed else "",
        f"{cell.p(0.5):.2f}",
        f"{cell.p(0.99):.2f}",
        f"{cell.cost:.0f}",
        f"{cell.cost / events:.1f}" if streamed else "",
        f"{100 * cell.others / cell.seconds:.0f} %",
    ]
    return f"| {kind} | {cell.clients} | {name} | {' | '.join(figures)} |" + (
        f" {cell.errors} errors" * bool(cell.errors)
    )


def stored(folder: Path) -> dict[str, str]:
    """What is stored, once the server has stopped: what was said, by the completion's id. Answers must repeat it."""
    found = {}
    [database] = (folder / "home").rglob(DATABASE)
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT id, input_messages, completion FROM inference_storedcompletion")
        for name, messages, completion in rows:
            content = orjson.loads(messages)[-1]["content"]
            heard = orjson.loads(completion)["choices"][0]["message"]["content"]
            found[name] = content if heard.rstrip() == f"You said: {content}" else heard
    return found


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a few seconds: 64 clients, short cells, one pair")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each cell")
    parser.add_argument("--rounds", type=int, default=5, help="pairs for the last line")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds, options.clients = 0.5, 1, (OF_FLOOR,)
    return options


def main() -> int:
    options = parsed()
    measured, others = cores()
    print(f"cores={os.cpu_count()} load={os.getloadavg()[0]:.1f} python={sys.version.split()[0]}")
    print(f"on core {min(measured)}: the server or the floor; on {sorted(others)}: the clients and the upstream")
    with tempfile.TemporaryDirectory() as folder:
        with ExitStack() as running:
            with on(others):
                alone = running.enter_context(upstream())
            url = f"http://127.0.0.1:{alone.port}/v1"
            with on(measured):
                rest = [running.enter_context(floor(url)), running.enter_context(ours(url, Path(folder)))]
            os.sched_setaffinity(0, others)
            bench = Bench([alone, *rest], options)
            for target, kind in itertools.product(rest, options.kinds):  # the first calls of each take longer
                bench.cell(target, kind, 16)
            cells = bench.table()
            by_clock, of_processor = bench.of_floor()
            memory = {target.name: pss_megabytes(target.pid) for target in rest}
        good = told(bench, stored(Path(folder)))
    print(f"PSS after it: {', '.join(f'{name} {size:.0f} MB' for name, size in memory.items())}")
    if (found := cells.get(("chat", 1, OURS))) is not None:
        added = found.p(0.5) - cells["chat", 1, ALONE].p(0.5)
        print(f"added_p50_ms={added:.3f} (chat, one client, over the upstream alone)")
    print(f"gateway_processor_of_floor={of_processor:.2f}")
    print(f"gateway_of_floor={by_clock:.2f}")
    return 0 if good else 1


def told(bench: Bench, rows: dict[str, str]) -> bool:
    """Whether no answer was wrong, nobody was left without one, and what is stored is what was answered."""
    *_, server = bench.targets
    for target in bench.targets:
        print(f"{target.name}: {target.errors} errors, {target.wrong} wrong answers")
    same = rows == server.said
    right = sum(rows.get(name) == content for name, content in server.said.items())
    print(f"stored: {len(rows)} rows; {right} of the {len(server.said)} completions as they were answered")
    print(f"the clients' core was used by {100 * bench.busy:.0f} % at most" + " (too much)" * (bench.busy > BUSY))
    return same and not any(target.errors or target.wrong for target in bench.targets)


if __name__ == "__main__":
    raise SystemExit(main())
