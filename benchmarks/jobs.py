"""What a batch costs, and a claim among many jobs.

    python -m benchmarks.jobs [--lines 1000] [--seconds 5] [--queued 10000]

A batch of so many chats, 32 at once, against the real server, whose upstream is a raw ASGI application in a process of
its own that answers at once; before it, as many clients as that ask the same server for chats, for so many seconds.
Then, with the server stopped, a thousand claims among so many queued jobs: each to find one and to claim it.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

from benchmarks import _echo
from benchmarks.stored import echoing
from llamastack.services import start
from tests.chaos.test_kill import until_listed
from tests.servers import ROOT, environment, serving

AT_ONCE = 32
LEAST_SHARE = 0.6  # of the clients' rate
LONGEST_CLAIM = 5.0  # ms, p99
MODEL = f"sky/{_echo.MODEL}"
URL = "/v1/chat/completions"
RUN = """
version: 2
image_name: jobs
apis: [batches, files, inference]
providers:
  inference:
  - provider_id: sky
    provider_type: remote::openai
    config: {{base_url: "{url}"}}
  files:
  - provider_id: local
    provider_type: inline::localfs
    config: {{}}
  batches:
  - provider_id: reference
    provider_type: inline::reference
    config: {{max_concurrent_requests_per_batch: {at_once}}}
"""


def chat(number: int) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": f"number {number}"}], "store": False}


async def clients(http: aiohttp.ClientSession, seconds: float) -> float:
    """Chats a second."""
    answered, until = 0, time.perf_counter() + seconds

    async def client() -> None:
        nonlocal answered
        while time.perf_counter() < until:
            async with http.post(URL, json=chat(answered)) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
            answered += 1

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return answered / seconds


async def batch(http: aiohttp.ClientSession, count: int) -> float:
    """Lines a second, from the batch's creation to its end. Every line must stand in the output once."""
    lines = [{"custom_id": str(n), "method": "POST", "url": URL, "body": chat(n)} for n in range(count)]
    form = aiohttp.FormData({"purpose": "batch"})
    form.add_field("file", b"".join(json.dumps(line).encode() + b"\n" for line in lines), filename="lines.jsonl")
    async with http.post("/v1/files", data=form) as answer:
        file_id = (await answer.json())["id"]
    began = time.perf_counter()
    body = {"input_file_id": file_id, "endpoint": URL, "completion_window": "24h"}
    async with http.post("/v1/batches", json=body) as answer:
        made = await answer.json()
    while made["status"] not in ("completed", "failed"):
        await asyncio.sleep(0.05)
        async with http.get(f"/v1/batches/{made['id']}") as answer:
            made = await answer.json()
    seconds = time.perf_counter() - began
    async with http.get(f"/v1/files/{made['output_file_id']}/content") as answer:
        said = [json.loads(line)["custom_id"] for line in (await answer.text()).splitlines()]
    assert said == [str(n) for n in range(count)], made
    return count / seconds


async def rates(url: str, folder: Path, options: argparse.Namespace) -> tuple[float, float]:
    config = folder / "run.yaml"
    with echoing() as upstream:
        config.write_text(RUN.format(url=upstream, at_once=AT_ONCE))
        with serving(config, home=folder / "home", env={"DATABASE_URL": url}) as server:
            async with aiohttp.ClientSession(server.url) as http:
                await until_listed(http, MODEL)
                await clients(http, 1)
                return await clients(http, options.seconds), await batch(http, options.lines)


def claims(url: str, folder: Path, queued: int) -> tuple[float, float]:
    """Milliseconds: the median and the 99th percentile."""
    env = environment(folder / "home", DATABASE_URL=url, DJANGO_SETTINGS_MODULE="llamastack.settings")
    command = [sys.executable, "-m", "benchmarks._claims", str(queued)]
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    median, slow = map(float, ran.stdout.split())
    return median, slow


async def measure(name: str, url: str, folder: Path, options: argparse.Namespace) -> bool:
    direct, batched = await rates(url, folder, options)
    median, slow = claims(url, folder, options.queued)
    share = batched / direct
    print(f"{name}: a batch's {batched:.0f} lines/s of the clients' {direct:.0f} chats/s (limit {LEAST_SHARE:.0%})")
    print(
        f"{name}: a claim among {options.queued:,} takes {median:.2f} ms, p99 {slow:.2f} ms (limit {LONGEST_CLAIM:g})"
    )
    print(f"jobs_{name}_batch_share={share:.2f}\njobs_{name}_claim_p99_ms={slow:.2f}")
    return share >= LEAST_SHARE and slow <= LONGEST_CLAIM


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--queued", type=int, default=10_000)
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
            (Path(folder) / name).mkdir()
            good.append(await measure(name, url, Path(folder) / name, options))
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
