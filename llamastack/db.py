"""The one way from async code to the ORM: a bounded pool of threads, each without a connection before and after."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import DataError, InterfaceError, OperationalError, connections

from llamastack.errors import BadRequest, Unavailable

THREADS = 8
RETRY_SECONDS = 5
T = TypeVar("T")
P = ParamSpec("P")
_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="db")


async def db(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` where the ORM may be used. It returns plain values, never a lazy query or a row that loads more.

    Raises Unavailable (503 with Retry-After) while the database cannot be reached.
    """
    return await asyncio.get_running_loop().run_in_executor(_pool, lambda: _guarded(lambda: work(*args, **kwargs)))


def _guarded(work: Callable[[], T]) -> T:
    try:
        return work()
    except (OperationalError, InterfaceError) as error:
        raise unavailable() from error
    except DataError as error:
        raise BadRequest("The database cannot hold a value of this request, such as a NUL character.") from error
    finally:
        connections.close_all()


def unavailable() -> Unavailable:
    """The error of a database that is gone: try again soon."""
    return Unavailable("The database cannot be reached; try again shortly.", retry_after=RETRY_SECONDS)
