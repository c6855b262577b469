"""Whoever does a job is gone: the next one goes on when the lease has ended. All in here wait at the same time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from llamastack.services import Services
from tests.chaos import ingestion
from tests.chaos.test_batches_killed import KILLS, ROUNDS, SECONDS, server_paused, servers_killed
from tests.chaos.test_workers_killed import Site, started, workers_killed, workers_paused

Scenario = Callable[[Path], Awaitable[None]]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(SECONDS * max(KILLS, ROUNDS)),
]


async def again(scenario: Scenario, folder: Path) -> None:
    for turn in range(ROUNDS):
        (folder / str(turn)).mkdir()
        async with asyncio.timeout(SECONDS):
            await scenario(folder / str(turn))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tasks(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, asyncio.Task[None]]]:
    """What each test waits for."""

    async def of_workers(scenario: Callable[[Site], Awaitable[None]], folder: Path) -> None:
        async with started(services, folder, scenario.__name__) as site:
            await scenario(site)

    folder = tmp_path_factory.mktemp
    works = {
        "killed": servers_killed(folder("killed")),
        "paused": again(server_paused, folder("paused")),
        "workers": again(partial(of_workers, workers_killed), folder("workers")),
        "workers paused": again(partial(of_workers, workers_paused), folder("workers_paused")),
        "ingestion": again(ingestion.server_killed, folder("ingestion")),
        "ingestion by workers": again(partial(ingestion.worker_killed, services), folder("ingestion_by_workers")),
    }
    running = {name: asyncio.create_task(work) for name, work in works.items()}
    yield running
    for task in running.values():
        task.cancel()
    await asyncio.gather(*running.values(), return_exceptions=True)


async def test_each_line_is_answered_once_though_the_server_is_killed(tasks: dict[str, asyncio.Task[None]]) -> None:
    await tasks["killed"]


async def test_a_server_that_was_stopped_for_longer_than_its_lease_writes_nothing_more(
    tasks: dict[str, asyncio.Task[None]],
) -> None:
    await tasks["paused"]


async def test_each_line_is_answered_once_though_workers_are_killed(tasks: dict[str, asyncio.Task[None]]) -> None:
    await tasks["workers"]


async def test_workers_that_were_stopped_for_longer_than_their_leases_write_nothing_more(
    tasks: dict[str, asyncio.Task[None]],
) -> None:
    await tasks["workers paused"]


async def test_each_file_is_read_once_though_the_server_is_killed(tasks: dict[str, asyncio.Task[None]]) -> None:
    await tasks["ingestion"]


async def test_each_file_is_read_once_though_a_worker_is_killed(tasks: dict[str, asyncio.Task[None]]) -> None:
    await tasks["ingestion by workers"]
