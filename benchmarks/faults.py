"""What 200 upstreams that trickle cost everybody else, and how soon an open breaker answers.

    python -m benchmarks.faults [--rounds 5] [--seconds 6]

One real server with two providers: a healthy one, and one whose upstream sends a byte of its head, or of its body, each
second and never ends. Eight clients ask the healthy one, in turn alone and beside 200 calls that hang on the other; the
ratio is that of the p99 of all calls of either kind. Then a provider that cannot be reached is asked until its breaker
is open, and 200 times more.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from benchmarks import _echo
from benchmarks.stored import echoing
from tests.chaos.test_kill import URL, until_listed
from tests.servers import free_port, serving

CLIENTS = 8
LORISES = 200
ASKS = 200
MOST_TIMES = 2.0
MOST_MILLISECONDS = 50.0
HEADS = (
    b"HTTP/1.1 200 OK\r\nX-Slow: ",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: ",
)


class Waiting:
    """How many calls hang on the slow upstream."""

    def __init__(self) -> None:
        self.count = 0
        self.changed = asyncio.Condition()

    async def add(self, more: int) -> None:
        async with self.changed:
            self.count += more
            self.changed.notify_all()

    async def until(self, count: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.count == count)


@asynccontextmanager
async def trickling() -> AsyncIterator[tuple[str, Waiting]]:
    """The slow upstream's address."""
    waiting = Waiting()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                listed = b'{"object": "list", "data": [{"id": "slow"}]}'
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(listed) + listed)
            else:
                await waiting.add(1)
                await trickle(reader, writer, HEADS[waiting.count % 2])
                await waiting.add(-1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=512)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", waiting
    server.close()


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    with suppress(ConnectionError):
        writer.write(head)
        while not reader.at_eof():
            writer.write(b"x")
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(2**16), 1)


async def ask(http: aiohttp.ClientSession, model: str, stream: bool = False) -> tuple[int, float]:
    """The status, and how many milliseconds it took."""
    began = time.perf_counter()
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "store": False, "stream": stream}
    async with http.post(URL, json=body) as answer:
        await answer.read()
    return answer.status, 1000 * (time.perf_counter() - began)


async def healthy(http: aiohttp.ClientSession, seconds: float) -> list[float]:
    taken: list[float] = []
    until = time.perf_counter() + seconds

    async def client() -> None:
        while time.perf_counter() < until:
            status, milliseconds = await ask(http, f"sky/{_echo.MODEL}")
            assert status == 200, status
            taken.append(milliseconds)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return taken


@asynccontextmanager
async def beside(http: aiohttp.ClientSession, waiting: Waiting) -> AsyncIterator[None]:
    """200 calls that hang, every second one a stream."""
    calls = [asyncio.create_task(ask(http, "loris/slow", stream=bool(n % 2))) for n in range(LORISES)]
    await waiting.until(LORISES)
    yield
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await waiting.until(0)


def p(share: float, taken: list[float]) -> float:
    return sorted(taken)[min(len(taken) - 1, int(len(taken) * share))]


async def lorises(http: aiohttp.ClientSession, waiting: Waiting, options: argparse.Namespace) -> float:
    await healthy(http, 2)
    alone: list[float] = []
    crowded: list[float] = []
    for _ in range(options.rounds):
        alone += await healthy(http, options.seconds)
        async with beside(http, waiting):
            crowded += await healthy(http, options.seconds)
    for name, taken in (("alone", alone), (f"beside {LORISES} slow upstreams", crowded)):
        print(f"{name}: {len(taken)} calls, p50 {p(0.5, taken):.1f} ms, p99 {p(0.99, taken):.1f} ms")
    return p(0.99, crowded) / p(0.99, alone)


async def breaker(http: aiohttp.ClientSession) -> float:
    """The slowest of 200 answers, in milliseconds, while the breaker is open."""
    while (await ask(http, "gone"))[0] != 503:
        pass
    answers = [await ask(http, "gone") for _ in range(ASKS)]
    taken = [milliseconds for status, milliseconds in answers if status == 503]
    print(f"breaker open: {len(taken)} answers 503, p50 {p(0.5, taken):.1f} ms, slowest {max(taken):.1f} ms")
    return max(taken)


def run_of(**upstreams: str) -> str:
    rows = [
        {"provider_id": name, "provider_type": "remote::openai", "config": {"base_url": url}}
        for name, url in upstreams.items()
    ]
    gone = {"model_id": "gone", "provider_id": "gone", "provider_model_id": "gone", "model_type": "llm"}
    apis = {"version": 2, "image_name": "faults", "apis": ["inference"]}
    return json.dumps(apis | {"providers": {"inference": rows}, "models": [gone]})


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6)
    options = parser.parse_args()
    print(f"cores={os.cpu_count()} load={os.getloadavg()[0]:.1f} python={sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder, echoing() as echo:
        async with trickling() as (slow, waiting):
            config = Path(folder) / "run.yaml"
            config.write_text(run_of(sky=echo, loris=slow, gone=f"http://127.0.0.1:{free_port()}/v1"))
            running = serving(config, home=Path(folder) / "home")
            server = await asyncio.to_thread(running.__enter__)
            try:
                connector = aiohttp.TCPConnector(limit=0)
                async with aiohttp.ClientSession(server.url, connector=connector) as http:
                    for model in (f"sky/{_echo.MODEL}", "loris/slow", "gone"):
                        await until_listed(http, model)
                    ratio = await lorises(http, waiting, options)
                    slowest = await breaker(http)
            finally:
                await asyncio.to_thread(running.__exit__, None, None, None)
    print(f"faults_p99_ratio={ratio:.2f} (limit {MOST_TIMES:g})")
    print(f"faults_breaker_ms={slowest:.1f} (limit {MOST_MILLISECONDS:g})")
    return 0 if ratio < MOST_TIMES and slowest < MOST_MILLISECONDS else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
