"""The server is killed in the midst of a batch: whoever comes next goes on, and each line is answered once."""

import asyncio
import json
import os
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.chaos.killed import SKY
from tests.servers import STOP_SECONDS, Server, serving
from tests.upstream import on_loopback, reply

LINES = int(os.environ.get("CHAOS_LINES", "200"))
HELD = 5  # lines at the end of each file, which are answered when nobody is to be killed any more
KILLS = int(os.environ.get("CHAOS_KILLS", "1"))  # of servers
A_BATCH, BATCHES_AT_ONCE = 4, 3  # kills while one batch is done; of such batches
SECONDS = 300  # of a kill, on a busy machine
ROUNDS = int(
    os.environ.get("CHAOS_ROUNDS", "1")
)  # of every other test, here, in test_workers_killed.py and in test_leases.py
TAKES_SECONDS = 0.05
AT_ONCE = 8
AGAIN = pytest.mark.parametrize("turn", range(ROUNDS))
DATABASE = "distributions/killed/llamastack.db"
ENDED = ("completed", "failed", "cancelled", "expired")
RUN = (
    SKY % "batches"
    + """\
  batches:
  - provider_id: reference
    provider_type: inline::reference
    config: {{max_concurrent_requests_per_batch: {at_once}}}
"""
)


def request(number: int) -> bytes:
    body = {"model": "sky/sky-1", "messages": [{"role": "user", "content": str(number)}]}
    line = {"custom_id": f"n{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(line).encode() + b"\n"


async def create(http: aiohttp.ClientSession) -> str:
    form = aiohttp.FormData({"purpose": "batch"})
    form.add_field("file", b"".join(request(number) for number in range(LINES)), filename="lines.jsonl")
    async with http.post("/v1/files", data=form) as answer:
        file_id = (await answer.json())["id"]
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    async with http.post("/v1/batches", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["id"])


async def reached(http: aiohttp.ClientSession, batch_id: str, count: int) -> Any:
    """The batch, once so many of its lines have been answered, or it has ended."""
    while True:
        async with http.get(f"/v1/batches/{batch_id}") as answer:
            batch = await answer.json()
            assert answer.status in (200, 503), batch
        if answer.status == 200 and (batch["status"] in ENDED or batch["request_counts"]["completed"] >= count):
            return batch
        await asyncio.sleep(0.05)


async def went_on(asked: Counter[str]) -> float:
    """Seconds until one more line is asked for."""
    began, before = time.monotonic(), asked.total()
    while asked.total() == before:
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def upstream(asked: Counter[str], go_on: asyncio.Event | None = None) -> web.Application:
    """It counts what it is asked. No batch ends before `go_on` is set, where one is given."""

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "sky-1", "object": "model"}]})

    async def chat(request: web.Request) -> web.Response:
        said = (await request.json())["messages"][0]["content"]
        asked[said] += 1
        if go_on and said.isdigit() and int(said) >= LINES - HELD:
            await go_on.wait()
        await asyncio.sleep(TAKES_SECONDS)
        choice = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        return web.json_response(reply(choice, chat=True, streamed=False))

    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_post("/v1/chat/completions", chat)
    return app


async def under_way(
    home: Path, config: Path, batch_id: str | None, count: int, number: int = signal.SIGKILL
) -> tuple[str, Any]:
    """The batch when so many lines are answered. The server is killed then, unless the batch has ended."""
    running = serving(config, home=home)
    server = await asyncio.to_thread(running.__enter__)
    try:
        async with aiohttp.ClientSession(server.url) as http:
            batch_id = batch_id or await create(http)
            batch = await reached(http, batch_id, count)
            if batch["status"] == "in_progress":
                server.send(number)
                server.process.wait(STOP_SECONDS)
            else:
                batch["answers"] = await answers(http, batch)
                batch["files"] = await output_files_of(http)
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)
    return batch_id, batch


async def answers(http: aiohttp.ClientSession, batch: Any) -> list[str]:
    async with http.get(f"/v1/files/{batch['output_file_id']}/content") as answer:
        return [json.loads(line)["custom_id"] for line in (await answer.text()).splitlines()]


async def output_files_of(http: aiohttp.ClientSession) -> list[str]:
    async with http.get("/v1/files", params={"purpose": "batch_output"}) as answer:
        return [file["id"] for file in (await answer.json())["data"]]


async def servers_killed(folder: Path) -> None:
    """Of test_leases.py: each waits for the lease of the one before, so some batches are done at the same time."""
    places = asyncio.Semaphore(BATCHES_AT_ONCE)

    async def one(kills: int, name: str) -> None:
        async with places:
            (folder / name).mkdir()
            await server_killed(folder / name, kills)

    async with asyncio.TaskGroup() as group:
        for first in range(0, KILLS, A_BATCH):
            group.create_task(one(min(A_BATCH, KILLS - first), str(first)))


