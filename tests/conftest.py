"""Fixtures for every suite. What must precede Django's settings is in plugin.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from apps.inference.local_models import KNOWN, fetch
from llamastack.services import Services, start
from tests import plugin

# How long an example takes is the machine's affair, and no test's; and each run has the same examples.
settings.register_profile(
    "untimed", settings.default, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def local_models() -> dict[str, Path]:
    """Where the known models lie, by name; every test that needs them is marked `local_model`."""
    return {name: fetch(name) for name in KNOWN}


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """A PostgreSQL and a Redis: those of this run, or on SQLite a pair of their own."""
    if plugin.SERVICES is not None:
        yield plugin.SERVICES.services
        return
    with start(durable=False) as started:
        yield started
