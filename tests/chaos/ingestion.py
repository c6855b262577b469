"""The server is killed in the midst of an ingestion: whoever comes next goes on, and no chunk is there twice."""

import asyncio
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.servers import STOP_SECONDS, serving
from tests.upstream import on_loopback

FILES = 200
KILLS = 1  # each costs a lease
TAKES_SECONDS = 0.05
MODEL = "sky/vectors"
RUN = """
version: 2
image_name: killed
apis: [inference, files, vector_io]
providers:
  inference:
  - provider_id: sky
    provider_type: remote::openai
    config: {{base_url: {url}, api_key: sk-1}}
  files:
  - provider_id: local
    provider_type: inline::localfs
    config: {{}}
  vector_io:
  - provider_id: faiss
    provider_type: inline::faiss
    config: {{}}
registered_resources:
  models:
  - {{model_id: sky/vectors, provider_id: sky, provider_model_id: vectors, model_type: embedding,
      metadata: {{embedding_dimension: 2}}}}
"""


def content(number: int) -> str:
    """Some files have one chunk and some several."""
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


async def under_way(home: Path, config: Path, made: tuple[str, str] | None, count: int) -> tuple[tuple[str, str], Any]:
    """The batch when so many files have been read. The server is killed then, unless the batch has ended."""
    running = serving(config, home=home)
    server = await asyncio.to_thread(running.__enter__)
    try:
        async with aiohttp.ClientSession(server.url) as http:
            made = made or await create(http)
            store, batch_id = made
            while True:
                batch = await got(http, f"/v1/vector_stores/{store}/file_batches/{batch_id}")
                if batch["status"] != "in_progress" or batch["file_counts"]["completed"] >= count:
                    break
                await asyncio.sleep(0.05)
            if batch["status"] == "in_progress":
                server.send(signal.SIGKILL)
                server.process.wait(STOP_SECONDS)
            else:
                batch["chunks"] = await chunks(http, store)
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)
    return made, batch


async def chunks(http: aiohttp.ClientSession, store: str) -> dict[str, list[str]]:
    """The texts of each file's chunks, by its name."""
    found, after = {}, {}
    while True:
        page = await got(http, f"/v1/vector_stores/{store}/files?limit=100" + "".join(f"&after={x}" for x in after))
        for file in page["data"]:
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


async def server_killed(folder: Path) -> None:
    """Of test_leases.py."""
    asked: Counter[str] = Counter()
    config, home = folder / "run.yaml", folder / "home"
    async with on_loopback(upstream(asked)) as address, asyncio.timeout(300):
        config.write_text(RUN.format(url=f"{address}/v1"))
        made = None
        for kill in range(1, KILLS + 1):
            made, batch = await under_way(home, config, made, FILES * kill // (KILLS + 1))
            assert batch["status"] == "in_progress"
        _, batch = await under_way(home, config, made, FILES + 1)
    assert batch["file_counts"] == {"in_progress": 0, "completed": FILES, "failed": 0, "cancelled": 0, "total": FILES}
    assert len(batch["chunks"]) == FILES
    for number in range(FILES):
        texts = batch["chunks"][f"{number}.txt"]
        assert all(text in content(number) for text in texts)
        assert len(texts) == len(set(texts))
    assert kept(home) == sum(map(len, batch["chunks"].values()))
    assert asked.total() < 2 * kept(home)
