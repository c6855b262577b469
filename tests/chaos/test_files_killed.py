"""The server is killed while files are uploaded: those that were answered are there, and of the others nothing."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.servers import Server, serving

KILLS = int(os.environ.get("CHAOS_KILLS", "1"))
CLIENTS = 4
ANSWERS = 12
CONTENT = bytes(range(256)) * 4096


async def client(http: aiohttp.ClientSession, answered: list[str], enough: asyncio.Event) -> None:
    with suppress(aiohttp.ClientError, ConnectionError):
        while True:
            form = aiohttp.FormData({"purpose": "user_data"})
            form.add_field("file", CONTENT, filename="a")
            async with http.post("/v1/files", data=form) as answer:
                assert answer.status == 200, await answer.text()
                answered.append((await answer.json())["id"])
            if len(answered) >= ANSWERS:
                enough.set()


async def killed(server: Server) -> list[str]:
    """The files that had been answered when the server was killed, in the midst of others."""
    answered: list[str] = []
    enough = asyncio.Event()
    async with aiohttp.ClientSession(server.url) as http:
        clients = [asyncio.create_task(client(http, answered, enough)) for _ in range(CLIENTS)]
        await enough.wait()
        server.send(signal.SIGKILL)
        await asyncio.gather(*clients)
    server.process.wait(60)
    return answered


async def kept(server: Server) -> dict[str, bool]:
    """Every file that is listed, and whether its content is what was sent."""
    async with aiohttp.ClientSession(server.url) as http:
        async with http.get("/v1/files") as answer:
            ids = [file["id"] for file in (await answer.json())["data"]]
        found = {}
        for file_id in ids:
            async with http.get(f"/v1/files/{file_id}/content") as answer:
                found[file_id] = await answer.read() == CONTENT
    return found


@pytest.mark.slow
async def test_no_file_that_was_answered_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    answered: list[str] = []
    for _ in range(KILLS):
        running = serving("remote-only", home=tmp_path)
        server = await asyncio.to_thread(running.__enter__)
        try:
            answered += await killed(server)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)
    with_all = serving("remote-only", home=tmp_path)
    server = await asyncio.to_thread(with_all.__enter__)
    try:
        found = await kept(server)
    finally:
        await asyncio.to_thread(with_all.__exit__, None, None, None)
    assert len(answered) >= KILLS * ANSWERS
    assert set(answered) <= set(found)
    assert all(found.values())
