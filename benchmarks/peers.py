"""How much faster the server is than other gateways: OGX, LiteLLM and Portkey.

    python -m benchmarks.peers [--write] [--peers OGX … vectors] [--seconds 3] [--rounds 3] [--chunks 10000]

Each is installed into an environment of its own under .venv/peers, with its own default settings and one worker, and
reaches the fast upstream of benchmarks/gateway.py. In turn with ours, on the same core: 64 clients, chats and streams;
every body is checked. A peer that cannot be installed or started is said to, and the exit code is 1, as it is where a
body, a count or an error was wrong. Before them OGX's vector stores beside ours, on both cores (_vectors.py): ours
shall be ahead in insertions, searches and filtered recall, or the exit code is 1.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import _echo, _figures, _kept, _vectors
from benchmarks._bench import Bench, Pairs, show
from benchmarks._calls import Calls, Chat, Loose
from benchmarks._corpus import corpus
from benchmarks._figures import Figure
from benchmarks._load import Cell, pss_megabytes
from benchmarks._peers import ALL, Peer
from benchmarks._python import Missing
from benchmarks._targets import Target, cores, on, ours, upstream
from tests.servers import ROOT, Server, free_port, starting

CLIENTS = 64
READY_SECONDS = 90.0
PAGE = ROOT / "docs/performance.md"
KINDS: tuple[type[Calls], ...] = (Chat, Loose)
VECTORS = "vectors"
COLUMNS = ("", "chats/s", "µs/chat", "p50 ms", "events/s", "µs/event", "PSS MB", "ours, chats", "ours, events")


@contextmanager
def running(peer: Peer, url: str, folder: Path) -> Iterator[Target]:
    """The peer, ready. Raises Missing where it does not start."""
    port = free_port()
    folder.mkdir()
    started = peer.started(url, port, folder)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LLAMA_STACK_", "DJANGO_"))}
    with starting(started.command, env | started.variables, port, folder) as server:
        target = Target(peer.name, port, server.process.pid, peer.key, peer.prefix, peer.headers(url))
        until_answered(target, server)
        yield target


def until_answered(target: Target, server: Server) -> None:
    until = time.monotonic() + READY_SECONDS
    while (problem := refusal(target)) is not None:
        if server.process.poll() is not None:
            said = server.output.strip().splitlines() or ["nothing"]
            raise Missing(f"it ended with {server.process.returncode}, and said last: {said[-1][:300]}")
        if time.monotonic() > until:
            raise Missing(f"it answered no chat within {READY_SECONDS:g} s: {problem}")
        time.sleep(0.5)


def refusal(target: Target) -> str | None:
    """Why a chat is not answered."""
    said = [{"role": "user", "content": "Hi"}]
    headers = dict(line.split(": ", 1) for line in target.headers.splitlines())
    headers |= {"Authorization": f"Bearer {target.key}", "Content-Type": "application/json"}
    body = json.dumps({"model": target.prefix + _echo.MODEL, "messages": said}).encode()
    url = f"http://127.0.0.1:{target.port}/v1/chat/completions"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10):
            return None
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read(300)!r}"
    except OSError as error:
        return str(error)


def compared(bench: Bench, server: Target, peer: Target, options: argparse.Namespace) -> list[Pairs]:
    for kind in KINDS:
        bench.cell(peer, kind, 16, options.seconds / 3)
    found = []
    for kind in KINDS:
        pairs = bench.pairs(server, peer, kind, CLIENTS, options.seconds, options.rounds)
        pairs.tell(f"ours, of {peer.name}'s, {kind.name}, {CLIENTS} clients")
        found.append(pairs)
    return found


def row(name: str, chats: list[Cell], streams: list[Cell], memory: float, ratios: list[str]) -> str:
    """The middle one of each."""
    chat, stream = (sorted(cells, key=lambda cell: cell.rate)[len(cells) // 2] for cells in (chats, streams))
    figures = [f"{chat.rate:.0f}", f"{chat.cost:.0f}", f"{chat.p(0.5):.1f}"]
    figures += [f"{stream.rate * Loose.events:.0f}", f"{stream.cost / Loose.events:.1f}", f"{memory:.0f}"]
    return f"| {name} | {' | '.join([*figures, *ratios])} |"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="put the table into docs/")
    parser.add_argument("--peers", nargs="+", choices=[*ALL, VECTORS], default=[*ALL, VECTORS])
    parser.add_argument("--chunks", type=int, default=10_000, help="of each vector store")
    parser.add_argument("--seconds", type=float, default=3, help="of each cell")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of each")
    return parser.parse_args()


class Peers:
    def __init__(self, options: argparse.Namespace, alone: Target, server: Target, folder: Path) -> None:
        self.options = options
        self.alone, self.server, self.folder = alone, server, folder
        self.bench = Bench(alone)
        self.rows: list[str] = []
        self.figures: list[Figure] = []
        self.missing: list[str] = []
        self.targets = [alone, server]

    def measure(self, peer: Peer) -> None:
        try:
            peer.install()
            with ExitStack() as stack:
                with on(cores()[0]):
                    url = f"http://127.0.0.1:{self.alone.port}/v1"
                    target = stack.enter_context(running(peer, url, self.folder / peer.name))
                self.targets.append(target)
                chats, streams = compared(self.bench, self.server, target, self.options)
                memory = pss_megabytes(target.pid)
        except Missing as error:
            self.missing.append(f"{peer.name} is not measured: {error}")
            show(self.missing[-1])
            return
        ratios = [f"{pairs.of_rates:.1f} × ({pairs.of_costs:.1f} × of the processor)" for pairs in (chats, streams)]
        ours = pss_megabytes(self.server.pid)
        self.rows.append(row(f"{peer.name} ({peer.package})", chats.second, streams.second, memory, ratios))
        self.rows.append(row(f"ours beside {peer.name}", chats.first, streams.first, ours, ["", ""]))
        name = f"chats, c = {CLIENTS}, of {peer.name}'s"
        self.figures.append(Figure(name, peer.must, peer.aim, chats.of_rates, "×", more=True))


def vectors(chunks: int) -> tuple[list[str], list[Figure], list[str]]:
    """The table, the figures, and what is missing."""
    try:
        with tempfile.TemporaryDirectory() as name:
            table, figures = asyncio.run(_vectors.compared(corpus(chunks, _vectors.SEARCHES, True), Path(name)))
    except Missing as error:
        return [], [], [f"OGX's vector stores are not measured: {error}"]
    return table, figures, []


def stores_compared(options: argparse.Namespace, machine: str) -> bool:
    table, figures, missing = vectors(options.chunks)
    lines = [_figures.HEADING, *map(str, figures)]
    show("\n".join([*table, "", *lines, *missing, ""]))
    if options.write:
        told = [f"{machine}; {options.chunks:,} chunks.", "", *table, "", _figures.as_table(lines), "", *missing]
        _figures.write(PAGE, "vectors", "\n".join(told))
    return not missing and all(figure.reaches(figure.must) for figure in figures)


def main() -> int:
    options, machine = parsed(), _figures.machine()
    show(machine)
    ahead = VECTORS not in options.peers or stores_compared(options, machine)
    gateways = [ALL[name] for name in options.peers if name != VECTORS]
    kept = not gateways or gateways_compared(options, machine, gateways)
    return 0 if ahead and kept else 1


def gateways_compared(options: argparse.Namespace, machine: str, gateways: list[Peer]) -> bool:
    """Whether all were measured, and nothing was wrong."""
    measured, others = cores()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ExitStack() as stack:
            with on(others):
                alone = stack.enter_context(upstream())
            with on(measured):
                server = stack.enter_context(ours(f"http://127.0.0.1:{alone.port}/v1", folder / "ours"))
            os.sched_setaffinity(0, others)
            peers = Peers(options, alone, server, folder)
            for kind in KINDS:
                peers.bench.cell(server, kind, 16, options.seconds / 3)
            for peer in gateways:
                peers.measure(peer)
        kept = _kept.told(server)
    table = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *peers.rows]
    lines = [_figures.HEADING, *map(str, peers.figures)]
    show("\n".join(["", *table, "", *lines, *peers.missing, ""]))
    for target in peers.targets:
        show(f"{target.name}: {target.errors} errors, {target.wrong} wrong answers; its lanes: {dict(target.lanes)}")
    if options.write:
        text = [f"{machine}.", "", *table, "", _figures.as_table(lines), "", *peers.missing]
        _figures.write(PAGE, "peers", "\n".join(text))
    wrong = any(target.errors or target.wrong for target in peers.targets)
    return not wrong and not peers.missing and kept


if __name__ == "__main__":
    raise SystemExit(main())
