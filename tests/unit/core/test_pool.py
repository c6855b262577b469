"""How long a provider that starts is waited for by those who can do without it."""

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from llamastack.apis import Api
from llamastack.errors import StackError
from llamastack.pool import ProviderPool
from llamastack.providers import Provider, ProviderSpec
from llamastack.snapshot import ProviderRecord


class Slow(Provider):
    """It starts once it may."""

    may: ClassVar[asyncio.Event]

    async def start(self) -> None:
        await self.may.wait()


class Failing(Slow):
    async def start(self) -> None:
        await super().start()
        raise StackError("no such engine")


EXCLUSIVE = "inline::exclusive"
PROVIDERS = {
    "inline::slow": ProviderSpec(f"{__name__}.Slow"),
    "inline::failing": ProviderSpec(f"{__name__}.Failing"),
    EXCLUSIVE: ProviderSpec(f"{__name__}.Slow", exclusive=True),
}


@pytest.fixture
async def pool() -> AsyncIterator[ProviderPool]:
    """With both of them, which are starting."""
    Slow.may = asyncio.Event()
    running = ProviderPool({})
    kinds = enumerate(list(PROVIDERS)[:2])
    running.apply({key: ProviderRecord(key, "*", kind, Api.inference, kind, __name__, {}, "1") for key, kind in kinds})
    yield running
    Slow.may.set()
    await running.close()


@pytest.mark.parametrize("key", [0, 1])
async def test_a_start_that_takes_a_moment_is_waited_for_however_it_ends(pool: ProviderPool, key: int) -> None:
    asking = asyncio.create_task(pool.starts_soon(key, 60))
    await asyncio.sleep(0)
    assert not asking.done()
    Slow.may.set()
    assert await asking
    assert await pool.starts_soon(key, 0)


async def test_whoever_has_failed_to_start_would_fail_a_call_at_once(pool: ProviderPool) -> None:
    assert [pool.refuses(key) for key in (0, 1, 99)] == [False, False, True]
    Slow.may.set()
    await asyncio.gather(pool.starts_soon(0, 60), pool.starts_soon(1, 60))
    assert [pool.refuses(key) for key in (0, 1)] == [False, True]


async def test_a_start_that_has_taken_longer_is_not(pool: ProviderPool) -> None:
    assert not await pool.starts_soon(0, 0.01)
    assert not await pool.starts_soon(0, 0)


async def test_nobody_waits_for_a_provider_that_is_not_there(pool: ProviderPool) -> None:
    assert await pool.starts_soon(99)


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_keeps_its_state_in_one_process_does_not_run_in_several(workers: int) -> None:
    Slow.may = asyncio.Event()
    Slow.may.set()
    pool = ProviderPool({}, workers=workers)
    pool.apply({0: ProviderRecord(0, "*", "one", Api.inference, EXCLUSIVE, __name__, {}, "1")})
    await pool.starts_soon(0, 60)
    health = await pool.health(0)
    assert health.ok == (workers == 1)
    assert health.ok or "use --workers 1" in health.message
    await pool.close()
