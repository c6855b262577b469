from collections.abc import Iterator

import pytest

from tests.unit.core.egress import speaking


@pytest.fixture(params=speaking.TRANSPORTS)
def each_transport(request: pytest.FixtureRequest) -> Iterator[str]:
    """The test runs over our own connections, and over aiohttp's client, which does what they do not."""
    before, speaking.chosen = speaking.chosen, request.param
    yield request.param
    speaking.chosen = before
