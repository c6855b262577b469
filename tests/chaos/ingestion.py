"""Whoever reads files is killed in the midst of it: whoever comes next goes on, and no chunk is there twice."""

import asyncio
import signal
import sqlite3
import sys
from collections import Counter
from contextlib import AsyncExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import psycopg
from aiohttp import web

from llamastack.services import Services, start
from tests.chaos.killed import SKY
from tests.redis import running
from tests.servers import STOP_SECONDS, Server, new_database, serving
from tests.upstream import on_loopback
from tests.workers import working

FILES = 200
BLANK = 20  # each one of so many is blank, and cannot be read
KILLS = 1  # each costs a lease
TAKES_SECONDS = 0.05
MODEL = "sky/vectors"
SEARCH = {"query": "Sentence 1 of file 7", "search_mode": "keyword"}
RUN = (
    SKY % "vector_io"
    + """\
  vector_io:
  - provider_id: vectors
    provider_type: {provider}
    config: {{}}
registered_resources:
  models:
  - {{model_id: sky/vectors, provider_id: sky, provider_model_id: vectors, model_type: embedding,
      metadata: {{embedding_dimension: 2}}}}
"""
)


def content(number: int) -> str:
    """Some files have one chunk, some several, and some none."""
    if number % BLANK == BLANK - 1:
        return " "
    return " ".join(f"Sentence {count} of file {number}." for count in range(1 + 120 * (number % 4)))


async def create(http: aiohttp.ClientSession) -> tuple[str, str]:
    ids = []
    for number in range(FILES):
        form = aiohttp.FormData({"purpose": "assistants"})
        form.add_field("file", content(number).encode(), filename=f"{number}.txt")
        async with http.post("/v1/files", data=form) as answer:
            ids.append((await answer.json())["id"])
    async with http.post("/v1/vector_stores", json={"embedding_model": MODEL}) as answer:
        assert answer.status == 200, await answer.text()
        store = (await answer.json())["id"]
    async with http.post(f"/v1/vector_stores/{store}/file_batches", json={"file_ids": ids}) as answer:
        assert answer.status == 200, await answer.text()
        return store, (await answer.json())["id"]


