"""The private PostgreSQL of postgres-demo: shared by processes, and gone with the one that started it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from llamastack.config import database_url, load_config
from llamastack.config.storage import PRIVATE

PROGRAM = """
import sys
from pathlib import Path
from llamastack.private import postgres

print(postgres(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@contextmanager
def process(folder: Path) -> Iterator[str]:
    """The address that a process of its own is told, as long as it runs."""
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield running.stdout.readline().strip()
        finally:
            running.kill()


def value(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchone() if cursor.description else None


def test_it_is_shared_goes_with_its_process_and_keeps_its_rows(folder: Path) -> None:
    with process(folder) as first:
        with process(folder) as second:
            assert second == first
        value(first, "CREATE TABLE kept (number int)")
    with process(folder) as third:  # while the first one's is about to end
        assert value(third, "SELECT count(*) FROM kept") == (0,)


@pytest.mark.parametrize("named", ["POSTGRES_HOST", "DATABASE_URL"])
def test_a_server_that_is_named_wins(named: str) -> None:
    assert database_url(load_config("postgres-demo", env={}), {}).startswith(PRIVATE)
    given = {named: "postgresql://me@db/mine"}
    address = database_url(load_config("postgres-demo", env=given), given)
    assert address.startswith("postgresql://")
