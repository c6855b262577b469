"""Chats beside batches, for benchmarks/jobs.py: as many as clients get, as a batch gets, and how long one takes."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from apps.inference.pace import GAP_SECONDS, LIVE_SECONDS
from benchmarks import _calls, _echo
from benchmarks._load import Connection, cpu_seconds, load, percentile
from benchmarks._targets import cores, on, until_quiet, upstream
from tests.chaos.test_kill import until_listed
from tests.servers import Server, serving

MODEL = f"sky/{_echo.MODEL}"
URL = "/v1/chat/completions"
LIVE = 4  # clients, each of whom thinks between its chats
THINKS_SECONDS = 0.01, 0.03  # each time as long as chance has it: or else they would ask in step
ROUNDS = 9  # of live chats alone and beside a batch, in turn: what a machine does by itself meets both
LOOKS_SECONDS = 0.05  # a look costs the server as much as twenty lines
LOOKS_BESIDE_SECONDS = 0.5  # where chats are measured, and not the batch: once it should be done
LAST_LOOKS_SECONDS = 0.015  # where a batch is quick, once half of it is there: or half a look is measured, too
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


class Chats(_calls.Chat):
    """Of nobody who has them stored, as a batch's are not."""

    def asked(self, number: int) -> dict[str, Any]:
        return super().asked(number) | {"store": False}


@dataclass
class Work:
    """So many chats: how long they took, and the server's processor with them; `wrong` counts wrong answers."""

    count: int
    seconds: float
    processor: float
    wrong: int

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    @property
    def cost(self) -> float:
        """Microseconds of the server's processor for each."""
        return 1e6 * self.processor / self.count


@dataclass
class Live:
    """Milliseconds of each chat, and how many of them were wrong."""

    took: list[float] = field(default_factory=list)
    wrong: int = 0

    @property
    def slow(self) -> float:
        return percentile(self.took, 0.99)


@dataclass
class Measured:
    server: Server
    http: aiohttp.ClientSession
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def calls(self) -> Chats:
        return Chats(self.server.port, "none", self.numbers, "sky/")

    async def clients(self, count: int, seconds: float) -> Work:
        """As many chats as so many clients get."""
        calls, used = self.calls(), cpu_seconds(self.server.process.pid)
        cell = await load(self.server.port, calls, count, seconds)
        used = cpu_seconds(self.server.process.pid) - used
        wrong = sum(not is_right(calls, number, answer) for number, answer in cell.answers.items())
        return Work(len(cell.answers), cell.seconds, used, wrong + cell.errors)

    async def file(self, count: int) -> str:
        calls = self.calls()
        bodies = {n: {"model": calls.model} | calls.asked(n) for n in range(count)}
        lines = [{"custom_id": str(n), "method": "POST", "url": URL, "body": body} for n, body in bodies.items()]
        form = aiohttp.FormData({"purpose": "batch"})
        form.add_field("file", b"".join(json.dumps(line).encode() + b"\n" for line in lines), filename="lines.jsonl")
        async with self.http.post("/v1/files", data=form) as answer:
            return str((await answer.json())["id"])

    async def batch(self, count: int) -> Work:
        """One of so many lines, from its creation to its end."""
        file_id, used = await self.file(count), cpu_seconds(self.server.process.pid)
        began = time.perf_counter()
        ended = await self.ended(file_id, LOOKS_SECONDS)
        seconds = time.perf_counter() - began
        used = cpu_seconds(self.server.process.pid) - used
        return Work(count, seconds, used, await self.wrong(ended, count))

    async def ended(self, file_id: str, looks: float, not_before: float = 0) -> dict[str, Any]:
        """The batch of that file, created and looked at until it is done; first after so many seconds."""
        began = time.perf_counter()
        body = {"input_file_id": file_id, "endpoint": URL, "completion_window": "24h"}
        async with self.http.post("/v1/batches", json=body) as answer:
            batch: dict[str, Any] = await answer.json()
        await asyncio.sleep(not_before)
        while batch["status"] not in ("completed", "failed"):
            soon = batch["request_counts"]["completed"] > 0 and time.perf_counter() - began < 10 * LAST_LOOKS_SECONDS
            await asyncio.sleep(LAST_LOOKS_SECONDS if soon else looks)
            async with self.http.get(f"/v1/batches/{batch['id']}") as answer:
                batch = await answer.json()
        return batch

    async def wrong(self, batch: dict[str, Any], count: int) -> int:
        """How many lines have no answer of their own in their place, or more than one."""
        if batch["request_counts"] != {"total": count, "completed": count, "failed": 0}:
            return count
        async with self.http.get(f"/v1/files/{batch['output_file_id']}/content") as answer:
            answers = [json.loads(line) for line in (await answer.text()).splitlines()]
        said = [
            (
                one["custom_id"],
                one["response"]["status_code"],
                one["response"]["body"]["choices"][0]["message"]["content"],
            )
            for one in answers
        ]
        due = [(str(number), 200, f"You said: {_calls.said(number)}") for number in range(count)]
        return sum(one != other for one, other in itertools.zip_longest(said, due))

    async def live(self, found: Live, until: "asyncio.Task[Any]") -> None:
        """Chats of a few clients who think between them."""
        calls, answers = self.calls(), {}

        async def client() -> None:
            loop = asyncio.get_running_loop()
            _, link = await loop.create_connection(Connection, "127.0.0.1", self.server.port)
            while not until.done():
                number, request = calls.next()
                began = time.perf_counter()
                answers[number] = await link.ask(request)
                found.took.append(1000 * (time.perf_counter() - began))
                await asyncio.sleep(random.uniform(*THINKS_SECONDS))
            link.transport.close()

        await asyncio.gather(*(client() for _ in range(LIVE)))
        found.wrong += sum(not is_right(calls, number, answer) for number, answer in answers.items())


