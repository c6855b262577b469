"""The threads that requests lend: side by side, kept, and not for ever."""

import asyncio
import threading

import pytest
from asgiref.sync import sync_to_async

from llamastack.api import api
from llamastack.threads import MOST_IDLE, Threads


async def test_sync_views_run_side_by_side() -> None:
    threads, all_here = Threads(), threading.Barrier(8, timeout=10)

    async def view() -> None:
        await sync_to_async(all_here.wait)()

    await asyncio.gather(*(threads.run(view) for _ in range(8)))
    threads.end()


async def test_a_request_has_the_thread_of_one_that_has_ended() -> None:
    threads, used = Threads(), []

    async def view(number: int) -> None:
        used.append(await sync_to_async(threading.get_ident)())
        used.append(await sync_to_async(threading.get_ident)())
        if number == 1:
            raise ValueError

    for number in range(3):
        await asyncio.gather(threads.run(view, number), return_exceptions=True)
    assert len(used) == 6
    assert len(set(used)) == 1
    threads.end()
    assert used[0] not in [thread.ident for thread in threading.enumerate()]


async def test_requests_of_the_api_need_no_thread() -> None:
    threads, used = Threads(), set()

    async def view() -> None:
        used.add(await sync_to_async(threading.get_ident)())

    await asyncio.gather(*(threads.run(view, here=True) for _ in range(8)))
    assert used == {threading.get_ident()}
    await threads.run(view)
    assert len(used) == 2
    threads.end()


async def test_what_goes_wrong_without_a_thread_is_told_as_with_one() -> None:
    def failing() -> None:
        raise KeyError("gone")

    async def view() -> None:
        await sync_to_async(failing)()

    threads = Threads()
    for here in (True, False):
        with pytest.raises(KeyError, match="gone"):
            await threads.run(view, here=here)
    threads.end()


def test_no_view_of_the_api_needs_a_thread() -> None:
    """One that did would hold up all others."""
    views = [view for _, router in api._routers for view in router.path_operations.values()]
    assert len(views) > 10
    assert all(operation.is_async for view in views for operation in view.operations)


async def test_a_rush_leaves_no_more_than_a_few_threads() -> None:
    threads, before = Threads(), {*threading.enumerate()}
    all_here = threading.Barrier(2 * MOST_IDLE, timeout=10)

    async def view() -> None:
        await sync_to_async(all_here.wait)()

    await asyncio.gather(*(threads.run(view) for _ in range(2 * MOST_IDLE)))
    async with asyncio.timeout(10):
        while len({*threading.enumerate()} - before) > MOST_IDLE:
            await asyncio.sleep(0.01)
    threads.end()
    assert {*threading.enumerate()} <= before
