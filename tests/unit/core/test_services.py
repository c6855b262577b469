"""The private PostgreSQL and Redis: they serve, and they go with whoever started them."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError
from redis.retry import Retry

from llamastack.services import Services, ServicesError, start

PARENT = """
import sys
from llamastack.services import start

running = start(durable=False)
print(running.services.database_url, running.services.redis_url, flush=True)
sys.stdin.read()
"""


def answers(url: str) -> bool:
    parts = urlsplit(url)
    with closing(socket.socket()) as client:
        return client.connect_ex((str(parts.hostname), parts.port or 0)) == 0


def silent(found: Services) -> bool:
    return not answers(found.database_url) and not answers(found.redis_url)


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def ask(services: Services, query: str) -> object:
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def test_postgresql_18_speaks_utf8_and_knows_vectors(services: Services) -> None:
    ask(services, "CREATE EXTENSION IF NOT EXISTS vector")
    assert ask(services, "SELECT '[0,0]'::vector <-> '[3,4]'::vector") == 5.0
    assert ask(services, "SHOW server_encoding") == "UTF8"
    assert str(ask(services, "SHOW server_version")).startswith("18.")


def test_redis_answers_only_with_its_password(services: Services) -> None:
    with Redis.from_url(services.redis_url) as client:
        assert client.ping()
    port = urlsplit(services.redis_url).port or 0
    with Redis(port=port, retry=Retry(NoBackoff(), 0)) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()


def test_closing_leaves_nothing_running() -> None:
    running = start(durable=False)
    running.close()
    running.close()
    assert silent(running.services)


def test_data_in_a_directory_of_our_own_survive_a_restart(folder: Path) -> None:
    with start(folder) as services:
        ask(services, "CREATE TABLE kept AS SELECT 42 AS answer")
        with Redis.from_url(services.redis_url) as client:
            client.set("kept", "42")
    with start(folder) as services:
        assert ask(services, "SELECT answer FROM kept") == 42
        with Redis.from_url(services.redis_url) as client:
            assert client.get("kept") == b"42"


def test_nothing_outlives_a_parent_that_was_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        services = Services(*parent.stdout.readline().split())
        assert answers(services.database_url)
        parent.send_signal(signal.SIGKILL)
    assert within(20, lambda: silent(services))


def test_nothing_outlives_a_supervisor_that_was_killed(folder: Path) -> None:
    with (running := start(folder, durable=False)) as services:
        running.supervisor.kill()
        assert within(20, lambda: silent(services))


def test_a_directory_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    with pytest.raises(ServicesError):
        start(taken)
