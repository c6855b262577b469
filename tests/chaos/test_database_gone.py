"""The database goes away under a running server, and comes back."""

import asyncio
import html
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from llamastack.services import Services
from tests import upstream as dialect
from tests.servers import Server, new_database, serving
from tests.upstream import close

GONE_SECONDS = 9  # long enough that pauses which double would be long by then
BACK_SECONDS = 5
CHAT = {"model": "sky/sky-1", "messages": [{"role": "user", "content": "Hello"}]}
MODEL = {"model_id": "later", "provider_id": "sky"}
NEED_A_DATABASE: list[tuple[str, str, Any]] = [
    ("GET", "/v1/providers", None),
    ("POST", "/v1/models", MODEL),
    ("POST", "/v1/chat/completions", CHAT | {"store": True}),
    ("GET", "/v1/chat/completions", None),
    ("GET", "/admin/registry/provider/add/", None),
]
RUN = """
version: 2
image_name: chaos
apis: [inference]
providers:
  inference:
  - provider_id: sky
    provider_type: remote::openai
    config: {base_url: "%s"}
"""


class Link:
    """A port that leads to the database, until it is cut."""

    def __init__(self, url: str) -> None:
        self.target = urlsplit(url)
        self.port = 0
        self.server: asyncio.Server | None = None
        self.writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        assert self.target.port
        return self.target.geturl().replace(f":{self.target.port}/", f":{self.port}/")

    async def open(self) -> None:
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self.server
        await close(self.server)
        for writer in self.writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self.target.hostname, self.target.port)
        self.writers |= {writer, back}
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(2**16):
                writer.write(data)
                await writer.drain()
        writer.close()
        self.writers.discard(writer)


@pytest.fixture
async def link(services: Services) -> AsyncIterator[Link]:
    """The way to a database of its own beside that of the tests."""
    link = Link(new_database(services, "database_gone"))
    await link.open()
    yield link
    await link.cut()


@pytest.fixture
async def server(link: Link, tmp_path: Path) -> AsyncIterator[Server]:
    async with dialect.serving() as upstream:
        config = tmp_path / "run.yaml"
        config.write_text(RUN % upstream.url)
        running = serving(config, home=tmp_path / "home", env={"DATABASE_URL": link.url})
        yield await asyncio.to_thread(running.__enter__)
        await asyncio.to_thread(running.__exit__, None, None, None)


async def log_in(http: httpx.AsyncClient, server: Server) -> None:
    page = await http.get("/admin/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token
    form = {"username": "admin", "password": html.unescape(server.first_password), "csrfmiddlewaretoken": token[1]}
    assert (await http.post("/admin/login/?next=/admin/", data=form)).status_code == 302


async def until(http: httpx.AsyncClient, path: str, seconds: float) -> float:
    """The seconds until `path` answers 200."""
    started = time.monotonic()
    while (await http.get(path)).status_code != 200:
        assert time.monotonic() - started < seconds, path
        await asyncio.sleep(0.05)
    return time.monotonic() - started


async def recorded(link: Link) -> list[str]:
    """The requests of all usage records."""
    async with await psycopg.AsyncConnection.connect(link.target.geturl()) as connection:
        rows = await connection.execute("SELECT request_id FROM access_usage")
        return [name for (name,) in await rows.fetchall()]


async def until_recorded(link: Link, asked: set[str], seconds: float) -> list[str]:
    """All records, once there is one of each of these requests."""
    async with asyncio.timeout(seconds):
        while not asked <= set(names := await recorded(link)):
            await asyncio.sleep(0.05)
    return names


@pytest.mark.slow
async def test_chats_go_on_without_a_database_and_all_else_soon_after_it_is_back(link: Link, server: Server) -> None:
    asked = set()
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as http:
        await until(http, "/v1/models/sky/sky-1", 60)
        await log_in(http, server)
        await link.cut()
        gone = time.monotonic()
        while time.monotonic() - gone < GONE_SECONDS:
            answer = await http.post("/v1/chat/completions", json=CHAT)
            assert answer.status_code == 200
            asked.add(answer.headers["x-request-id"])
            for method, path, body in NEED_A_DATABASE:
                answer = await http.request(method, path, json=body)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "5"), path
        await link.open()
        await until(http, "/v1/providers", BACK_SECONDS)
        answer = await http.post("/v1/chat/completions", json=CHAT | {"store": True})
        assert answer.status_code == 200
        assert (await http.get(f"/v1/chat/completions/{answer.json()['id']}")).status_code == 200
        await until(http, "/admin/registry/provider/", BACK_SECONDS)
        asked.add(answer.headers["x-request-id"])
        names = await until_recorded(link, asked, BACK_SECONDS)
    assert len(names) == len(set(names))
    assert "records were lost" not in server.output
