"""Workers and Redis are killed in the midst of batches: whoever comes next goes on, and each line is answered once."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from llamastack.services import Services
from tests.chaos.test_batches_killed import (
    AGAIN,
    LINES,
    RUN,
    answers,
    create,
    output_files_of,
    reached,
    upstream,
    went_on,
)
from tests.redis import Redis, running
from tests.servers import Server, new_database, serving
from tests.upstream import on_loopback
from tests.workers import working

AT_ONCE = 16
WORKERS = 3
SECONDS = 100
EXPECTED = [f"n{number}" for number in range(LINES)]
CHAT = {"model": "sky/sky-1", "messages": [{"role": "user", "content": "still there?"}]}
pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), AGAIN]


@dataclass
class Site:
    """A server that does no jobs, and whoever does. No batch ends before `go_on` is set."""

    http: aiohttp.ClientSession
    redis: Redis
    asked: Counter[str]
    go_on: asyncio.Event
    config: Path
    home: Path
    env: dict[str, str]
    exits: AsyncExitStack = field(default_factory=AsyncExitStack)
    before: frozenset[str] = frozenset()  # output files of other tests

    async def worker(self, *options: str) -> Server:
        starting = working(self.config, *options, home=self.home, env=self.env)
        worker = await asyncio.to_thread(starting.__enter__)
        self.exits.push_async_callback(asyncio.to_thread, starting.__exit__, None, None, None)
        return worker

    async def done(self, batch_id: str) -> Any:
        """The batch that has ended, whose lines each stand once in the one file that it has written."""
        batch = await reached(self.http, batch_id, LINES + 1)
        assert (batch["status"], batch["error_file_id"]) == ("completed", None), batch
        assert batch["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
        assert await answers(self.http, batch) == EXPECTED
        return batch

    async def leaves_only(self, *batches: Any) -> None:
        assert set(await output_files_of(self.http)) - self.before == {batch["output_file_id"] for batch in batches}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(services: Services, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with started(services, tmp_path_factory.mktemp("workers"), "workers_killed") as site:
        yield site


@pytest_asyncio.fixture(loop_scope="module")
async def site(shared: Site, turn: int) -> AsyncIterator[Site]:
    """With workers of the test's own."""
    shared.asked.clear()
    shared.go_on.clear()
    before = frozenset(await output_files_of(shared.http))
    async with AsyncExitStack() as workers, asyncio.timeout(SECONDS):
        yield replace(shared, exits=workers, before=before)


@asynccontextmanager
async def started(services: Services, folder: Path, database: str) -> AsyncIterator[Site]:
    asked, go_on = Counter[str](), asyncio.Event()
    async with AsyncExitStack() as exits:
        redis = exits.enter_context(running())
        address = await exits.enter_async_context(on_loopback(upstream(asked, go_on)))
        config, home = folder / "run.yaml", folder / "home"
        config.write_text(RUN.format(url=f"{address}/v1", at_once=AT_ONCE))
        env = {"REDIS_URL": redis.url, "DATABASE_URL": new_database(services, database)}
        serves = serving(config, home=home, env=env)
        server = await asyncio.to_thread(serves.__enter__)
        exits.push_async_callback(asyncio.to_thread, serves.__exit__, None, None, None)
        http = await exits.enter_async_context(aiohttp.ClientSession(server.url))
        async with AsyncExitStack() as workers:
            yield Site(http, redis, asked, go_on, config, home, env, workers)


async def workers_killed(site: Site) -> None:
    """Of test_leases.py."""
    workers = await asyncio.gather(*(site.worker("--concurrency", "1") for _ in range(WORKERS)))
    made = [await create(site.http) for _ in workers]
    for batch_id in made:
        batch = await reached(site.http, batch_id, LINES // 10)
        assert batch["status"] == "in_progress"
    for worker in workers:
        worker.send(signal.SIGKILL)
        worker.process.wait()
    began = time.monotonic()
    left = [(await reached(site.http, batch_id, 0))["request_counts"]["completed"] for batch_id in made]
    site.go_on.set()
    await site.worker()
    for batch_id, count in zip(made, left, strict=True):
        await reached(site.http, batch_id, count + 1)
    seconds = time.monotonic() - began
    await site.leaves_only(*[await site.done(batch_id) for batch_id in made])
    most = WORKERS * LINES + sum(LINES - count for count in left)  # what was kept is asked no more
    assert site.asked.total() <= most
    print(f"workers: {WORKERS} killed, their jobs went on after {seconds:.2f} s")


async def workers_paused(site: Site) -> None:
    """Of test_leases.py: for longer than their leases, wherever they are, also within a transaction."""
    workers = await asyncio.gather(*(site.worker("--concurrency", "1") for _ in range(WORKERS)))
    made = [await create(site.http) for _ in workers]
    for batch_id in made:
        await reached(site.http, batch_id, LINES // 10)
    began = time.monotonic()
    try:
        for worker in workers:
            worker.send(signal.SIGSTOP)
        left = [(await reached(site.http, batch_id, 0))["request_counts"]["completed"] for batch_id in made]
        site.go_on.set()
        await site.worker()
        for batch_id, count in zip(made, left, strict=True):
            await reached(site.http, batch_id, count + 1)
        seconds = time.monotonic() - began
        ended = [await site.done(batch_id) for batch_id in made]
    finally:
        for worker in workers:
            worker.send(signal.SIGCONT)
    for worker in workers:
        while "was left" not in worker.output:
            await asyncio.sleep(0.05)
    assert [await site.done(batch_id) for batch_id in made] == ended
    await site.leaves_only(*ended)
    print(f"workers: {WORKERS} paused, their jobs went on after {seconds:.2f} s")


async def test_no_job_is_lost_with_redis_and_chat_goes_on_without_it(site: Site) -> None:
    await site.worker("--concurrency", "1")
    made = [await create(site.http) for _ in range(2)]  # one is done, one waits in Redis
    await reached(site.http, made[0], LINES // 10)
    site.redis.kill()
    site.go_on.set()
    for _ in range(5):
        async with site.http.post("/v1/chat/completions", json=CHAT) as answer:
            assert answer.status == 200
    made.append(await create(site.http))
    first = await site.done(made[0])  # what has begun goes on
    site.redis.start()
    seconds = await went_on(site.asked)
    await site.leaves_only(first, *[await site.done(batch_id) for batch_id in made[1:]])
    assert site.asked.total() == 3 * LINES + 5
    print(f"Redis: 1 killed, what waited went on {seconds:.2f} s after it was back")


async def test_a_worker_that_is_told_to_stop_hands_back_and_another_goes_on_at_once(site: Site) -> None:
    first = await site.worker()
    batch_id = await create(site.http)
    await reached(site.http, batch_id, LINES // 10)
    began = time.monotonic()
    assert await asyncio.to_thread(first.stop) == 0
    seconds = time.monotonic() - began
    async with site.http.get("/v1alpha/jobs", params={"kind": "batch"}) as answer:
        job = (await answer.json())["data"][0]
    assert (job["status"], job["attempt"]) == ("queued", 0)
    site.go_on.set()
    await site.worker()
    await site.leaves_only(await site.done(batch_id))
    assert site.asked.total() <= LINES + AT_ONCE
    print(f"worker: 1 told to stop, had handed back and ended after {seconds:.2f} s")
