"""PostgreSQL is killed under a batch and live chats: chats go on, nothing acknowledged is lost, the batch ends well.

python -m tests.chaos.test_postgres_killed [--kills 50]
"""

import asyncio
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from llamastack import services
from tests.chaos.test_batches_killed import (
    AT_ONCE,
    KILLS,
    LINES,
    RUN,
    answers,
    create,
    output_files_of,
    reached,
    upstream,
)
from tests.chaos.test_database_gone import BACK_SECONDS, Link
from tests.servers import serving
from tests.upstream import on_loopback

A_BATCH = 3  # kills
CHATS = "/v1/chat/completions"
LIVE_SECONDS = 0.02
STORING, STORED = 4, 40  # clients who have completions stored, and what they have before each kill
NEED_A_DATABASE = ("/v1/batches", "/v1/files", "/v1alpha/jobs", CHATS)


class Database:
    """A private PostgreSQL behind a link, which can be killed and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running = services.start(folder, redis=False)
        self.link = Link(self.running.services.database_url)

    async def kill(self) -> None:
        """The server's first process; the others end with it."""
        pid = int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        await self.link.cut()
        await asyncio.to_thread(self.running.close)

    async def start(self) -> None:
        self.running = await asyncio.to_thread(services.start, self.folder, redis=False)
        self.link.target = urlsplit(self.running.services.database_url)
        await self.link.open()


@dataclass
class Seen:
    """What clients were told. `kept` are the ids of completions that were acknowledged as stored."""

    kills: int = 0
    chats: int = 0
    kept: set[str] = field(default_factory=set)
    refused: int = 0  # by 503 with Retry-After, while the database was gone
    slowest: float = 0.0  # seconds from a database that is back until all is served


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "sky/sky-1", "messages": [{"role": "user", "content": "live"}], **fields}


async def live(http: aiohttp.ClientSession, seen: Seen) -> None:
    """Chats that need no database, all the time: each is answered."""
    while True:
        async with http.post(CHATS, json=chat(store=False)) as answer:
            assert answer.status == 200, await answer.text()
        seen.chats += 1
        await asyncio.sleep(LIVE_SECONDS)


async def storing(http: aiohttp.ClientSession, seen: Seen) -> None:
    """Chats that are stored before they are answered, and refused where they cannot be."""
    while True:
        async with http.post(CHATS, json=chat(store=True)) as answer:
            body = await answer.json()
            assert answer.status in (200, 503), body
            if answer.status == 200:
                seen.kept.add(body["id"])
            else:
                assert answer.headers["Retry-After"], body
        await asyncio.sleep(LIVE_SECONDS)


async def refused(http: aiohttp.ClientSession, seen: Seen) -> None:
    async def ask(path: str) -> None:
        async with http.get(path) as answer:
            assert (answer.status, answer.headers.get("Retry-After")) == (503, "5"), path
        seen.refused += 1

    await asyncio.gather(*map(ask, NEED_A_DATABASE))


async def back(http: aiohttp.ClientSession, seen: Seen) -> None:
    began = time.monotonic()
    for path in NEED_A_DATABASE:
        while True:
            async with http.get(path) as answer:
                if answer.status == 200:
                    break
                assert answer.status == 503, path
            await asyncio.sleep(0.02)
    seen.slowest = max(seen.slowest, time.monotonic() - began)


async def check(http: aiohttp.ClientSession, batch: Any, batches: int) -> None:
    """Each line has one answer, and so many batches have each written one file."""
    assert len(await output_files_of(http)) == batches
    assert await answers(http, batch) == [f"n{number}" for number in range(LINES)]
    assert batch["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}


async def lost(http: aiohttp.ClientSession, seen: Seen) -> set[str]:
    """Acknowledged completions that are not there."""
    found, after = set(), None
    while True:
        async with http.get(CHATS, params={"limit": 100} | ({"after": after} if after else {})) as answer:
            page = await answer.json()
        found |= {one["id"] for one in page["data"]}
        after = page["last_id"]
        if not page["has_more"]:
            return seen.kept - found


@asynccontextmanager
async def meanwhile(*works: Any) -> AsyncIterator[None]:
    """What goes on all the time; raises what one of them has raised."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        yield
        for task in tasks:
            task.cancel()


async def killed(kills: int, folder: Path) -> Seen:
    seen, asked = Seen(), Counter[str]()
    database = await asyncio.to_thread(Database, folder)
    await database.link.open()
    config = folder / "run.yaml"
    async with on_loopback(upstream(asked)) as address:
        config.write_text(RUN.format(url=f"{address}/v1", at_once=AT_ONCE))
        running = serving(config, home=folder / "home", env={"DATABASE_URL": database.link.url})
        server = await asyncio.to_thread(running.__enter__)
        try:
            async with aiohttp.ClientSession(server.url) as http:
                batch_id, batches = await create(http), 1
                await reached(http, batch_id, 1)
                async with meanwhile(live(http, seen), *(storing(http, seen) for _ in range(STORING))):
                    for kill in range(1, kills + 1):
                        batch = await reached(http, batch_id, LINES * ((kill - 1) % A_BATCH + 1) // (A_BATCH + 1))
                        if batch["status"] == "completed":
                            await check(http, batch, batches)
                            batch_id, batches = await create(http), batches + 1
                        stored = len(seen.kept)
                        while len(seen.kept) < stored + STORED:
                            await asyncio.sleep(LIVE_SECONDS)
                        await database.kill()
                        seen.kills += 1
                        await refused(http, seen)
                        chats = seen.chats
                        while seen.chats == chats:
                            await asyncio.sleep(LIVE_SECONDS)
                        await database.start()
                        await back(http, seen)
                await check(http, await reached(http, batch_id, LINES + 1), batches)
                lines = Counter({said: count for said, count in asked.items() if said.isdigit()})
                assert lines.total() < LINES * (batches + kills)  # what was answered is asked no more
                assert await lost(http, seen) == set()
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)
            await database.link.cut()
            await asyncio.to_thread(database.running.close)
    assert "records were lost" not in server.output
    return seen


@pytest.mark.slow
async def test_postgresql_is_killed_under_a_batch_and_live_chats() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)  # PostgreSQL runs as another user where this one is root
        async with asyncio.timeout(240 * KILLS):
            seen = await killed(KILLS, Path(name))
    assert (seen.kills, seen.refused) == (KILLS, KILLS * len(NEED_A_DATABASE))
    assert seen.chats
    assert seen.kept
    assert seen.slowest <= BACK_SECONDS
    print(f"{seen.chats} live chats answered, {len(seen.kept)} stored and found; back after {seen.slowest:.2f} s")
