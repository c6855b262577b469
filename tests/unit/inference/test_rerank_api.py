"""POST /v1alpha/inference/rerank, from the URL to an upstream and back."""

from typing import Any

import httpx
import pytest

from apps.registry.models import Provider
from llamastack.stack import LlamaStack
from tests.unit.inference.test_chat_completions import HELLO, serve_as
from tests.upstream import Upstream

URL = "/v1alpha/inference/rerank"
QUERY = "capital of France"
ITEMS = ["Cats sleep", "Paris is the capital of France", "The capital"]
BODY = {"model": "ranker", "query": QUERY, "items": ITEMS}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.fixture
async def ranker(running: LlamaStack, sky: Provider) -> str:
    await serve_as(sky, running, "ranker", model_type="rerank")
    return "ranker"


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"query": {"type": "text", "text": QUERY}, "items": [{"type": "text", "text": item} for item in ITEMS]},
        {"query": {"text": QUERY}, "items": [ITEMS[0], {"text": ITEMS[1]}, ITEMS[2]]},
    ],
)
async def test_items_come_by_their_relevance(
    client: httpx.AsyncClient, ranker: str, upstream: Upstream, change: Any
) -> None:
    response = await client.post(URL, json=BODY | change)
    assert response.status_code == 200, response.text
    assert response.json() == {
        "data": [
            {"index": 1, "relevance_score": 0.75},
            {"index": 2, "relevance_score": 0.25},
            {"index": 0, "relevance_score": 0.0},
        ]
    }
    assert upstream.requests[-1] == {"model": "ranker", "query": QUERY, "documents": ITEMS}


@pytest.mark.parametrize(("asked", "sent"), [(1, 1), (2, 2), (3, 3), (100, 3)])
async def test_no_more_come_than_were_asked_for(
    client: httpx.AsyncClient, ranker: str, upstream: Upstream, asked: int, sent: int
) -> None:
    """Also from a server that ignores `top_n`."""
    response = await client.post(URL, json=BODY | {"max_num_results": asked})
    assert [item["index"] for item in response.json()["data"]] == [1, 2, 0][:asked]
    assert upstream.requests[-1]["top_n"] == sent


async def test_a_vendors_own_field_reaches_it(client: httpx.AsyncClient, ranker: str, upstream: Upstream) -> None:
    response = await client.post(URL, json=BODY | {"truncate_prompt_tokens": 512})
    assert response.status_code == 200
    assert upstream.requests[-1]["truncate_prompt_tokens"] == 512


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"items": None}, "items"),
        ({"items": []}, "items"),
        ({"items": "one"}, "items"),
        ({"items": ["x"] * 2049}, "items"),
        ({"items": ["x", 5]}, "items[1]"),
        ({"items": [{"type": "text"}]}, "items[0].text"),
        ({"items": [{"type": "sound", "text": "x"}]}, "items[0]"),
        ({"items": [{"type": "image_url", "image_url": {}}]}, "items[0].image_url.url"),
        ({"query": None}, "query"),
        ({"query": ["x"]}, "query"),
        ({"query": {}}, "query.text"),
        ({"max_num_results": 0}, "max_num_results"),
        ({"max_num_results": "2"}, "max_num_results"),
        ({"max_num_results": 1.5}, "max_num_results"),
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
    ],
)
async def test_a_wrong_field_is_named(client: httpx.AsyncClient, ranker: str, change: Any, field: str) -> None:
    response = await client.post(URL, json=BODY | change)
    assert (response.status_code, response.json()["error"]["param"]) == (400, field), response.text


async def test_an_image_is_refused_by_what_reranks_text_alone(client: httpx.AsyncClient, ranker: str) -> None:
    response = await client.post(URL, json=BODY | {"items": ["x", IMAGE]})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "unsupported_parameter")
    assert error["param"] == "items[1].image_url"
    assert "Provider 'sky'" in error["message"]
    response = await client.post(URL, json=BODY | {"query": IMAGE})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "query.image_url")


async def test_a_model_of_another_type_is_400(client: httpx.AsyncClient, ranker: str) -> None:
    response = await client.post(URL, json=BODY | {"model": "sky/sky-1"})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "model")
    assert error["message"] == "Model 'sky/sky-1' is of type 'llm'; this endpoint needs 'rerank'."


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/v1/chat/completions", {"messages": HELLO}),
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/embeddings", {"input": "x"}),
    ],
)
async def test_a_model_that_reranks_does_nothing_else(
    client: httpx.AsyncClient, ranker: str, url: str, body: dict[str, Any]
) -> None:
    response = await client.post(url, json=body | {"model": ranker})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "model")
    assert "is of type 'rerank'" in response.json()["error"]["message"]


async def test_an_unknown_model_is_404_with_near_ones(client: httpx.AsyncClient, ranker: str) -> None:
    response = await client.post(URL, json=BODY | {"model": "rankr"})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (404, "model_not_found")
    assert "'ranker'" in error["message"]


@pytest.mark.parametrize(
    ("model", "status", "said"),
    [
        ("status-404", 501, "Provider 'sky' does not rerank with 'status-404': there is no /rerank for it."),
        ("status-405", 501, "Provider 'sky' answered 405: told you so"),
        ("status-501", 501, "Provider 'sky' answered 501: told you so"),
        ("status-400", 400, "told you so"),
        ("status-401", 401, "Check the credentials"),
        ("status-429", 429, "told you so"),
        ("odd", 502, "Provider 'sky' ranked items that it was not given"),
    ],
)
async def test_what_goes_wrong_at_the_upstream_is_told(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, model: str, status: int, said: str
) -> None:
    await serve_as(sky, running, model, model_type="rerank")
    response = await client.post(URL, json=BODY | {"model": model})
    assert response.status_code == status, response.text
    assert said in response.json()["error"]["message"]


async def test_it_is_found_among_the_routes_and_not_under_v1(client: httpx.AsyncClient, sky: Provider) -> None:
    routes = {item["route"]: item for item in (await client.get("/v1/inspect/routes")).json()["data"]}
    assert routes[URL]["provider_types"] == ["remote::openai"]
    assert (await client.post("/v1/inference/rerank", json=BODY)).status_code == 404
    assert (await client.get(URL)).status_code == 405
