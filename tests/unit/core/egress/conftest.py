from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.core.egress import speaking
from tests.unit.core.egress.networks import Authority


@pytest.fixture(params=speaking.TRANSPORTS)
def each_transport(request: pytest.FixtureRequest) -> Iterator[str]:
    """The test runs over our own connections, and over aiohttp's client, which does what they do not."""
    before, speaking.chosen = speaking.chosen, request.param
    yield request.param
    speaking.chosen = before


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "stranger")