async def server_killed(folder: Path, kills: int) -> None:
    """One server after another, in the midst of one batch: each has kept some lines more when it is killed."""
    asked, go_on = Counter[str](), asyncio.Event()
    config = folder / "run.yaml"
    async with on_loopback(upstream(asked, go_on)) as address, asyncio.timeout(SECONDS * kills):
        config.write_text(RUN.format(url=f"{address}/v1", at_once=AT_ONCE))
        batch_id, done, pauses = None, 0, []
        for kill in range(1, kills + 1):
            wanted = max(done + 1, LINES * kill // (kills + 1))
            batch_id, batch = await under_way(folder / "home", config, batch_id, wanted)
            assert batch["status"] == "in_progress", batch
            done = batch["request_counts"]["completed"]
            pauses.append(asyncio.create_task(went_on(asked)))
        go_on.set()
        _, batch = await under_way(folder / "home", config, batch_id, LINES + 1)
    assert (batch["status"], batch["error_file_id"]) == ("completed", None)
    assert batch["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
    assert batch["answers"] == [f"n{number}" for number in range(LINES)]
    assert batch["files"] == [batch["output_file_id"]]
    assert len(asked) == LINES
    assert asked.total() < LINES * (kills + 1)  # who goes on asks for what was answered no more
    print(f"server: {kills} killed, went on after {max([await pause for pause in pauses]):.2f} s at most")


@AGAIN
@pytest.mark.slow
async def test_a_server_that_stops_hands_its_batch_back_and_the_next_one_goes_on_at_once(
    tmp_path: Path, turn: int
) -> None:
    asked, go_on = Counter[str](), asyncio.Event()
    config = tmp_path / "run.yaml"
    async with on_loopback(upstream(asked, go_on)) as address:
        config.write_text(RUN.format(url=f"{address}/v1", at_once=AT_ONCE))
        batch_id, batch = await under_way(tmp_path / "home", config, None, LINES // 4, signal.SIGTERM)
        assert batch["status"] == "in_progress"
        pause = asyncio.create_task(went_on(asked))
        with closing(sqlite3.connect(tmp_path / "home" / DATABASE)) as database:
            jobs = database.execute("SELECT status, attempt FROM jobs_job WHERE kind = 'batch'").fetchall()
        assert jobs == [("queued", 0)]  # nobody waits for its lease to end
        go_on.set()
        _, batch = await under_way(tmp_path / "home", config, batch_id, LINES + 1)
    assert batch["answers"] == [f"n{number}" for number in range(LINES)]
    assert asked.total() <= LINES + AT_ONCE  # those that were being answered are asked again
    print(f"server: 1 told to stop, went on after {await pause:.2f} s with the start of the next one")


async def pause_outside_of_a_write(server: Server, database: Path) -> None:
    """Within one it would hold SQLite's only lock, and nobody could write until it goes on."""
    while True:
        server.send(signal.SIGSTOP)
        if await asyncio.to_thread(can_be_written, database):
            return
        server.send(signal.SIGCONT)
        await asyncio.sleep(0.01)


def can_be_written(database: Path) -> bool:
    with closing(sqlite3.connect(database, timeout=0.5, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE").execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
    return True


async def server_paused(folder: Path) -> None:
    """Of test_leases.py: for longer than its lease."""
    config, home, asked, go_on = folder / "run.yaml", folder / "home", Counter[str](), asyncio.Event()
    async with on_loopback(upstream(asked, go_on)) as address, asyncio.timeout(300):
        config.write_text(RUN.format(url=f"{address}/v1", at_once=AT_ONCE))
        stopped = serving(config, home=home)
        first = await asyncio.to_thread(stopped.__enter__)
        try:
            async with aiohttp.ClientSession(first.url) as http:
                batch_id = await create(http)
                await reached(http, batch_id, LINES // 4)
                await pause_outside_of_a_write(first, home / DATABASE)
                pause = asyncio.create_task(went_on(asked))
                go_on.set()
                _, batch = await under_way(home, config, batch_id, LINES + 1)
                first.send(signal.SIGCONT)
                while "was left" not in first.output:
                    await asyncio.sleep(0.05)
                again = await reached(http, batch_id, LINES + 1)
        finally:
            first.send(signal.SIGCONT)
            await asyncio.to_thread(stopped.__exit__, None, None, None)
    assert batch.pop("answers") == [f"n{number}" for number in range(LINES)]
    assert batch.pop("files") == [batch["output_file_id"]]
    assert again == batch
    print(f"server: 1 paused, another went on after {await pause:.2f} s")
