"""Fixtures for every suite. What must precede Django's settings is in plugin.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from llamastack.services import Services, start
from tests import plugin


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """A PostgreSQL and a Redis: those of this run, or on SQLite a pair of their own."""
    if plugin.SERVICES is not None:
        yield plugin.SERVICES.services
        return
    with start(durable=False) as started:
        yield started


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """On SQLite the test database is a file, as in the real server: one in memory knows neither WAL nor waiting."""
    if plugin.ON_SQLITE:
        connection.settings_dict["TEST"]["NAME"] = str(Path(plugin.HOME.name) / "test.db")