def is_right(calls: Chats, number: int, answer: bytes) -> bool:
    try:
        calls.checked(number, answer)
    except (ValueError, KeyError, IndexError, TypeError):
        return False
    return True


@dataclass
class Found:
    direct: Work
    batch: Work
    rounds: list[tuple[float, float]]  # milliseconds: the 99th percentiles of live chats alone and beside a batch
    beside_rate: float  # of the batch that runs meanwhile
    wrong: int

    @property
    def share(self) -> float:
        return self.batch.rate / self.direct.rate

    @property
    def alone(self) -> float:
        return median(alone for alone, _ in self.rounds)

    @property
    def beside(self) -> float:
        return median(beside for _, beside in self.rounds)

    @property
    def slower(self) -> float:
        """The median of the rounds' ratios: a round in which the machine stood still decides nothing."""
        return median(beside / alone for alone, beside in self.rounds)


async def found(measured: Measured, at_once: int, lines: int, seconds: float) -> Found:
    await measured.clients(at_once, 1)
    await measured.batch(lines)
    direct = await measured.clients(at_once, seconds)
    await asyncio.sleep(2 * LIVE_SECONDS)  # until no more live calls are expected
    batch = await measured.batch(lines)
    lines_beside, rounds, took, wrong = int(seconds / GAP_SECONDS), [], 0.0, direct.wrong + batch.wrong
    for _ in range(ROUNDS):
        alone, beside, lasted = await in_turn(measured, lines_beside, seconds)
        rounds.append((alone.slow, beside.slow))
        took += lasted
        wrong += alone.wrong + beside.wrong
    return Found(direct, batch, rounds, ROUNDS * lines_beside / took, wrong)


async def in_turn(measured: Measured, lines: int, seconds: float) -> tuple[Live, Live, float]:
    """Live chats alone and beside a batch of so many lines, and how long the batch took.

    What the batch takes of this process is made before, and checked after: it shares its loop with the clients.
    """
    alone, beside = Live(), Live()
    file_id = await measured.file(lines)
    await asyncio.sleep(2 * LIVE_SECONDS)
    await measured.live(alone, asyncio.create_task(asyncio.sleep(seconds)))
    began = time.perf_counter()
    running = asyncio.create_task(measured.ended(file_id, LOOKS_BESIDE_SECONDS, not_before=seconds))
    await measured.live(beside, running)
    took = time.perf_counter() - began
    beside.wrong += await measured.wrong(running.result(), lines)
    return alone, beside, took


@contextmanager
def running(database: str, folder: Path, at_once: int) -> Iterator[Server]:
    """The server on the first core, its upstream with the clients on the others."""
    first, others = cores()
    with on(others), upstream() as target:
        config = folder / "run.yaml"
        config.write_text(RUN.format(url=f"http://127.0.0.1:{target.port}/v1", at_once=at_once))
        with on(first):
            serves = serving(config, home=folder / "home", env={"DATABASE_URL": database})
            server = serves.__enter__()
        try:
            until_quiet(server.process.pid)
            yield server
        finally:
            serves.__exit__(None, None, None)


async def measured(server: Server, at_once: int, lines: int, seconds: float) -> Found:
    async with aiohttp.ClientSession(server.url) as http:
        await until_listed(http, MODEL)
        return await found(Measured(server, http), at_once, lines, seconds)
