"""The flusher: groups, their order, its bounds, and what becomes of rows that cannot be written."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from apps.access.models import Usage
from apps.inference.models import StoredCompletion, StoredRow
from llamastack.db import db
from llamastack.errors import StackError, Unavailable
from llamastack.flusher import Flusher, Limits
from llamastack.rows import insert
from tests.unit.core.test_rows import usage

SIZE = 10


def row(name: str) -> StoredRow:
    return StoredRow(name, "default", "me", timezone.now(), "m", "{}", "[]", "{}")


class Writer:
    """Takes the rows' names down; each group waits while `held` is set."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.begun = threading.Event()
        self.free = threading.Event()
        self.free.set()
        self.error: Exception | None = None

    def hold(self) -> None:
        self.free.clear()

    def __call__(self, rows: Sequence[Any]) -> None:
        self.begun.set()
        assert self.free.wait(10)
        if self.error:
            raise self.error
        self.groups.append([row.id for row in rows])


@asynccontextmanager
async def running(write: Any = insert, **limits: Any) -> AsyncIterator[Flusher]:
    flusher = Flusher(write, Limits(**limits))
    flusher.start()
    yield flusher
    await flusher.stop()


async def queued(flusher: Flusher, *names: str) -> list[asyncio.Task[None]]:
    """Commits under way, each of which has put its row into the queue or waits for room."""
    tasks = [asyncio.create_task(flusher.commit(row(name), SIZE)) for name in names]
    await asyncio.sleep(0)
    return tasks


async def blocked(flusher: Flusher, writer: Writer) -> list[asyncio.Task[None]]:
    """A first row that is being written, and is not let go."""
    writer.hold()
    tasks = await queued(flusher, "first")
    await asyncio.to_thread(writer.begun.wait, 10)
    return tasks


async def outcome(task: asyncio.Task[None]) -> StackError:
    with pytest.raises(StackError) as caught:
        await task
    return caught.value


async def names() -> set[str]:
    return set(await db(lambda: list(StoredCompletion.objects.values_list("pk", flat=True))))


# --- with a database ---


@pytest.mark.django_db(transaction=True)
async def test_a_row_that_was_committed_is_there() -> None:
    async with running() as flusher:
        await flusher.commit(row("a"), SIZE)
        assert await names() == {"a"}


@pytest.mark.django_db(transaction=True)
async def test_a_row_that_nobody_waits_for_is_there_soon() -> None:
    async with running() as flusher:
        flusher.offer(row("a"), SIZE)
        async with asyncio.timeout(10):
            while await names() != {"a"}:
                await asyncio.sleep(0.02)


@pytest.mark.django_db(transaction=True)
async def test_stopping_writes_what_is_queued() -> None:
    async with running() as flusher:
        flusher.offer(row("a"), SIZE)
        await flusher.stop()
        assert await names() == {"a"}


@pytest.mark.django_db(transaction=True)
async def test_a_row_that_is_refused_takes_no_other_down() -> None:
    async with running() as flusher:
        await flusher.commit(row("twice"), SIZE)
        before, twice, after = await queued(flusher, "before", "twice", "after")
        assert (await outcome(twice)).status == 500
        await asyncio.gather(before, after)
        assert await names() == {"twice", "before", "after"}


# --- with a writer that does as told ---


async def test_rows_that_gather_while_a_group_is_written_become_the_next_group() -> None:
    writer = Writer()
    async with running(write=writer) as flusher:
        tasks = await blocked(flusher, writer)
        tasks += await queued(flusher, "second", "third")
        writer.free.set()
        await asyncio.gather(*tasks)
    assert writer.groups == [["first"], ["second", "third"]]


async def test_rows_that_somebody_waits_for_come_first() -> None:
    writer = Writer()
    async with running(write=writer) as flusher:
        tasks = await blocked(flusher, writer)
        flusher.offer(row("offered"), SIZE)
        tasks += await queued(flusher, "awaited")
        writer.free.set()
        await asyncio.gather(*tasks)
    assert writer.groups == [["first"], ["awaited", "offered"]]


async def test_with_the_database_gone_who_waits_is_told_and_other_rows_are_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer = Writer()
    writer.error = OperationalError("gone")
    async with running(write=writer) as flusher:
        flusher.offer(row("offered"), SIZE)
        (task,) = await queued(flusher, "awaited")
        error = await outcome(task)
        assert (error.status, error.retry_after) == (503, 5)
        writer.error = None
        await flusher.commit(row("later"), SIZE)
    assert writer.groups == [["later"]]
    assert flusher.dropped == 1
    assert "1 rows that nobody waited for were dropped" in caplog.text


