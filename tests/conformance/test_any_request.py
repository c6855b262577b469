"""Whatever a client sends is answered, and with no server error: any JSON, and good requests with something wrong."""

import copy
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.live import EMBEDDING, RERANK, Live

pytestmark = [pytest.mark.local_model, pytest.mark.slow, pytest.mark.timeout(300)]

CHAT = "SmolLM2-135M-Instruct"
FAST = "openai/sky-1"
STORE = "any"  # a vector store
PATHS = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1alpha/inference/rerank",
    "/v1/vector_stores",
    f"/v1/vector_stores/{STORE}/search",
    "/v1/vector-io/insert",
    "/v1/models",
]
BOUNDS = ("max_tokens", "max_completion_tokens", "n", "best_of")
HANG_SECONDS = 60
FEW = settings(max_examples=150, derandomize=True, database=None, suppress_health_check=list(HealthCheck))

FEWER = settings(FEW, max_examples=40)  # an unknown model is looked for once more, which takes a quarter of a second

FUNCTION = {"name": "weather", "description": "Tells it", "parameters": {"type": "object", "properties": {"city": {}}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
GENERATION = {
    "model": FAST,
    "max_tokens": 3,
    "temperature": 0.5,
    "top_p": 0.9,
    "n": 2,
    "stop": ["END"],
    "seed": 7,
    "user": "u",
    "stream": True,
    "stream_options": {"include_usage": True},
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "logit_bias": {"5": 1.5},
}
GOOD: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {"model": CHAT, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3},
        GENERATION | {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]},
        {
            "model": CHAT,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "How is Rome?", "name": "ada"},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "Sunny"},
            ],
            "tools": [{"type": "function", "function": FUNCTION}],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "parallel_tool_calls": False,
            "max_completion_tokens": 3,
        },
        {
            "model": CHAT,
            "messages": [{"role": "user", "content": "A number"}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}},
            "logprobs": True,
            "top_logprobs": 2,
            "max_tokens": 3,
            "metadata": {"a": "b"},
            "store": False,
        },
        {
            "model": CHAT,
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}
            ],
            "max_tokens": 3,
        },
    ],
    "/v1/completions": [
        GENERATION | {"prompt": "The sky", "echo": False, "suffix": None, "logprobs": 2},
        {"model": CHAT, "prompt": [[1, 2, 3], [4]], "max_tokens": 2, "echo": True, "logprobs": 1},
    ],
    "/v1/embeddings": [
        {"model": "all-MiniLM-L6-v2", "input": ["a cat", "a kitten"], "encoding_format": "base64", "user": "u"},
        {"model": EMBEDDING, "input": [[1, 2]], "dimensions": 2},
    ],
    "/v1alpha/inference/rerank": [
        {"model": RERANK, "query": "a cat", "items": ["a dog", "a cat"], "max_num_results": 1},
        {"model": RERANK, "query": {"type": "text", "text": "a cat"}, "items": [{"text": "a dog"}], "top": 1},
    ],
    "/v1/vector_stores": [
        {
            "name": "facts",
            "description": "What is known",
            "metadata": {"a": "b", "number": 1.5},
            "expires_after": {"anchor": "last_active_at", "days": 7},
            "chunking_strategy": {
                "type": "static",
                "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 50},
            },
            "embedding_model": EMBEDDING,
            "embedding_dimension": 2,
        },
        {"file_ids": [], "chunking_strategy": {"type": "auto"}, "embedding_model": EMBEDDING},
    ],
    f"/v1/vector_stores/{STORE}/search": [
        {
            "query": ["a cat", "a dog"],
            "max_num_results": 3,
            "filters": {
                "type": "and",
                "filters": [
                    {"type": "gte", "key": "year", "value": 2020},
                    {"type": "or", "filters": [{"type": "in", "key": "kind", "value": ["a", "b"]}]},
                ],
            },
            "ranking_options": {"ranker": "weighted", "score_threshold": 0.1, "alpha": 0.4},
            "rewrite_query": False,
            "search_mode": "hybrid",
        },
        {"query": "a cat", "search_mode": "keyword", "filters": {"type": "ne", "key": "draft", "value": True}},
    ],
    "/v1/vector-io/insert": [
        {
            "vector_store_id": STORE,
            "chunks": [
                {
                    "content": "A cat.",
                    "chunk_id": "cat",
                    "metadata": {"document_id": "pets", "year": 2021},
                    "chunk_metadata": {"document_id": "pets", "source": "pets.txt"},
                    "embedding": [0.5, 1.0],
                    "embedding_dimension": 2,
                    "embedding_model": EMBEDDING,
                },
                {"content": [{"type": "text", "text": "A dog."}], "metadata": {"document_id": "pets"}},
            ],
        }
    ],
    "/v1/models": [
        {
            "model_id": "made",
            "provider_id": "openai",
            "provider_model_id": "sky-1",
            "model_type": "llm",
            "metadata": {},
        },
        {"model_id": "made/too", "model_type": "embedding", "metadata": {"embedding_dimension": 4}},
        {
            "model_id": "made/of/several",
            "homes": [
                {"provider_id": "openai", "provider_model_id": "sky-1", "weight": 3},
                {"model": "openai/sky-2", "order": 1},
            ],
            "affinity": "metadata.session",
        },
    ],
}
# What JSON can say and programs forget: numbers of any size, NUL, halves of surrogate pairs, marks that join.
ODD = [
    "",
    "\x00",
    "\ud800",
    "\udfff\ud800",
    "e\u0301" * 40,
    "\u202e",
    "\U0001f468\u200d\U0001f469",
    "x" * 5000,
    "../..",
    "%s{0}",
]
NUMBERS = [0, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, -0.0, 5e-324, float("nan"), float("inf")]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=20),
    st.sampled_from(ODD),
    st.sampled_from(NUMBERS),
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.sampled_from(ODD), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def http(starter: Live) -> Iterator[httpx.Client]:
    """Whoever hangs is a failure, and so is what the server's log calls one."""
    with httpx.Client(base_url=starter.url, timeout=HANG_SECONDS, trust_env=False) as client:
        client.post("/v1/chat/completions", json=GOOD["/v1/chat/completions"][0])  # the model is loaded from now on
        client.post("/v1/vector-dbs", json={"vector_db_id": STORE, "embedding_model": EMBEDDING})
        yield client
    assert "Traceback" not in starter.server.output


