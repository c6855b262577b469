"""What carries the ids of jobs: how it waits for Redis."""

import pytest
from kombu.exceptions import OperationalError

from llamastack.celery import SoonBack


def test_a_redis_that_is_away_is_told_of_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[None] = []
    with SoonBack("redis://127.0.0.1:1/0") as connection, pytest.raises(OperationalError):
        connection.ensure_connection(max_retries=2, callback=lambda: tries.append(None))
    assert tries
    (told,) = caplog.messages
    assert told.startswith("Redis, at REDIS_URL, is tried each second, and cannot be used: ")
    assert told.endswith("refused.")
