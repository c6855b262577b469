"""A document is read by a process that dies with whoever asks, of a limit, or of itself; the server goes on."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from apps.file_processors.parsing.outcomes import Limits, Refused, Task
from apps.file_processors.providers.inline.pypdf import Pypdf, PypdfConfig
from apps.file_processors.sandbox import Sandbox
from llamastack.errors import StackError
from tests import documents
from tests.unit.file_processors.conftest import parsed

pytestmark = pytest.mark.asyncio(loop_scope="module")
SLOW = documents.packed_pdf(
    b"BT /F1 9 Tf 9 9 Td (text) Tj ET BT /F1 9 Tf " + b"(a) Tj " * 300_000 + b"ET"
)  # takes pypdf seconds, and pdfium none
LARGE = b"<br>" * 2_000_000  # an object of a thousand bytes each
QUICK = documents.pdf("text")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    """One for all, since its process takes a second to start."""
    made = Sandbox(at_once=2)
    yield made
    await made.stop()


def task(content: bytes, parser: str = "pypdf", **limits: Any) -> Task:
    return Task(parser, "a.pdf", "application/pdf", len(content), limits=Limits(**limits))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def zygotes() -> list[int]:
    """Those of this process."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line, status = (entry / "cmdline").read_bytes(), (entry / "stat").read_text()
        except OSError:
            continue  # it has ended
        if b"parsing.zygote" in line and int(status.rpartition(")")[2].split()[1]) == os.getpid():
            found.append(int(entry.name))
    return found


async def until(state: Callable[[], Any]) -> Any:
    """What it is, once it is anything."""
    async with asyncio.timeout(60):
        while not (found := state()):
            await asyncio.sleep(0.02)
    return found


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def at_rest(sandbox: Sandbox) -> None:
    """Its process has started, and those of other tests have ended: children that are seen are the test's own."""
    await rested(sandbox)


async def rested(sandbox: Sandbox) -> None:
    await sandbox.read(task(QUICK), QUICK)
    await until(lambda: all(not children(zygote) for zygote in zygotes()))


async def test_several_are_read_at_once_each_by_a_process_of_its_own(sandbox: Sandbox) -> None:
    answers = await asyncio.gather(*(sandbox.read(task(QUICK), QUICK) for _ in range(6)))
    assert [answer.pages for answer in answers] == [[(1, "text")]] * 6
    (zygote,) = zygotes()
    await until(lambda: not children(zygote))


async def test_it_ends_with_its_provider(sandbox: Sandbox) -> None:
    await sandbox.read(task(QUICK), QUICK)
    await sandbox.stop()
    assert zygotes() == []
    assert (await sandbox.read(task(QUICK), QUICK)).pages == [(1, "text")]


async def test_who_is_cancelled_leaves_no_process_behind(sandbox: Sandbox) -> None:
    reading = asyncio.create_task(sandbox.read(task(SLOW), SLOW))
    await until(lambda: children(zygotes()[0]))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    (zygote,) = zygotes()
    await until(lambda: not children(zygote))
    assert (await sandbox.read(task(QUICK), QUICK)).pages == [(1, "text")]


async def test_one_that_takes_too_long_is_killed(sandbox: Sandbox) -> None:
    with pytest.raises(Refused) as caught:
        await sandbox.read(task(SLOW, seconds=0.5), SLOW)
    assert (caught.value.reason, caught.value.why) == ("exhausted", "reading it takes more than 0.5 s.")
    (zygote,) = zygotes()
    await until(lambda: not children(zygote))


async def test_one_that_calculates_too_long_dies_of_it(sandbox: Sandbox) -> None:
    with pytest.raises(Refused) as caught:
        await sandbox.read(task(SLOW, cpu_seconds=1), SLOW)
    assert caught.value.reason == "exhausted"
    assert "1 s of calculation" in caught.value.why


async def test_one_that_takes_too_much_memory_is_refused(sandbox: Sandbox) -> None:
    limits = Limits(memory_bytes=320 << 20)
    with pytest.raises(Refused) as caught:
        await sandbox.read(Task("markitdown", "a.html", "text/html", len(LARGE), limits=limits), LARGE)
    assert (caught.value.reason, caught.value.why) == ("exhausted", "reading it takes more than 320 MiB.")


async def test_what_one_parser_cannot_finish_another_may() -> None:
    provider = Pypdf("pypdf", PypdfConfig(max_cpu_seconds=2))
    try:
        answer = await parsed(provider, "a.pdf", SLOW)
        assert (answer.parser, answer.pages[0].text[:4]) == ("pypdfium2", "text")
    finally:
        await provider.stop()


async def test_a_reader_that_crashes_costs_its_document_alone(sandbox: Sandbox) -> None:
    reading = asyncio.create_task(sandbox.read(task(SLOW), SLOW))
    reader, *_ = await until(lambda: children(zygotes()[0]))
    os.kill(reader, signal.SIGSEGV)
    with pytest.raises(Refused) as caught:
        await reading
    assert (caught.value.reason, caught.value.why) == ("broken", "its reader crashed.")
    assert (await sandbox.read(task(QUICK), QUICK)).pages == [(1, "text")]


async def test_where_the_process_is_killed_that_starts_the_others_a_new_one_starts(sandbox: Sandbox) -> None:
    await sandbox.read(task(QUICK), QUICK)
    (first,) = zygotes()
    os.kill(first, signal.SIGKILL)
    await until(lambda: first not in zygotes())
    assert (await sandbox.read(task(QUICK), QUICK)).pages == [(1, "text")]


async def test_no_more_than_so_many_are_read_at_once(sandbox: Sandbox) -> None:
    reading = [asyncio.create_task(sandbox.read(task(SLOW), SLOW)) for _ in range(4)]
    await until(lambda: len(children(zygotes()[0])) == 2)
    done, _ = await asyncio.wait(reading, timeout=0.2)
    assert (len(done), len(children(zygotes()[0]))) == (0, 2)
    for one in reading:
        one.cancel()
    await asyncio.gather(*reading, return_exceptions=True)


async def test_its_health_tells_what_this_system_does_not_give() -> None:
    provider = Pypdf("pypdf", PypdfConfig())
    try:
        assert await provider.health() == (await provider.health())
        await parsed(provider, "a.pdf", QUICK)
        told = provider.sandbox.told
        assert told is not None
        assert bool((await provider.health()).message) == (not (told.no_network and told.no_powers and told.no_files))
    finally:
        await provider.stop()


async def test_a_text_needs_no_process() -> None:
    provider = Pypdf("pypdf", PypdfConfig())
    await parsed(provider, "a.txt", b"text")
    assert provider.sandbox.told is None
    with pytest.raises(StackError):
        await parsed(provider, "a.txt", b"")


SERVER = """
import asyncio
from tests.unit.file_processors import test_sandbox as t
async def main():
    sandbox = t.Sandbox(1)
    await t.rested(sandbox)
    reading = asyncio.create_task(sandbox.read(t.task(t.SLOW), t.SLOW))
    (reader, *_) = await t.until(lambda: t.children(t.zygotes()[0]))
    print(t.zygotes()[0], reader, flush=True)
    await reading
asyncio.run(main())
"""


async def test_a_server_that_is_killed_leaves_none_of_them_behind() -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, cwd=Path(__file__).parents[3], stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    pids = [int(pid) for pid in (await server.stdout.readline()).split()]
    assert len(pids) == 2
    server.kill()
    await server.wait()
    await until(lambda: not any(runs(pid) for pid in pids))


def runs(pid: int) -> bool:
    """Whether it is more than a name that nobody has asked for its end."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False
