"""The server is killed while it stores: what a client received whole is there afterwards."""

import asyncio
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from llamastack.services import Services
from tests import upstream as dialect
from tests.chaos.test_database_gone import RUN
from tests.servers import Server, serving

CLIENTS = 16
ANSWERS = 200  # how many have been received when the kill comes
DATABASE = "killed"
URL = "/v1/chat/completions"


class Load:
    """Clients that ask for stored completions without a pause, every second one streamed, until the server is gone."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.received: list[str] = []
        self.enough = asyncio.Event()

    async def run(self, server: Server, answers: int) -> None:
        """Kill the server once so many more answers have come."""
        self.enough.clear()
        wanted = len(self.received) + answers
        async with aiohttp.ClientSession(server.url) as http:
            await until_listed(http, self.model)
            clients = [asyncio.create_task(self.client(http, wanted, bool(n % 2))) for n in range(CLIENTS)]
            await self.enough.wait()
            server.send(signal.SIGKILL)
            await asyncio.gather(*clients)
        server.process.wait(10)

    async def client(self, http: aiohttp.ClientSession, wanted: int, stream: bool) -> None:
        body = {"model": self.model, "messages": [{"role": "user", "content": "Hello"}], "store": True}
        with suppress(aiohttp.ClientError, ConnectionError):
            while True:
                async with http.post(URL, json=body | {"stream": stream}) as answer:
                    assert answer.status == 200, await answer.text()
                    self.received.append(await (last_id(answer) if stream else whole_id(answer)))
                if len(self.received) >= wanted:
                    self.enough.set()


async def whole_id(answer: aiohttp.ClientResponse) -> str:
    return str((await answer.json())["id"])


async def last_id(answer: aiohttp.ClientResponse) -> str:
    """The id of a stream, at the chunk that says that all has been said."""
    async for line in answer.content:
        if b'"finish_reason":"stop"' in line:
            return line.partition(b'"id":"')[2].partition(b'"')[0].decode()
    raise aiohttp.ClientPayloadError("The stream was cut.")


async def until_listed(http: aiohttp.ClientSession, model: str) -> None:
    async with asyncio.timeout(10):
        while True:
            async with http.get(f"/v1/models/{model}") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.05)


async def stored(server: Server) -> dict[str, Any]:
    """Every stored completion, by its id."""
    found: dict[str, Any] = {}
    async with aiohttp.ClientSession(server.url) as http:
        page: dict[str, Any] = {"has_more": True}
        while page["has_more"]:
            after = {"after": page["last_id"]} if found else {}
            async with http.get(URL, params={"limit": "100", "order": "asc", **after}) as answer:
                page = await answer.json()
            found |= {item["id"]: item for item in page["data"]}
    return found


async def killed_again_and_again(
    kills: int, home: Path, upstream: str, model: str, env: Mapping[str, str]
) -> tuple[list[str], dict[str, Any]]:
    """The ids of all completions that clients received whole, and what is stored after the last kill."""
    config = home.parent / "run.yaml"
    config.write_text(RUN % upstream)
    load = Load(model)
    for _ in range(kills):
        running = serving(config, home=home, env=env)
        server = await asyncio.to_thread(running.__enter__)
        try:
            await load.run(server, ANSWERS)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)
    with serving(config, home=home, env=env) as server:
        return load.received, await stored(server)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, services: Services, tmp_path: Path) -> str:
    """A database of its own beside that of the tests."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'killed.db'}"
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")
    return services.database_url.rpartition("/")[0] + f"/{DATABASE}"


@pytest.mark.slow
async def test_no_completion_that_was_received_is_lost_when_the_server_is_killed(database: str, tmp_path: Path) -> None:
    async with dialect.serving() as upstream:
        home, env = tmp_path / "home", {"DATABASE_URL": database}
        received, found = await killed_again_and_again(2, home, upstream.url, "sky/sky-1", env)
    assert len(received) >= 2 * ANSWERS
    assert set(received) <= set(found)
    assert {found[name]["choices"][0]["message"]["content"] for name in received} == {"The sky is blue."}
