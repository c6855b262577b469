"""Several processes that could do a job: one of them does."""

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from tests.chaos.test_batches_killed import LINES, RUN, answers, create, reached, upstream
from tests.servers import serving
from tests.upstream import on_loopback

BATCHES = 2


@pytest.mark.slow
async def test_each_batch_is_done_once_by_one_of_several_processes(tmp_path: Path) -> None:
    asked: Counter[str] = Counter()
    config = tmp_path / "run.yaml"
    async with on_loopback(upstream(asked)) as address:
        config.write_text(RUN.format(url=f"{address}/v1", at_once=64))
        shared = serving(config, "--workers", "2", home=tmp_path / "home")
        server = await asyncio.to_thread(shared.__enter__)
        try:
            async with aiohttp.ClientSession(server.url) as http:
                made = [await create(http) for _ in range(BATCHES)]
                for batch_id in made:
                    batch = await reached(http, batch_id, LINES + 1)
                    assert await answers(http, batch) == [f"n{number}" for number in range(LINES)]
                async with http.get("/v1alpha/jobs", params={"kind": "batch"}) as answer:
                    jobs = (await answer.json())["data"]
        finally:
            await asyncio.to_thread(shared.__exit__, None, None, None)
    assert asked == {str(number): BATCHES for number in range(LINES)}
    assert [(job["status"], job["attempt"]) for job in jobs] == [("completed", 1)] * BATCHES
