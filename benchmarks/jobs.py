"""What a batch costs, what it costs others, and a claim among many jobs.

    python -m benchmarks.jobs [--lines 1000] [--seconds 5] [--queued 10000]

The real server on one core; its upstream answers at once, and is with the clients on the others. As many clients as a
batch has lines under way ask for chats, for so many seconds; then a batch of so many lines. Then a few clients who
think between their chats, alone and beside a batch, nine times in turn: the median of the ratios counts. Every answer
is checked. Rates are by the clock; the cost is of the server's processor, which holds where the machine does other
work, too.

Then, with the server stopped, a thousand claims among so many queued jobs: each to find one and to claim it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import uvloop

from benchmarks import _batches
from llamastack.services import start
from tests.servers import ROOT, environment

AT_ONCE = 32
LEAST_SHARE = 0.6  # of the clients' rate
LONGEST_CLAIM = 5.0  # ms, p99
MOST_SLOWER = 1.5  # the p99 of live chats beside a batch, by that of those alone


def claims(url: str, folder: Path, queued: int) -> tuple[float, float]:
    """Milliseconds: the median and the 99th percentile."""
    env = environment(folder / "home", DATABASE_URL=url, DJANGO_SETTINGS_MODULE="llamastack.settings")
    command = [sys.executable, "-m", "benchmarks._claims", str(queued)]
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    median, slow = map(float, ran.stdout.split())
    return median, slow


def measure(name: str, url: str, folder: Path, options: argparse.Namespace) -> bool:
    with _batches.running(url, folder, AT_ONCE) as server:
        found = uvloop.run(_batches.measured(server, AT_ONCE, options.lines, options.seconds))
    median, slow = claims(url, folder, options.queued)
    direct, batch, slower = found.direct, found.batch, found.slower
    print(f"{name}: {AT_ONCE} clients {direct.rate:.0f} chats/s, {direct.cost:.0f} µs each")
    print(
        f"{name}: a batch {batch.rate:.0f} lines/s, {batch.cost:.0f} µs each: {found.share:.0%} (>= {LEAST_SHARE:.0%})"
    )
    print(f"{name}: live chats p99 {found.alone:.2f} ms; beside a batch of {found.beside_rate:.0f} lines/s ", end="")
    print(f"{found.beside:.2f} ms: {slower:.2f} times (<= {MOST_SLOWER:g}); each round ", end="")
    print(", ".join(f"{beside / alone:.2f}" for alone, beside in found.rounds))
    print(f"{name}: a claim among {options.queued:,} {median:.2f} ms, p99 {slow:.2f} ms (<= {LONGEST_CLAIM:g})")
    print(f"{name}: wrong answers: {found.wrong}")
    print(f"jobs_{name}_batch_share={found.share:.2f}\njobs_{name}_live_p99_times={slower:.2f}")
    print(f"jobs_{name}_claim_p99_ms={slow:.2f}", flush=True)
    good = found.share >= LEAST_SHARE and slower <= MOST_SLOWER and slow <= LONGEST_CLAIM
    return good and not found.wrong


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--databases", default="postgresql,sqlite")
    options = parser.parse_args()
    print(f"cores={os.cpu_count()} python={sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder, start() as services:
        with psycopg.connect(services.database_url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE jobs")
        urls = {
            "postgresql": services.database_url.rpartition("/")[0] + "/jobs",
            "sqlite": f"sqlite:///{folder}/jobs.db",
        }
        good = []
        for name, url in urls.items():
            if name not in options.databases.split(","):
                continue
            (Path(folder) / name).mkdir()
            good.append(measure(name, url, Path(folder) / name, options))
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(main())
