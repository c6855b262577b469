"""What SQLite needs on the way to the database, and what it means that there is no room on its disk."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from django.db import OperationalError, connection

from apps.access.models import SnapshotVersion
from llamastack.db import THREADS, db
from llamastack.errors import DatabaseFull, NotFound, Unavailable
from tests.servers import serving


def full_sqlite() -> None:
    """As SQLite itself says it of a disk."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("PRAGMA max_page_count = 2")
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")


def full_postgresql() -> None:
    raise psycopg.errors.DiskFull("could not extend file")


def gone() -> None:
    raise psycopg.OperationalError("the connection is closed")


def as_django(work: object) -> None:
    try:
        work()  # type: ignore[operator]
    except (sqlite3.Error, psycopg.Error) as error:
        raise OperationalError(str(error)) from error


@pytest.mark.parametrize(
    ("work", "kind", "status"),
    [(full_sqlite, DatabaseFull, 507), (full_postgresql, DatabaseFull, 507), (gone, Unavailable, 503)],
)
async def test_a_full_disk_of_the_database_is_507_and_what_can_be_tried_again(
    work: object, kind: type[Unavailable], status: int
) -> None:
    with pytest.raises(Unavailable) as caught:
        await db(as_django, work)
    assert (type(caught.value), caught.value.status, caught.value.retry_after) == (kind, status, 5)


async def in_each_thread(work: Callable[[], Any]) -> list[Any]:
    """What comes of it, or is raised, in every thread of the pool at once."""
    together = threading.Barrier(THREADS)

    def joined() -> Any:
        together.wait(timeout=30)
        return work()

    return await asyncio.gather(*(db(joined) for _ in range(THREADS)), return_exceptions=True)


def refusing() -> None:
    SnapshotVersion.current()
    raise NotFound("There is no such row.")


async def test_a_thread_keeps_a_connection_of_sqlite_and_none_of_postgresql(transactional_db: None) -> None:
    await in_each_thread(SnapshotVersion.current)
    is_sqlite = connection.vendor == "sqlite"
    assert await in_each_thread(lambda: connection.connection is not None) == [is_sqlite] * THREADS


async def test_a_thread_keeps_no_connection_after_an_error_whose_traceback_may_hold_rows(
    transactional_db: None,
) -> None:
    refused = await in_each_thread(refusing)
    assert [type(error) for error in refused] == [NotFound] * THREADS
    assert await in_each_thread(lambda: connection.connection is not None) == [False] * THREADS


def test_the_log_of_sqlite_is_kept_from_call_to_call_and_gone_when_the_server_has_stopped(tmp_path: Path) -> None:
    with serving("remote-only", home=tmp_path) as server:
        for _ in range(5):
            assert httpx.get(f"{server.url}/v1/providers", trust_env=False).status_code == 200
            assert len(list(tmp_path.rglob("*.db-wal"))) == 1
        server.stop()
    assert list(tmp_path.rglob("*.db-wal")) == []