async def test_all_that_is_queued_fails_at_once_with_the_database_gone() -> None:
    writer = Writer()
    async with running(write=writer) as flusher:
        tasks = await blocked(flusher, writer)
        tasks += await queued(flusher, "second")
        flusher.offer(row("offered"), SIZE)
        writer.error = OperationalError("gone")
        writer.begun.clear()
        writer.free.set()
        assert [(await outcome(task)).status for task in tasks] == [503, 503]
    assert (writer.begun.is_set(), flusher.dropped) == (False, 1)


@pytest.mark.parametrize("bound", [{"rows": 2}, {"bytes": 2 * SIZE}])
async def test_rows_that_nobody_waits_for_take_half_the_room_and_are_dropped_beyond(bound: dict[str, int]) -> None:
    writer = Writer()
    async with running(write=writer, **bound) as flusher:
        tasks = await blocked(flusher, writer)
        for name in "abc":
            flusher.offer(row(name), SIZE)
        tasks += await queued(flusher, "awaited")
        writer.free.set()
        await asyncio.gather(*tasks)
    assert writer.groups == [["first"], ["awaited", "a"]]
    assert flusher.dropped == 2


async def test_a_full_queue_lets_the_next_row_in_as_soon_as_there_is_room() -> None:
    writer = Writer()
    async with running(write=writer, rows=1) as flusher:
        tasks = await blocked(flusher, writer)
        tasks += await queued(flusher, "second", "third")
        writer.free.set()
        await asyncio.gather(*tasks)
    assert writer.groups == [["first"], ["second"], ["third"]]


async def test_who_waits_too_long_is_told_and_the_row_is_not_written() -> None:
    writer = Writer()
    async with running(write=writer, rows=1, patience=0.05) as flusher:
        tasks = await blocked(flusher, writer)
        tasks += await queued(flusher, "in the queue", "without room")
        errors = [await outcome(task) for task in tasks]
        assert {(type(error), error.retry_after) for error in errors} == {(Unavailable, 5)}
        writer.free.set()
    assert writer.groups == [["first"]]


async def test_a_client_that_is_gone_waits_no_more_and_its_row_is_not_written() -> None:
    writer = Writer()
    async with running(write=writer) as flusher:
        tasks = await blocked(flusher, writer)
        (gone,) = await queued(flusher, "gone")
        gone.cancel()
        await asyncio.wait([gone])
        writer.free.set()
        await asyncio.gather(*tasks)
    assert writer.groups == [["first"]]


async def test_after_the_stop_nothing_is_taken() -> None:
    writer = Writer()
    async with running(write=writer) as flusher:
        await flusher.stop()
        flusher.offer(row("offered"), SIZE)
        assert (await outcome((await queued(flusher, "late"))[0])).status == 503
    assert (writer.groups, flusher.dropped) == ([], 1)


async def test_who_waits_for_room_when_the_server_stops_is_told() -> None:
    writer = Writer()
    async with running(write=writer, rows=1) as flusher:
        tasks = await blocked(flusher, writer)
        queue, room = await queued(flusher, "queued", "without room")
        stopping = asyncio.create_task(flusher.stop())
        writer.free.set()
        await asyncio.gather(*tasks, queue, stopping)
        assert (await outcome(room)).status == 503
    assert writer.groups == [["first"], ["queued"]]


# --- records ---


async def noted(flusher: Flusher, *names: str) -> None:
    for name in names:
        flusher.note(row(name))


@pytest.mark.django_db(transaction=True)
async def test_a_record_is_there_soon() -> None:
    async with running() as flusher:
        flusher.note(row("a"))
        async with asyncio.timeout(10):
            while await names() != {"a"}:
                await asyncio.sleep(0.02)


async def test_records_are_written_before_what_may_be_dropped_and_after_what_somebody_waits_for() -> None:
    writer = Writer()
    async with running(writer) as flusher:
        tasks = await blocked(flusher, writer)
        flusher.offer(row("offered"), SIZE)
        flusher.note(row("record"))
        tasks += await queued(flusher, "awaited")
        assert flusher.rows == 4
        writer.free.set()
        await asyncio.gather(*tasks)
    assert writer.groups == [["first"], ["awaited", "record", "offered"]]
    assert flusher.rows == 0


async def test_a_call_waits_for_room_and_goes_on_as_soon_as_there_is_some() -> None:
    writer = Writer()
    async with running(writer, records=2, room=10) as flusher:
        await flusher.room()
        writer.hold()
        await noted(flusher, "a", "b")
        assert flusher.full
        waiting = asyncio.create_task(flusher.room())
        await asyncio.to_thread(writer.begun.wait, 10)
        assert not waiting.done()
        writer.free.set()
        async with asyncio.timeout(30):
            await waiting
        assert not flusher.full
    assert (writer.groups, flusher.waits, flusher.lost) == ([["a", "b"]], 1, 0)


