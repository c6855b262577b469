"""Who watches over workers: what it does where they start, die, are replaced and end. Here they are small programs."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llamastack import metrics
from llamastack.cli.shared_folder import shared_folder
from llamastack.cli.workers import Workers

SERVES = """
import os, signal, sys, threading
lifeline, ready = int(sys.argv[1]), int(sys.argv[2])
left = threading.Event()
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda *_: os._exit(0))
with open("started", "a") as started:
    print(os.environ["LLAMA_STACK_WORKER"], os.getpid(), file=started, flush=True)
os.write(ready, b"1")
os.close(ready)
os.read(lifeline, 1)
"""
FAILS = "raise SystemExit(3)"
FAILS_AFTER_TWO = SERVES.replace("os.write(", "len(open('started').readlines()) > 2 and os._exit(3)\nos.write(")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the programs say that they have started."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def workers(program: str, count: int = 2) -> Workers:
    return Workers(count, [], {**os.environ, metrics.FOLDER: "."}, ["-c", program])


def started() -> list[tuple[int, int]]:
    """The number and the process of each worker so far."""
    lines = Path("started").read_text().splitlines()
    return [(int(number), int(process)) for number, process in map(str.split, lines)]


@asynccontextmanager
async def running(program: str) -> AsyncIterator[Workers]:
    ready = asyncio.Event()
    watching = workers(program)
    ran = asyncio.create_task(watching.run(ready.set, lambda: None))
    await asyncio.wait_for(ready.wait(), 60)
    yield watching
    watching.leave(signal.SIGTERM)
    assert await asyncio.wait_for(ran, 60)
    assert not any(alive(process) for _, process in started())


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


async def test_all_have_started_before_it_is_ready_and_ended_after_it_was_left() -> None:
    async with running(SERVES):
        assert sorted(number for number, _ in started()) == [1, 2]


async def test_who_is_killed_is_followed_by_another_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async with running(SERVES):
        killed = started()[0]
        os.kill(killed[1], signal.SIGKILL)
        await until(lambda: len(started()) == 3)
    (told,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert f"Worker {killed[0]} (process {killed[1]}) ended with -9" in told.getMessage()
    assert "another one starts in 0 s" in told.getMessage()


async def test_who_dies_again_at_once_is_followed_after_a_pause_that_grows(caplog: pytest.LogCaptureFixture) -> None:
    async with running(FAILS_AFTER_TWO):
        os.kill(started()[0][1], signal.SIGKILL)
        await until(lambda: len(caplog.records) == 3)
    said = [record.getMessage().rpartition("another one starts in ")[2] for record in caplog.records]
    assert said == ["0 s", "1 s", "2 s"]


async def test_all_are_replaced_each_after_another_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    async with running(SERVES) as watching:
        before = started()
        watching.replace()
        await until(lambda: len(started()) == 4 and not any(alive(process) for _, process in before))
        await until(lambda: "2 workers have been replaced." in capsys.readouterr().out)
        assert [number for number, _ in started()[2:]] == [3, min(number for number, _ in before)]


async def test_where_the_new_one_does_not_start_the_old_ones_serve_on(caplog: pytest.LogCaptureFixture) -> None:
    async with running(FAILS_AFTER_TWO) as watching:
        watching.replace()
        await until(lambda: "did not become ready" in caplog.text)
        assert all(alive(process) for _, process in started()[:2])


async def test_where_none_can_start_nothing_is_served() -> None:
    ready = asyncio.Event()
    assert not await asyncio.wait_for(workers(FAILS).run(ready.set, lambda: None), 60)
    assert not ready.is_set()


async def test_a_signal_while_they_start_ends_them() -> None:
    watching = workers("import time; time.sleep(60)")
    ran = asyncio.create_task(watching.run(lambda: None, lambda: None))
    await asyncio.sleep(0)
    watching.leave(signal.SIGTERM)
    await asyncio.wait_for(ran, 60)


def test_a_folder_that_nobody_holds_is_removed_and_others_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_STACK_HOME", str(tmp_path))
    left = tmp_path / "workers" / "left"
    left.mkdir(parents=True)
    (left / "lock").touch()
    with shared_folder() as (one, _):
        assert not left.exists()
        with shared_folder() as (other, _):
            assert one != other
            assert one.exists()
        assert not other.exists()
    assert not one.exists()
