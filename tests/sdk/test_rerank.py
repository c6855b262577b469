"""Reranking by the official clients that know it: ogx-client 1.1, and llama-stack-client 0.7 of npm.

llama-stack-client of PyPI knows it from 0.3 on, which needs Python 3.12.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ogx_client
import pytest
from ogx_client import AsyncOgxClient, OgxClient

from tests.live import SERVERS
from tests.servers import ANSWER_SECONDS, Server, serving
from tests.upstream import Upstream, in_thread

NODE = Path(__file__).parent / "node"
QUERY = "capital of France"
ITEMS = ["Cats sleep", "Paris is the capital of France", "The capital"]
RANKING = [1, 2, 0]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with in_thread() as running:
        yield running


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("rerank")
    env = {"VLLM_URL": upstream.url}
    with serving("remote-only", "--server", request.param, home=home, env=env) as running:
        model = {"model_id": "ranker", "provider_id": "vllm", "model_type": "rerank"}
        assert httpx.post(f"{running.url}/v1/models", json=model, timeout=ANSWER_SECONDS).status_code == 200
        yield running


def test_ogx_client_1_1(server: Server) -> None:
    with OgxClient(base_url=server.url) as client:
        ranked = client.alpha.inference.rerank(model="ranker", query=QUERY, items=ITEMS)
        assert [found.index for found in ranked] == RANKING
        assert ranked[0].relevance_score == 0.75
        parts: Any = [{"text": item, "type": "text"} for item in ITEMS]
        two = client.alpha.inference.rerank(model="ranker", query={"text": QUERY}, items=parts, max_num_results=2)
        assert [found.index for found in two] == RANKING[:2]
        with pytest.raises(ogx_client.NotFoundError):
            client.alpha.inference.rerank(model="nobody", query=QUERY, items=ITEMS)
        with pytest.raises(ogx_client.BadRequestError, match="items"):
            client.alpha.inference.rerank(model="ranker", query=QUERY, items=[])


async def test_ogx_client_1_1_async(server: Server) -> None:
    async with AsyncOgxClient(base_url=server.url) as client:
        ranked = await client.alpha.inference.rerank(model="ranker", query=QUERY, items=ITEMS)
    assert [found.index for found in ranked] == RANKING


def test_its_list_says_which_model_reranks(server: Server) -> None:
    with OgxClient(base_url=server.url) as client:
        models: dict[str, Any] = {model.id: model for model in client.models.list().data}
    assert models["ranker"].custom_metadata["model_type"] == "rerank"


@pytest.mark.node
def test_the_npm_client(server: Server) -> None:
    command = ["node", "rerank.mjs", server.url, "ranker", QUERY, *ITEMS]
    ran = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert [found["index"] for found in said["ranked"]] == RANKING
    assert said["refused"] == 404
