"""The real server with its local models, for the official clients. One for all tests: they only read.

Every test that asks for it runs on uvicorn and on daphne, but for those ON_ONE: what documents show.
"""

from collections.abc import Iterator

import openai
import pytest

from tests.live import SERVERS
from tests.servers import Server, serving

CHAT = "SmolLM2-135M-Instruct"
EMBEDDING = "all-MiniLM-L6-v2"
ON_ONE = pytest.mark.parametrize("server", SERVERS[:1], indirect=True)


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("starter", "--server", request.param, home=tmp_path_factory.mktemp("sdk")) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client
