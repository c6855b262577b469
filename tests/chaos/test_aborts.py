"""Clients that leave their streams: each call has its record, of what had come until then."""

import asyncio
from pathlib import Path

import aiohttp
import psycopg
import pytest

from llamastack.services import Services
from tests import upstream as dialect
from tests.chaos.test_database_gone import RUN
from tests.chaos.test_kill import new_database, until_listed
from tests.servers import serving
from tests.upstream import Upstream

ABORTS = 100
PIECES = 5  # how many each client reads before it leaves
URL = "/v1/chat/completions"


async def leave(http: aiohttp.ClientSession) -> str:
    """Begin a stream that never ends, and leave it; returns the request's id."""
    body = {"model": "sky/endless", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    async with http.post(URL, json=body) as answer:
        for _ in range(PIECES * 2):  # each event is a line and an empty one
            await answer.content.readline()
        answer.close()
        return answer.headers["X-Request-Id"]


@pytest.mark.slow
@pytest.mark.parametrize("lane", ["fast", "django"])
async def test_a_stream_that_its_client_leaves_is_recorded_with_what_had_come(
    lane: str, services: Services, tmp_path: Path
) -> None:
    database = new_database("postgresql", services, tmp_path)
    config = tmp_path / "run.yaml"
    async with dialect.serving(Upstream(models=["endless"])) as upstream:
        config.write_text(RUN % upstream.url)
        env = {"DATABASE_URL": database, "LLAMA_STACK_FAST_LANE": "1" if lane == "fast" else "0"}
        running = serving(config, home=tmp_path / "home", env=env)
        server = await asyncio.to_thread(running.__enter__)
        try:
            async with aiohttp.ClientSession(server.url) as http:
                await until_listed(http, "sky/endless")
                left = await asyncio.gather(*(leave(http) for _ in range(ABORTS)))
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT request_id, lane, status, whole, estimated, output_tokens FROM access_usage")
        records = {row[0]: row[1:] for row in rows}
    assert set(left) == set(records)
    assert {record[:4] for record in records.values()} == {(lane, 499, False, True)}
    assert all(tokens >= PIECES - 1 for *_, tokens in records.values())
