"""Clients that leave their streams: the upstream is left at once, and each call has its record of what had come.

python -m tests.chaos.test_aborts [--aborts 500] [--lane fast]
"""

import argparse
import asyncio
import json
import platform
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from llamastack.services import Services, start
from tests.chaos.test_database_gone import RUN
from tests.chaos.test_kill import until_listed
from tests.servers import Server, new_database, serving
from tests.upstream import close, event, reply

PIECES = 5  # how many events each client reads before it leaves
PAUSE_SECONDS = 0.01  # between two of them
PATIENCE_SECONDS = 20
GROWTH_KIB = 40 * 1024  # of the server's memory, after as many aborts as there were before
URL = "/v1/chat/completions"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Endless:
    """An upstream whose answers have no end. `closed` has when each was left, by the `user` of its request."""

    def __init__(self) -> None:
        self.closed: dict[str, float] = {}
        self.open: set[str] = set()
        self.changed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                listed = b'{"object": "list", "data": [{"id": "endless"}]}'
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(listed), listed))
            else:
                told = re.search(rb"(?i)content-length: (\d+)", head)
                assert told
                await self.talk(json.loads(await reader.readexactly(int(told[1])))["user"], reader, writer)
        writer.close()

    async def talk(self, user: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(user)
        talking = asyncio.create_task(self.say(writer))
        with suppress(ConnectionError):
            await reader.read()  # until it is closed
        talking.cancel()
        self.closed[user] = asyncio.get_running_loop().time()
        self.open.discard(user)
        self.changed.set()

    async def say(self, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        delta: dict[str, Any] = {"role": "assistant", "content": "more "}
        while not writer.is_closing():
            said = event(reply({"delta": delta}, chat=True, streamed=True))
            writer.write(b"%x\r\n%b\r\n" % (len(said), said))
            delta = {"content": "more "}
            await asyncio.sleep(PAUSE_SECONDS)

    async def until_left(self, users: set[str]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not users <= set(self.closed):
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def endless() -> AsyncIterator[tuple[Endless, str]]:
    upstream = Endless()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, backlog=1024)
    yield upstream, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    await close(server)


@dataclass
class Aborts:
    """Who left when, by `user`, and the requests' ids."""

    left: dict[str, float] = field(default_factory=dict)
    requests: set[str] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)  # from each abort until the upstream was left
    growth: int = 0  # in KiB
    records: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    async def all(self, http: aiohttp.ClientSession, upstream: Endless, aborts: int) -> None:
        first = len(self.left)
        users = {f"u{number}" for number in range(first, first + aborts)}
        await asyncio.gather(*(self.leave(http, user) for user in users))
        await upstream.until_left(users)

    async def leave(self, http: aiohttp.ClientSession, user: str) -> None:
        """Begin a stream that never ends, and leave it."""
        hello = [{"role": "user", "content": "Hello"}]
        body = {"model": "sky/endless", "messages": hello, "stream": True, "user": user}
        async with http.post(URL, json=body) as answer:
            for _ in range(PIECES * 2):  # each event is a line and an empty one
                await answer.content.readline()
            answer.close()
        self.left[user] = asyncio.get_running_loop().time()
        self.requests.add(answer.headers["X-Request-Id"])

    def p99(self) -> float:
        return sorted(self.seconds)[len(self.seconds) * 99 // 100 - 1]


async def none_in_flight(http: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with http.get("/metrics") as page:
                assert page.status == 200
                values = re.findall(r"(?m)^llama_stack_calls_in_flight(?:\{.*\})? (\S+)$", await page.text())
            if not any(map(float, values)):
                return
            await asyncio.sleep(0.05)


def resident(server: Server) -> int:
    """The server's memory, in KiB."""
    told = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{server.process.pid}/status").read_text())
    assert told
    return int(told[1])


async def aborted(aborts: int, lane: str, database: str, folder: Path) -> Aborts:
    """Twice as many as `aborts`, in two rounds, after the first of which the memory is measured."""
    config, found = folder / "run.yaml", Aborts()
    async with endless() as (upstream, url):
        config.write_text(RUN % url)
        env = {"DATABASE_URL": database, "LLAMA_STACK_FAST_LANE": "1" if lane == "fast" else "0"}
        running = serving(config, home=folder / "home", env=env)
        server = await asyncio.to_thread(running.__enter__)
        try:
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(server.url, connector=connector) as http:
                await until_listed(http, "sky/endless")
                await found.all(http, upstream, aborts)
                before = resident(server)
                await found.all(http, upstream, aborts)
                found.growth = resident(server) - before
                await none_in_flight(http)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)
        assert not upstream.open
        assert "Traceback" not in server.output
        assert "never retrieved" not in server.output
    found.seconds = [upstream.closed[user] - at for user, at in found.left.items()]
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT request_id, lane, status, whole, estimated, output_tokens FROM access_usage")
        found.records = {row[0]: row[1:] for row in rows}
    return found


def check(found: Aborts, lane: str) -> None:
    assert set(found.records) == found.requests
    assert len(found.requests) == len(found.left)
    assert {record[:4] for record in found.records.values()} == {(lane, 499, False, True)}
    assert all(tokens >= PIECES - 1 for *_, tokens in found.records.values())
    assert found.growth < GROWTH_KIB


@pytest.mark.slow
@pytest.mark.parametrize(("lane", "aborts"), [("fast", 100), ("django", 50)])
async def test_a_stream_that_its_client_leaves_is_left_and_recorded_with_what_had_come(
    lane: str, aborts: int, services: Services, tmp_path: Path
) -> None:
    check(await aborted(aborts, lane, new_database(services, "aborts"), tmp_path), lane)


async def main(aborts: int, lane: str) -> None:
    with tempfile.TemporaryDirectory() as folder, start() as services:
        found = await aborted(aborts, lane, new_database(services, "aborts"), Path(folder))
    middle = sorted(found.seconds)[len(found.seconds) // 2]
    print(f"2 x {aborts} aborts at once, {lane} lane, python={platform.python_version()}: {len(found.records)} records")
    print(f"upstreams left after p50 {middle * 1000:.0f} ms, p99 {found.p99() * 1000:.0f} ms; {found.growth} KiB more")
    check(found, lane)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--aborts", type=int, default=500)
    parser.add_argument("--lane", choices=("fast", "django"), default="fast")
    options = parser.parse_args()
    asyncio.run(main(options.aborts, options.lane))