def answered(http: httpx.Client, path: str, content: bytes) -> httpx.Response:
    """The answer, after a look at whether it is one."""
    response = http.post(path, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code < 500, (content, response.text)
    if response.status_code >= 400:
        told = response.json()["error"]
        assert told["message"], content
        assert response.status_code != 422
    elif response.headers["content-type"] == "text/event-stream":
        *_, last, _ = response.text.split("\n\n")
        assert last == "data: [DONE]" or json.loads(last[6:])["error"]["type"] != "server_error", (content, last)
    return response


def nested(depth: int, close: bool = True) -> bytes:
    inner = b'{"a":' * depth + (b"1" + b"}" * depth if close else b"")
    return b'{"model": "m", "messages": [{"role": "user", "content": ' + inner + (b"}]}" if close else b"")


@pytest.mark.parametrize("path", PATHS)
@FEW
@given(body=anything)
@example(body=[])
@example(body={"model": "\ud800"})
@example(body={"model": "a\x00b", "messages": [], "input": [], "prompt": None, "model_id": "\x00"})
def test_any_json_is_answered(http: httpx.Client, path: str, body: Any) -> None:
    answered(http, path, json.dumps(body).encode())


@pytest.mark.parametrize("path", PATHS)
@FEW
@given(content=st.binary(max_size=200))
@example(content=b'{"model": 1e999999999}')
@example(content=b'{"model": ' + b"9" * 50_000 + b"}")
@example(content=b"\xef\xbb\xbf{}")
@example(content=b'{"model": "\xff\xfe"}')
@example(content=b'{"model": "m", "model": ["n"]}')
@example(content=nested(10_000))
@example(content=nested(100_000, close=False))
@example(content=nested(60))
def test_any_bytes_are_answered(http: httpx.Client, path: str, content: bytes) -> None:
    answered(http, path, content)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a body."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, value in items for place in [(*path, key), *places(value, (*path, key))]]


def altered(body: dict[str, Any], place: tuple[Any, ...], how: str, value: Any) -> dict[str, Any]:
    """A good body with something wrong at a place."""
    changed = copy.deepcopy(body)
    parent: Any = changed
    for key in place[:-1]:
        parent = parent[key]
    here = parent[place[-1]]
    match how:
        case "remove":
            del parent[place[-1]]
        case "wrap":
            parent[place[-1]] = [here]
        case "many":
            parent[place[-1]] = [here] * 300
        case "text":
            parent[place[-1]] = json.dumps(here)
        case "add" if isinstance(here, dict):
            here["unknown\x00"] = value
        case _:
            parent[place[-1]] = value
    return bounded(changed)


def bounded(body: dict[str, Any]) -> dict[str, Any]:
    """The same, asking for no more than the small model answers at once."""
    return body | {name: 3 for name in BOUNDS if isinstance(body.get(name), int) and 3 < body[name] <= 2**31}


@st.composite
def wrong(draw: st.DrawFn, path: str) -> dict[str, Any]:
    body = draw(st.sampled_from(GOOD[path]))
    for _ in range(draw(st.integers(1, 2))):
        if there := places(body):
            how = draw(st.sampled_from(["value", "value", "value", "remove", "wrap", "many", "text", "add"]))
            body = altered(body, draw(st.sampled_from(there)), how, draw(anything))
    if not {"max_tokens", "max_completion_tokens"} & body.keys() and path.endswith("completions"):
        body["max_tokens"] = 3
    return body


@pytest.mark.parametrize("path", PATHS)
@FEW
@given(data=st.data())
def test_a_good_request_with_something_wrong_is_answered(http: httpx.Client, path: str, data: st.DataObject) -> None:
    answered(http, path, json.dumps(data.draw(wrong(path))).encode())


@pytest.mark.parametrize("path", PATHS[:-1])
def test_what_is_good_is_answered_well(http: httpx.Client, path: str) -> None:
    """Or else the tests above would begin with something wrong."""
    for body in GOOD[path]:
        response = answered(http, path, json.dumps(body).encode())
        assert response.status_code in (200, 204) or "image" in response.text, response.text


@FEWER
@given(name=st.text(max_size=40), limit=st.text(max_size=5) | st.integers().map(str), after=st.text(max_size=40))
@example(name="\x00", limit="-0", after="\x00")
def test_any_path_and_any_query_are_answered(http: httpx.Client, name: str, limit: str, after: str) -> None:
    query = {"limit": limit, "after": after, "order": name, f"metadata[{name}]": after}
    for path in ("/v1/models/", "/v1/chat/completions/", "/v1/providers/", "/v1/"):
        response = http.get(path + quote(name, safe=""), params=query)
        assert response.status_code < 500, (path, name)
    assert http.get("/v1/chat/completions", params=query).status_code < 500