async def got(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


def upstream(asked: Counter[str]) -> web.Application:
    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    async def embeddings(request: web.Request) -> web.Response:
        texts = (await request.json())["input"]
        asked.update(texts)
        await asyncio.sleep(TAKES_SECONDS * len(texts) / 8)
        data = [{"index": place, "embedding": [float(len(text)), 1.0]} for place, text in enumerate(texts)]
        return web.json_response({"object": "list", "data": data, "model": "vectors"})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_post("/v1/embeddings", embeddings)
    return app


async def reached(http: aiohttp.ClientSession, store: str, batch_id: str, count: int) -> Any:
    """The batch, once so many of its files have been read, or it has ended."""
    while True:
        batch = await got(http, f"/v1/vector_stores/{store}/file_batches/{batch_id}")
        if batch["status"] != "in_progress" or batch["file_counts"]["completed"] >= count:
            return batch
        await asyncio.sleep(0.05)


async def under_way(home: Path, config: Path, made: tuple[str, str] | None, count: int) -> tuple[tuple[str, str], Any]:
    """The batch when so many files have been read. The server is killed then, unless the batch has ended."""
    serves = serving(config, home=home)
    server = await asyncio.to_thread(serves.__enter__)
    try:
        async with aiohttp.ClientSession(server.url) as http:
            made = made or await create(http)
            batch = await reached(http, *made, count)
            if batch["status"] == "in_progress":
                server.send(signal.SIGKILL)
                server.process.wait(STOP_SECONDS)
            else:
                batch["chunks"] = await chunks(http, made[0])
    finally:
        await asyncio.to_thread(serves.__exit__, None, None, None)
    return made, batch


async def chunks(http: aiohttp.ClientSession, store: str) -> dict[str, list[str]]:
    """The texts of each file's chunks, by its name. Whatever has no chunks says why."""
    found, after = {}, {}
    while True:
        page = await got(http, f"/v1/vector_stores/{store}/files?limit=100" + "".join(f"&after={x}" for x in after))
        for file in page["data"]:
            if file["status"] == "failed":
                assert "is empty" in file["last_error"]["message"], file
                continue
            data = (await got(http, f"/v1/vector_stores/{store}/files/{file['id']}/content"))["data"]
            found[file["filename"]] = [chunk["text"] for chunk in data]
            assert len(data) == file["chunks"]
        if not page["has_more"]:
            return found
        after = {page["last_id"]: True}


def kept(home: Path) -> int:
    """How many chunks the index has, whatever they are of."""
    counts = []
    for path in (home / "vector_io").rglob("*.db"):
        with closing(sqlite3.connect(path)) as connection:
            counts.append(connection.execute("SELECT count(*) FROM chunks").fetchone()[0])
    return sum(counts)


def check(batch: Any, kept: int, asked: Counter[str]) -> None:
    """Each file has ended as it had to, and each chunk is there once."""
    blank = FILES // BLANK
    ended = {"in_progress": 0, "completed": FILES - blank, "failed": blank, "cancelled": 0, "total": FILES}
    assert batch["file_counts"] == ended
    assert len(batch["chunks"]) == FILES - blank
    for name, texts in batch["chunks"].items():
        whole = content(int(name.removesuffix(".txt")))
        assert all(text in whole for text in texts)
        assert len(texts) == len(set(texts))
    assert kept == sum(map(len, batch["chunks"].values()))
    assert asked.total() < 2 * kept


async def server_killed(folder: Path) -> None:
    """Of test_leases.py: on faiss."""
    asked: Counter[str] = Counter()
    config, home = folder / "run.yaml", folder / "home"
    async with on_loopback(upstream(asked)) as address, asyncio.timeout(300):
        config.write_text(RUN.format(url=f"{address}/v1", provider="inline::faiss"))
        made = None
        for kill in range(1, KILLS + 1):
            made, batch = await under_way(home, config, made, FILES * kill // (KILLS + 2))
            assert batch["status"] == "in_progress"
        _, batch = await under_way(home, config, made, FILES + 1)
    check(batch, kept(home), asked)


async def worker_killed(services: Services, folder: Path) -> None:
    """Of test_leases.py: a Celery worker, by Redis, on pgvector in the server's own database."""
    asked: Counter[str] = Counter()
    config, home = folder / "run.yaml", folder / "home"
    async with AsyncExitStack() as exits, asyncio.timeout(300):
        address = await exits.enter_async_context(on_loopback(upstream(asked)))
        config.write_text(RUN.format(url=f"{address}/v1", provider="remote::pgvector"))
        redis, database = exits.enter_context(running()), new_database(services, "ingestion_killed")
        env = {"REDIS_URL": redis.url, "DATABASE_URL": database}
        server: Server = await entered(exits, serving(config, home=home, env=env))
        first: Server = await entered(exits, working(config, home=home, env=env))
        http = await exits.enter_async_context(aiohttp.ClientSession(server.url))
        store, batch_id = await create(http)
        batch = await reached(http, store, batch_id, FILES // 3)
        assert batch["status"] == "in_progress"
        first.send(signal.SIGKILL)
        first.process.wait(STOP_SECONDS)
        await entered(exits, working(config, home=home, env=env))
        batch = await reached(http, store, batch_id, FILES + 1)
        batch["chunks"] = await chunks(http, store)
        async with http.post(f"/v1/vector_stores/{store}/search", json=SEARCH) as answer:
            found = (await answer.json())["data"]
        with psycopg.connect(database) as connection:
            row = connection.execute("SELECT count(*) FROM vector_io.chunks_2").fetchone()
    assert row is not None
    check(batch, row[0], asked)
    assert found
    assert all(one["content"][0]["text"] in content(int(one["filename"].removesuffix(".txt"))) for one in found)


async def entered(exits: AsyncExitStack, starting: Any) -> Any:
    found = await asyncio.to_thread(starting.__enter__)
    exits.push_async_callback(asyncio.to_thread, starting.__exit__, None, None, None)
    return found


async def again(rounds: int, services: Services) -> None:
    for turn in range(1, rounds + 1):
        with TemporaryDirectory() as server, TemporaryDirectory() as worker:
            await asyncio.gather(server_killed(Path(server)), worker_killed(services, Path(worker)))
        print(f"{turn} servers and {turn} workers killed: each file has ended, and no chunk is there twice", flush=True)


def main() -> None:
    with start(durable=False) as services:
        asyncio.run(again(int(sys.argv[1]), services))


if __name__ == "__main__":
    main()
