"""The server is killed, or stopped, under load: what a client received whole is there afterwards.

A kill loses no stored completion, and usage records of the last second alone; a stop loses neither. With more kills:

    python -m tests.chaos.test_kill [--kills 50]
"""

import argparse
import asyncio
import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from llamastack.services import Services, start
from tests import upstream as dialect
from tests.chaos.test_database_gone import RUN
from tests.servers import Server, new_database, serving

CLIENTS = 16
ANSWERS = 200  # how many have been received when the kill comes
LOST_SECONDS = 1.0  # how long before a kill a call may have ended whose record is lost
URL = "/v1/chat/completions"


class Load:
    """Clients that ask for completions without a pause, every second one streamed, until the server is gone.

    It knows which were received whole: those that were to be stored, and all by their requests' ids, with the seconds
    from then until the server was killed.
    """

    def __init__(self, model: str, *, store: bool = True) -> None:
        self.model = model
        self.store = store
        self.received: list[str] = []
        self.answered: dict[str, float] = {}
        self.enough = asyncio.Event()

    async def run(self, server: Server, answers: int, number: int = signal.SIGKILL) -> None:
        """Kill the server once so many more answers have come."""
        self.enough.clear()
        wanted, before = len(self.received) + answers, set(self.answered)
        async with aiohttp.ClientSession(server.url) as http:
            await until_listed(http, self.model)
            clients = [asyncio.create_task(self.client(http, wanted, bool(n % 2))) for n in range(CLIENTS)]
            await self.enough.wait()
            server.send(number)
            killed = time.monotonic()
            await asyncio.gather(*clients)
        server.process.wait(60)
        self.answered |= {name: killed - at for name, at in self.answered.items() if name not in before}

    async def client(self, http: aiohttp.ClientSession, wanted: int, stream: bool) -> None:
        body = {"model": self.model, "messages": [{"role": "user", "content": "Hello"}], "store": self.store}
        with suppress(aiohttp.ClientError, ConnectionError):
            while True:
                async with http.post(URL, json=body | {"stream": stream}) as answer:
                    if answer.status == 503 and not self.store:  # it is stopping
                        return
                    assert answer.status == 200, await answer.text()
                    self.received.append(await (last_id(answer) if stream else whole_id(answer)))
                    self.answered[answer.headers["X-Request-Id"]] = time.monotonic()
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
    async with asyncio.timeout(60):
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


@dataclass
class Afterwards:
    """What is in the database after the last kill: stored completions by their ids, and the requests of the records."""

    load: Load
    stored: dict[str, Any] = field(default_factory=dict)
    recorded: list[str] = field(default_factory=list)

    @property
    def lost(self) -> set[str]:
        """Completions that were to be stored."""
        return set(self.load.received) - set(self.stored)

    @property
    def unrecorded(self) -> list[float]:
        """How long before its kill each call had ended whose record is missing."""
        recorded = set(self.recorded)
        return [age for name, age in self.load.answered.items() if name not in recorded]


async def killed_again_and_again(
    kills: int, home: Path, upstream: str, model: str, env: Mapping[str, str]
) -> Afterwards:
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
        return Afterwards(load, await stored(server), recorded(env["DATABASE_URL"]))


def recorded(url: str) -> list[str]:
    """The requests of all usage records."""
    query = "SELECT request_id FROM access_usage"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return [name for (name,) in connection.execute(query)]
    with psycopg.connect(url) as other:
        return [name for (name,) in other.execute(query)]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, services: Services, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'killed.db'}" if request.param == "sqlite" else new_database(services, "killed")


@pytest.mark.slow
async def test_a_kill_loses_no_completion_that_was_received_and_records_of_the_last_second_alone(
    database: str, tmp_path: Path
) -> None:
    async with dialect.serving() as upstream:
        home, env = tmp_path / "home", {"DATABASE_URL": database}
        found = await killed_again_and_again(3, home, upstream.url, "sky/sky-1", env)
    received = found.load.received
    assert len(received) >= 3 * ANSWERS
    assert found.lost == set()
    assert {found.stored[name]["choices"][0]["message"]["content"] for name in received} == {"The sky is blue."}
    assert all(age <= 5 * LOST_SECONDS for age in found.unrecorded)  # the machine may have much else to do
    assert len(found.recorded) == len(set(found.recorded)) > 0


@pytest.mark.slow
async def test_a_stop_under_load_loses_no_record_of_a_call_that_was_answered(database: str, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    load = Load("sky/sky-1", store=False)
    async with dialect.serving() as upstream:
        config.write_text(RUN % upstream.url)
        running = serving(config, home=tmp_path / "home", env={"DATABASE_URL": database})
        server = await asyncio.to_thread(running.__enter__)
        try:
            await load.run(server, ANSWERS, signal.SIGTERM)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)
    names = recorded(database)
    assert len(load.answered) >= ANSWERS
    assert set(load.answered) <= set(names)
    assert len(names) == len(set(names))


# --- the long form ---


@contextmanager
def places() -> Iterator[tuple[Path, Services]]:
    with tempfile.TemporaryDirectory() as folder, start() as services:
        yield Path(folder), services


async def main(kills: int) -> int:
    good = True
    with places() as (folder, services):
        for kind in ("sqlite", "postgresql"):
            sqlite = f"sqlite:///{folder / 'killed.db'}"
            env = {"DATABASE_URL": sqlite if kind == "sqlite" else new_database(services, "killed")}
            async with dialect.serving() as upstream:
                found = await killed_again_and_again(kills, folder / kind / "home", upstream.url, "sky/sky-1", env)
            missing = found.unrecorded
            print(f"{kind}: {kills} kills, {len(found.load.received)} answers, {len(found.lost)} completions lost")
            print(f"{kind}: {len(missing)} records lost, the oldest {max(missing, default=0):.2f} s before its kill")
            good = good and not found.lost and all(age <= LOST_SECONDS for age in missing)
    return 0 if good else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    raise SystemExit(asyncio.run(main(parser.parse_args().kills)))
