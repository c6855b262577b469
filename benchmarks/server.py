"""How soon the server is ready at its second start, and how much memory it takes with remote providers only.

    python -m benchmarks.server

The first figure is `make serve` with everything installed, the models fetched and the database migrated, until
/v1/health answers 200. The second is the proportional set size (/proc/PID/smaps_rollup) of the web process after 100
chats through an upstream on the loopback, each answer verified. The third is the import of all tables of providers in a
new interpreter.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import openai

from llamastack.apis import SERVED
from tests.servers import ROOT, Server, environment, free_port, serving, starting, wait_until_ready
from tests.upstream import WORDS
from tests.upstream import serving as serving_upstream

STARTS = 5
CHATS = 100
MOST_SECONDS = 5.0
MOST_MEGABYTES = 150.0
MOST_MILLISECONDS = 50.0


TABLES = """
import time
began = time.perf_counter()
import {modules}
print((time.perf_counter() - began) * 1000)
"""


def milliseconds_of_tables() -> float:
    """To import every table of providers, in a new interpreter; the median of some."""
    modules = ", ".join(f"apps.{info.app}.providers" for info in SERVED.values() if info.has_providers)
    command = [sys.executable, "-c", TABLES.format(modules=modules)]
    runs = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True) for _ in range(STARTS)]
    return statistics.median(float(run.stdout) for run in runs)


def seconds_to_ready(home: Path) -> float:
    port = free_port()
    env = environment(home, LLAMA_STACK_PORT=str(port))
    started = time.perf_counter()
    with starting(["make", "serve"], env, port, ROOT) as server:
        wait_until_ready(server)
        taken = time.perf_counter() - started
        server.stop()
    return taken


def pss_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("This kernel tells no proportional set size.")


async def chats(server: Server) -> int:
    """How many of the chats were answered as the upstream said it."""
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any") as client:
        await _listed(client)
        messages = [{"role": "user", "content": "What colour is the sky?"}]
        right = 0
        for _ in range(CHATS):
            reply = await client.chat.completions.create(model="openai/sky-1", messages=messages)
            right += reply.choices[0].message.content == "".join(WORDS)
        return right


async def _listed(client: openai.AsyncOpenAI) -> None:
    """Wait for the discovery of the upstream's models."""
    async with asyncio.timeout(10):
        while "openai/sky-1" not in {model.id async for model in client.models.list()}:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def memory(home: Path) -> tuple[float, int]:
    async with serving_upstream() as upstream:
        env = {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": upstream.url}
        with serving("remote-only", home=home, env=env) as server:
            right = await chats(server)
            return pss_megabytes(server.process.pid), right


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        first = seconds_to_ready(home / "local")
        again = [seconds_to_ready(home / "local") for _ in range(STARTS)]
        pss, right = asyncio.run(memory(home / "remote"))
    median = statistics.median(again)
    print(f"cores={os.cpu_count()} python={sys.version.split()[0]}")
    print(f"first start with an empty database: {first:.2f} s")
    print(f"later starts: {' '.join(f'{taken:.2f}' for taken in again)} s (limit of the median {MOST_SECONDS:g})")
    print(f"PSS with remote providers, after {right} right answers of {CHATS}: {pss:.1f} MB (limit {MOST_MEGABYTES:g})")
    tables = milliseconds_of_tables()
    print(f"all tables of providers imported: {tables:.1f} ms (limit {MOST_MILLISECONDS:g})")
    print(f"start_seconds={median:.2f}")
    print(f"pss_megabytes={pss:.1f}")
    print(f"tables_milliseconds={tables:.1f}")
    held = median <= MOST_SECONDS and pss <= MOST_MEGABYTES and tables <= MOST_MILLISECONDS
    return 0 if right == CHATS and held else 1


if __name__ == "__main__":
    raise SystemExit(main())
