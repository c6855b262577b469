"""POST /v1/embeddings, from the URL to an upstream and back."""

from typing import Any

import httpx
import pytest

from apps.registry.models import Provider
from llamastack.stack import LlamaStack
from tests.unit.inference.test_chat_completions import serve_as
from tests.upstream import Upstream

URL = "/v1/embeddings"


@pytest.fixture
async def vectors(running: LlamaStack, sky: Provider) -> str:
    await serve_as(sky, running, "vectors", model_type="embedding")
    return "vectors"


@pytest.mark.parametrize("given", ["one", ["one", "two"], [1, 2, 3], [[1], [2, 3]]])
async def test_every_form_of_input_reaches_the_vendor(
    client: httpx.AsyncClient, vectors: str, upstream: Upstream, given: Any
) -> None:
    response = await client.post(URL, json={"model": vectors, "input": given})
    assert response.status_code == 200, response.text
    assert response.json()["model"] == vectors
    assert upstream.requests[-1]["input"] == given


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": {"text": "x"}}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
    ],
)
async def test_a_wrong_field_is_named(client: httpx.AsyncClient, vectors: str, change: Any, field: str) -> None:
    response = await client.post(URL, json={"model": vectors, "input": "x"} | change)
    assert (response.status_code, response.json()["error"]["param"]) == (400, field)


async def test_an_empty_list_is_told_from_a_wrong_type(client: httpx.AsyncClient, vectors: str) -> None:
    response = await client.post(URL, json={"model": vectors, "input": []})
    assert "at least 1 item" in response.json()["error"]["message"]


async def test_a_chat_model_is_400(client: httpx.AsyncClient, sky: Provider) -> None:
    response = await client.post(URL, json={"model": "sky/sky-1", "input": "x"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "model")
