"""The small local models, fetched once; every test that needs them is marked `local_model`."""

from pathlib import Path

import pytest

from apps.inference.local_models import KNOWN, fetch


@pytest.fixture(scope="session")
def local_models() -> dict[str, Path]:
    """Where the known models lie, by name."""
    return {name: fetch(name) for name in KNOWN}
