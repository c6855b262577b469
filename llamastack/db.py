"""The one way from async code to the ORM: a bounded pool of threads, none of which holds a connection of PostgreSQL
before and after."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any, ParamSpec, TypeVar

from django.db import DataError, InterfaceError, InternalError, OperationalError, connection, connections

from llamastack.errors import BadRequest, DatabaseFull, Unavailable

THREADS = 8
RETRY_SECONDS = 5
DISK_FULL = "53100"  # PostgreSQL's codes of it,
STOPPED_WITHIN = "25P03"  # and of a transaction in which nothing was said for so long that it was undone
T = TypeVar("T")
P = ParamSpec("P")


class Threads:
    """The pool. It is made anew when it is ended: a Stack inside another program may be started again.

    PostgreSQL's connections go back to Django's own pool after each use. SQLite's stay their thread's until the end:
    to open one takes as long as seven small queries.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="db")
        self._kept: set[Any] = set()
        self.under_way: set[Future[Any]] = set()

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        future = self._pool.submit(work)
        self.under_way.add(future)
        future.add_done_callback(self.under_way.discard)
        return future

    def end(self) -> None:
        ended, self._pool = self._pool, ThreadPoolExecutor(THREADS, thread_name_prefix="db")
        ended.shutdown()
        self.close_kept()

    def settle(self) -> None:
        """Wait a while for what is under way, and close what is kept where nobody uses it any more."""
        if not wait(list(self.under_way), RETRY_SECONDS).not_done:
            self.close_kept()

    def close_kept(self) -> None:
        while self._kept:
            self._kept.pop().close()

    def give_back(self) -> None:
        """What this thread has of the database."""
        wrappers: Any = connections.all(initialized_only=True)
        for wrapper in wrappers:
            if wrapper.vendor != "sqlite" or wrapper.errors_occurred or wrapper.in_atomic_block:
                wrapper.close()
            elif wrapper not in self._kept:
                wrapper.inc_thread_sharing()  # whoever ends the threads closes it
                self._kept.add(wrapper)


_threads = Threads()


async def db(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` where the ORM may be used. It returns plain values, never a lazy query or a row that loads more.

    Raises Unavailable (503 with Retry-After) while the database cannot be reached, and its DatabaseFull (507) while
    there is no room for what is to be written.
    """
    return await asyncio.wrap_future(_threads.submit(lambda: _guarded(lambda: work(*args, **kwargs))))


async def settled() -> None:
    """Wait a while for what is under way, whose callers may have been cancelled: a thread cannot be."""
    await asyncio.to_thread(_threads.settle)


def end() -> None:
    """End the threads, and those of PostgreSQL's pool; who uses the database after this has new ones."""
    _threads.end()
    connections.close_all()
    wrappers: Any = connections.all()
    for wrapper in wrappers:
        if wrapper.vendor == "postgresql":
            wrapper.close_pool()


def _guarded(work: Callable[[], T]) -> T:
    is_done = False
    try:
        done = work()
        is_done = True
        return done
    except (OperationalError, InterfaceError) as error:
        raise unavailable(error) from error
    except InternalError as error:
        if _code(error) != STOPPED_WITHIN:
            raise
        raise unavailable(error) from error
    except DataError as error:
        raise BadRequest("The database cannot hold a value of this request, such as a NUL character.") from error
    finally:
        _threads.give_back() if is_done else connections.close_all()  # a traceback may hold a cursor, and its rows


def held_open() -> AbstractContextManager[object]:
    """To be closed at the end: on SQLite a connection that does nothing, and is there.

    The last connection that closes writes the log back into the database and deletes it, and the next one makes it
    anew. Without one that stays, every call does both, which is three times what a small write costs with it.
    """
    if connection.vendor != "sqlite":
        return nullcontext()
    held = sqlite3.connect(connection.settings_dict["NAME"], check_same_thread=False)
    held.execute("PRAGMA schema_version").fetchall()  # who has read nothing holds nothing
    return closing(held)


def unavailable(error: BaseException) -> Unavailable:
    """What it means to a caller that the database is gone (try again soon), or that there is no room on its disk."""
    if is_full(error):
        return DatabaseFull("The disk of the database is full. Make room on it.", retry_after=RETRY_SECONDS)
    return Unavailable("The database cannot be reached; try again shortly.", retry_after=RETRY_SECONDS)


def is_full(error: BaseException) -> bool:
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return cause.sqlite_errorcode == sqlite3.SQLITE_FULL
    return _code(error) == DISK_FULL


def _code(error: BaseException) -> str | None:
    """psycopg's, where there is one."""
    return getattr(error.__cause__, "sqlstate", None)
