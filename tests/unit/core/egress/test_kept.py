"""Connections between two exchanges: which one is taken next, and when they are closed."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from llamastack.egress.kept import Kept

HERE, THERE = "http://here", "http://there"


class Connection:
    def __init__(self) -> None:
        self.open = True
        self.protocol = SimpleNamespace(is_connected=lambda: self.open)
        self.closed = asyncio.Event()

    def close(self) -> None:
        self.closed.set()


def idle(kept: Kept, *connections: Any, origin: str = HERE) -> None:
    for connection in connections:
        kept.keep(origin, connection)


async def test_the_one_that_was_used_last_is_taken_first() -> None:
    kept, first, last = Kept(60), Connection(), Connection()
    idle(kept, first, last)
    assert [kept.take(HERE) for _ in range(3)] == [last, first, None]


async def test_one_leads_to_its_own_origin_alone() -> None:
    kept, connection = Kept(60), Connection()
    idle(kept, connection, origin=THERE)
    assert (kept.take(HERE), kept.take(THERE)) == (None, connection)


async def test_one_that_the_other_side_has_closed_is_passed_over() -> None:
    kept, connection, dead = Kept(60), Connection(), Connection()
    idle(kept, connection, dead)
    dead.open = False
    assert kept.take(HERE) is connection
    assert dead.closed.is_set()


async def test_each_is_closed_that_has_waited_too_long() -> None:
    kept, first = Kept(0.05), Connection()
    idle(kept, first)
    await asyncio.wait_for(first.closed.wait(), 20)
    second = Connection()
    idle(kept, second)
    await asyncio.wait_for(second.closed.wait(), 20)
    assert kept.take(HERE) is None


async def test_none_is_kept_for_no_time() -> None:
    kept, connection = Kept(0), Connection()
    idle(kept, connection)
    assert kept.take(HERE) is None
    assert connection.closed.is_set()


@pytest.mark.parametrize("taken", [True, False])
async def test_at_the_end_all_that_wait_are_closed(taken: bool) -> None:
    kept, connection = Kept(60), Connection()
    idle(kept, connection)
    if taken:
        kept.take(HERE)
    kept.close()
    assert connection.closed.is_set() is not taken
