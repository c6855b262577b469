"""The real servers, for what must hold on each: started once, when the first test asks for one."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.conformance.vendors.served import Served, serving
from tests.live import MAX_BODY, SERVERS, Live, live

PAGE = "https://page.example"


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Live]]:
    """A running server by its kind."""
    variables = {"LLAMA_STACK_MAX_BODY_BYTES": str(MAX_BODY), "LLAMA_STACK_ALLOWED_ORIGINS": PAGE}
    running: dict[str, Live] = {}
    with ExitStack() as stack:

        def get(kind: str) -> Live:
            if kind not in running:
                running[kind] = stack.enter_context(live(kind, tmp_path_factory.mktemp(kind), **variables))
            return running[kind]

        yield get


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, servers: Callable[[str], Live]) -> Live:
    return servers(request.param)


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Uvicorn with the local models and the small upstream."""
    with live("uvicorn", tmp_path_factory.mktemp("starter"), "starter") as running:
        yield running


@pytest.fixture
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """The provider of the vendor that is the parameter, on the vendor's scripted server."""
    async with serving(request.param) as running:
        yield running
