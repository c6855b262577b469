"""How many `store: true` completions a second, and whether any is lost when the server is killed.

    python -m benchmarks.stored [--kills 20] [--seconds 10]

Over HTTP: 64 clients against the real server, whose upstream is a raw ASGI application in a process of its own that
answers at once. Every answer is compared with what is stored, after the last one. Beside it the service alone, without
HTTP and upstream, in one process. Then the server is killed under load again and again (tests/chaos/test_kill.py).
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import psycopg

from benchmarks import _echo
from llamastack.services import start
from tests.chaos.test_database_gone import RUN
from tests.chaos.test_kill import URL, killed_again_and_again, stored, until_listed
from tests.servers import ROOT, environment, free_port, listening, serving

CLIENTS = 64
WARM_UP_SECONDS = 2.0
MODEL = f"sky/{_echo.MODEL}"
LIMITS = {"postgresql": 500, "sqlite": 300}


class Clients:
    """As many completions as 64 clients get; each is told a number and must hear it again."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.http = http
        self.number = 0
        self.answered: dict[str, str] = {}

    async def rate(self, seconds: float) -> float:
        """Completions a second."""
        before, began = len(self.answered), time.perf_counter()
        await asyncio.gather(*(self.client(began + seconds) for _ in range(CLIENTS)))
        return (len(self.answered) - before) / (time.perf_counter() - began)

    async def client(self, until: float) -> None:
        while time.perf_counter() < until:
            self.number += 1
            said = f"number {self.number}"
            body = {"model": MODEL, "messages": [{"role": "user", "content": said}], "store": True}
            async with self.http.post(URL, json=body) as answer:
                reply = await answer.json()
            assert reply["choices"][0]["message"]["content"] == f"You said: {said}", reply
            self.answered[reply["id"]] = said


async def over_http(upstream: str, env: dict[str, str], folder: Path, seconds: float) -> tuple[float, int, int]:
    """Completions a second, how many were answered, and how many of those are stored as they were answered."""
    config = folder / "http.yaml"
    config.write_text(RUN % upstream)
    with serving(config, home=folder / "home", env=env) as server:
        async with aiohttp.ClientSession(server.url) as http:
            await until_listed(http, MODEL)
            clients = Clients(http)
            await clients.rate(WARM_UP_SECONDS)
            rate = await clients.rate(seconds)
        found = await stored(server)
    right = 0
    for name, said in clients.answered.items():
        item = found.get(name, {"input_messages": [], "choices": []})
        asked = [message["content"] for message in item["input_messages"]]
        heard = [choice["message"]["content"] for choice in item["choices"]]
        right += (asked, heard) == ([said], [f"You said: {said}"])
    return rate, len(clients.answered), right


def in_process(env: dict[str, str]) -> tuple[float, bool]:
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks._service"], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    rate, complete = ran.stdout.split()
    return float(rate), complete == "True"


@contextmanager
def echoing() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks._echo:application", "--port", str(port), "--no-access-log"]
    process = subprocess.Popen([*command, "--log-level", "warning", "--lifespan", "off"], cwd=ROOT)
    try:
        while not listening(port):
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


async def measure(name: str, url: str, folder: Path, options: argparse.Namespace) -> bool:
    env = {"DATABASE_URL": url}
    with echoing() as upstream:
        rate, answered, right = await over_http(upstream, env, folder, options.seconds)
        inner, complete = in_process(environment(folder / "home", DJANGO_SETTINGS_MODULE="llamastack.settings", **env))
        print(f"{name}: {rate:.0f} completions/s over HTTP (limit {LIMITS[name]}), {inner:.0f}/s in process")
        print(f"{name}: of {answered} answered, {right} are stored as they were answered; in process all: {complete}")
        found = await killed_again_and_again(options.kills, folder / "home", upstream, MODEL, env)
    lost = len(found.lost)
    print(f"{name}: {options.kills} kills, {len(found.load.received)} completions received whole, {lost} lost")
    print(f"stored_{name}_per_second={rate:.0f}")
    return rate >= LIMITS[name] and right == answered and complete and not lost


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    print(f"cores={os.cpu_count()} python={sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder, start() as services:
        with psycopg.connect(services.database_url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE stored")
        urls = {
            "postgresql": services.database_url.rpartition("/")[0] + "/stored",
            "sqlite": f"sqlite:///{folder}/stored.db",
        }
        good = []
        for name, url in urls.items():
            (Path(folder) / name).mkdir()
            good.append(await measure(name, url, Path(folder) / name, options))
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