async def test_a_call_that_has_waited_for_room_in_vain_goes_on_and_what_is_too_much_is_lost_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer = Writer()
    async with running(writer, records=1, room=0.01) as flusher:
        writer.hold()
        await noted(flusher, "a")
        await flusher.room()
        await noted(flusher, "b", "lost")
        writer.free.set()
    assert ([name for group in writer.groups for name in group], flusher.waits, flusher.lost) == (["a", "b"], 1, 1)
    assert "1 usage records were lost" in caplog.text


async def test_with_the_database_gone_records_are_kept_and_written_once_it_is_back() -> None:
    writer = Writer()
    writer.error = OperationalError("gone")
    async with running(writer, retry=0.01) as flusher:
        await noted(flusher, "a", "b")
        (task,) = await queued(flusher, "awaited")
        assert (await outcome(task)).status == 503
        await noted(flusher, "c")
        writer.begun.clear()
        await asyncio.to_thread(writer.begun.wait, 10)
        assert flusher.rows == 3
        writer.error = None
        async with asyncio.timeout(30):
            while not writer.groups:
                await asyncio.sleep(0.01)
    assert (writer.groups, flusher.lost, flusher.dropped) == ([["a", "b", "c"]], 0, 0)


async def test_stopping_without_a_database_gives_up_after_a_while_and_counts_what_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer = Writer()
    writer.error = OperationalError("gone")
    async with running(writer, retry=0.01, drain=0.02) as flusher:
        await noted(flusher, "a", "b")
    assert (writer.groups, flusher.lost, flusher.rows) == ([], 2, 0)
    assert "2 usage records were lost" in caplog.text


async def test_a_database_that_comes_back_while_the_server_stops_loses_nothing() -> None:
    writer = Writer()
    writer.error = OperationalError("gone")
    async with running(writer, retry=0.01, drain=10) as flusher:
        await noted(flusher, "a")
        stopping = asyncio.create_task(flusher.stop())
        await asyncio.to_thread(writer.begun.wait, 10)
        writer.error = None
        await stopping
    assert (writer.groups, flusher.lost) == ([["a"]], 0)


async def test_a_record_that_comes_after_the_stop_is_lost_and_told(caplog: pytest.LogCaptureFixture) -> None:
    async with running(Writer()) as flusher:
        await flusher.stop()
        await noted(flusher, "late")
    assert flusher.lost == 1
    assert "1 usage records were lost" in caplog.text


@pytest.mark.django_db(transaction=True)
async def test_a_record_that_is_refused_takes_no_other_down_and_counts_as_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as flusher:
        await flusher.commit(row("twice"), SIZE)
        await noted(flusher, *"abc", "twice", *"defg")
        await flusher.stop()
        assert await names() == {*"abcdefg", "twice"}
    assert flusher.lost == 1
    assert "A usage record could not be written" in caplog.text


async def test_many_records_make_groups_and_are_not_written_one_by_one() -> None:
    writer = Writer()
    async with running(writer) as flusher:
        tasks = await blocked(flusher, writer)
        await noted(flusher, *(str(number) for number in range(4200)))
        writer.free.set()
        await asyncio.gather(*tasks)
    assert [len(group) for group in writer.groups] == [1, 2000, 2000, 200]


async def test_a_group_in_which_somebody_waits_is_smaller() -> None:
    writer = Writer()
    async with running(writer) as flusher:
        tasks = await blocked(flusher, writer)
        await noted(flusher, *(str(number) for number in range(1200)))
        tasks += await queued(flusher, "waits")
        writer.free.set()
        await asyncio.gather(*tasks)
    assert [len(group) for group in writer.groups] == [1, 500, 701]
    assert writer.groups[1][0] == "waits"


@pytest.mark.django_db(transaction=True)
async def test_a_commit_that_came_through_without_an_answer_is_not_made_twice() -> None:
    answers = [OperationalError("gone")]

    def write(rows: Sequence[Any]) -> None:
        insert(rows)
        if answers:
            raise answers.pop()

    async with running(write, retry=0.01) as flusher:
        for number in range(5):
            flusher.note(usage(f"req_{number}"))
        async with asyncio.timeout(30):
            while answers:
                await asyncio.sleep(0.01)
        flusher.note(usage("later"))
    recorded = await db(lambda: sorted(Usage.objects.values_list("request_id", flat=True)))
    assert recorded == ["later", *(f"req_{number}" for number in range(5))]
    assert flusher.lost == 0
