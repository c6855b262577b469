"""The disk is full: 507, nothing of a file is kept, reads and chats go on, and with room again so do writes.

In CI the kernel lets no file of the server grow beyond a limit (RLIMIT_FSIZE), which needs no privileges. By hand, as
root, it is a small disk of its own with all that the server keeps, its database too, again and again:

    python -m tests.chaos.test_disk_full [--rounds 50]
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from llamastack.services import Services
from tests.chaos.test_batches_killed import ENDED, RUN, request
from tests.servers import Server, new_database, serving
from tests.upstream import Upstream
from tests.upstream import serving as answering

MIB = 1024 * 1024
LIMIT = 8 * MIB
LINES = 60
SAID = "the sky is blue. " * 10_000  # of each line: all of them are more than the limit
SMALL_DISK = 48 * MIB
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))
CHAT = {"model": "sky/sky-1", "messages": [{"role": "user", "content": "Hello"}]}
pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


def limited(server: Server, size: int) -> None:
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def upload(http: aiohttp.ClientSession, content: bytes, purpose: str = "user_data") -> tuple[int, Any]:
    form = aiohttp.FormData({"purpose": purpose})
    form.add_field("file", BytesIO(content), filename="a.jsonl")
    async with http.post("/v1/files", data=form) as answer:
        return answer.status, await answer.json()


async def content(http: aiohttp.ClientSession, file_id: str) -> bytes:
    async with http.get(f"/v1/files/{file_id}/content") as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


async def chats(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/chat/completions", json=CHAT) as answer:
        assert answer.status == 200, await answer.text()


async def emptied(folder: Path, kept: set[str]) -> None:
    """Until nothing is there but these."""
    async with asyncio.timeout(30):
        while {path.name for path in folder.iterdir()} != kept:
            await asyncio.sleep(0.05)


async def status(http: aiohttp.ClientSession, path: str, wanted: tuple[str, ...]) -> Any:
    """What is at `path`, once its status is one of these."""
    async with asyncio.timeout(60):
        while True:
            async with http.get(path) as answer:
                found = await answer.json()
            if found["status"] in wanted:
                return found
            await asyncio.sleep(0.05)


async def create(http: aiohttp.ClientSession) -> str:
    _, file = await upload(http, b"".join(request(number) for number in range(LINES)), "batch")
    body = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    async with http.post("/v1/batches", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["id"])


def written(folder: Path, upstream: Upstream) -> Path:
    config = folder / "run.yaml"
    config.write_text(RUN.format(url=upstream.url, at_once=8))
    return config


@dataclass
class Site:
    server: Server
    http: aiohttp.ClientSession
    upstream: Upstream
    files: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(services: Services, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("disk")
    async with answering(Upstream(models=["sky-1"], words=[SAID])) as upstream:
        env = {"DATABASE_URL": new_database(services, "disk_full"), "LLAMA_STACK_JOBS": "here"}
        running = serving(written(folder, upstream), home=folder / "home", env=env)
        server = await asyncio.to_thread(running.__enter__)
        try:
            async with aiohttp.ClientSession(server.url) as http:
                yield Site(server, http, upstream, folder / "home/files")
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


async def test_a_full_disk_is_507_and_everything_else_goes_on(site: Site) -> None:
    for _ in range(ROUNDS):
        await filled(site.http, site.server, site.files)


async def filled(http: aiohttp.ClientSession, server: Server, folder: Path) -> None:
    small, large = os.urandom(MIB), os.urandom(LIMIT + MIB)
    _, file = await upload(http, small)
    limited(server, LIMIT)
    before = {path.name for path in folder.iterdir()}
    code, told = await upload(http, large)
    assert (code, told["error"]["code"]) == (507, "disk_full")
    await emptied(folder, before)
    assert await content(http, file["id"]) == small
    await chats(http)
    limited(server, resource.RLIM_INFINITY)
    code, file = await upload(http, large)
    assert (code, await content(http, file["id"]) == large) == (200, True)


async def test_a_batch_whose_output_finds_no_room_says_so_and_is_tried_again(site: Site) -> None:
    site.upstream.requests.clear()
    limited(site.server, LIMIT)
    batch_id = await create(site.http)
    before = {path.name for path in site.files.iterdir()}
    batch = await status(site.http, f"/v1/batches/{batch_id}", ENDED)
    (error,) = batch["errors"]["data"]
    assert (batch["status"], error["code"], "no room" in error["message"]) == ("failed", "job_failed", True)
    await emptied(site.files, before)
    limited(site.server, resource.RLIM_INFINITY)
    assert await tried_again(site.http, batch_id) == Counter(f"n{number}" for number in range(LINES))
    assert len(site.upstream.requests) == LINES  # no line was asked for twice


async def tried_again(http: aiohttp.ClientSession, batch_id: str) -> Counter[str]:
    """Whose answers stand in the output file then."""
    async with http.get("/v1alpha/jobs", params={"kind": "batch"}) as answer:
        (job,) = (await answer.json())["data"]
    async with http.post(f"/v1alpha/jobs/{job['id']}/retry") as answer:
        assert answer.status == 200, await answer.text()
    batch = await status(http, f"/v1/batches/{batch_id}", ENDED)
    assert batch["status"] == "completed", batch
    lines = (await content(http, batch["output_file_id"])).splitlines()
    return Counter(json.loads(line)["custom_id"] for line in lines)


# --- by hand ---


async def on_a_small_disk(disk: Path, rounds: int) -> None:
    """Files and database on the one disk, which is full in each round."""
    async with answering(Upstream(models=["sky-1"])) as upstream:
        running = serving(written(disk, upstream), home=disk / "home")
        server = await asyncio.to_thread(running.__enter__)
        try:
            async with aiohttp.ClientSession(server.url) as http:
                _, file = await upload(http, bytes(MIB))
                for number in range(rounds):
                    await full(http, disk, file["id"])
                    print(f"{number + 1} of {rounds}: 507, nothing left, reads and chats went on", flush=True)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


async def full(http: aiohttp.ClientSession, disk: Path, file_id: str) -> None:
    filler, folder = disk / "filler", disk / "home/files"
    before = {path.name for path in folder.iterdir()}
    with filler.open("wb", buffering=0) as file:
        for size in (MIB, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    code, told = await upload(http, bytes(2 * MIB))
    assert (code, told["error"]["code"]) == (507, "disk_full"), told
    assert len(await content(http, file_id)) == MIB
    await chats(http)
    filler.unlink()
    await emptied(folder, before)
    code, made = await upload(http, bytes(2 * MIB))
    assert code == 200, made
    async with http.delete(f"/v1/files/{made['id']}") as answer:
        assert answer.status == 200


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--disk", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.disk:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "none", options.disk], check=True)
        asyncio.run(on_a_small_disk(options.disk, options.rounds))
        return
    with tempfile.TemporaryDirectory() as folder:  # mounted for the child alone, and gone with it
        command = [
            sys.executable,
            "-m",
            "tests.chaos.test_disk_full",
            "--rounds",
            str(options.rounds),
            "--disk",
            folder,
        ]
        sys.exit(subprocess.run(["unshare", "--mount", *command]).returncode)


if __name__ == "__main__":
    main()
