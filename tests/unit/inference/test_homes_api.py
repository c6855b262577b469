"""Who is told which home has answered, and where."""

import json
from typing import Any

import httpx
import pytest

from apps.registry import service
from apps.registry.models import Model, Provider
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.inference.test_chat_completions import HELLO, events, serve_as
from tests.unit.inference.test_websocket import messages, socket

SERVED_BY = "x-llamastack-served-by"
CHAT = "/v1/chat/completions"
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"messages": HELLO},
    "/v1/completions": {"prompt": "Hello"},
    "/v1/embeddings": {"input": "Hello"},
    "/v1alpha/inference/rerank": {"query": "sky", "items": ["sea", "sky"]},
}
TYPES = {"/v1/embeddings": "embedding", "/v1alpha/inference/rerank": "rerank"}


async def at_home(running: LlamaStack, *homes: str, model_type: str = "llm") -> None:
    """The model `best` on these models of the provider `sky`, one after another."""
    written = [{"provider_id": "sky", "provider_model_id": home, "order": order} for order, home in enumerate(homes)]
    changes = {"homes": written, "model_type": model_type, "metadata": {"embedding_dimension": 2}}
    await db(service.edit_model, Model(identifier="best"), changes)
    await running.live.refresh()


@pytest.mark.parametrize("url", ASKED)
async def test_every_answer_says_in_a_header_who_served_it(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, url: str
) -> None:
    await serve_as(sky, running, "one", model_type=TYPES.get(url, "llm"))
    answer = await client.post(url, json={"model": "one", **ASKED[url]})
    assert (answer.status_code, answer.headers[SERVED_BY]) == (200, "sky/one")
    assert "served_by" not in answer.text


@pytest.mark.parametrize("url", ASKED)
async def test_of_several_homes_the_one_that_answers_is_told_in_usage_too(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, url: str
) -> None:
    await at_home(running, "status-503", "sky-1", model_type=TYPES.get(url, "llm"))
    answer = await client.post(url, json={"model": "best", **ASKED[url]})
    assert answer.status_code == 200, answer.text
    # The small upstream embeds whatever it is asked for.
    home = "sky/status-503" if url == "/v1/embeddings" else "sky/sky-1"
    assert answer.headers[SERVED_BY] == home
    if url != "/v1alpha/inference/rerank":
        assert (answer.json()["usage"]["served_by"], answer.json()["model"]) == (home, "best")


@pytest.mark.parametrize("url", [CHAT, "/v1/completions"])
async def test_a_stream_tells_it_before_its_first_chunk_and_in_its_usage(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, url: str
) -> None:
    await at_home(running, "status-429", "sky-1")
    options = {"stream": True, "stream_options": {"include_usage": True}}
    answer = await client.post(url, json={"model": "best", **ASKED[url], **options})
    assert answer.headers[SERVED_BY] == "sky/sky-1"
    *_, last, done = events(answer.text)
    assert (last["usage"]["served_by"], done) == ("sky/sky-1", "[DONE]")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_names_no_server(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, stream: bool
) -> None:
    await at_home(running, "status-500", "status-429")
    answer = await client.post(CHAT, json={"model": "best", "messages": HELLO, "stream": stream})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert "last of 2 homes" in answer.json()["error"]["message"]
    assert SERVED_BY not in answer.headers
    one = await client.post(CHAT, json={"model": "nobody", "messages": HELLO, "stream": stream})
    assert SERVED_BY not in one.headers


async def test_a_name_that_no_header_can_hold_is_written_so_that_it_can(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    await serve_as(sky, running, "modèle 1%")
    answer = await client.post(CHAT, json={"model": "modèle 1%", "messages": HELLO})
    assert answer.headers[SERVED_BY] == "sky/mod%C3%A8le%201%25"


async def test_a_stored_chat_keeps_who_served_it(client: httpx.AsyncClient, running: LlamaStack, sky: Provider) -> None:
    await at_home(running, "status-500", "sky-1")
    body = {"model": "best", "messages": HELLO, "store": True}
    answer = (await client.post(CHAT, json=body)).json()
    stored = (await client.get(f"{CHAT}/{answer['id']}")).json()
    assert stored["usage"]["served_by"] == "sky/sky-1"
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *_, last, _ = events((await client.post(CHAT, json=body | options)).text)
    stored = (await client.get(f"{CHAT}/{last['id']}")).json()
    assert (stored["usage"]["served_by"], stored["choices"][0]["message"]["content"]) == (
        "sky/sky-1",
        "The sky is blue.",
    )


async def test_a_websocket_tells_it_in_usage(running: LlamaStack, sky: Provider) -> None:
    await at_home(running, "status-500", "sky-1")
    async with socket() as communicator:
        options = {"stream_options": {"include_usage": True}}
        await communicator.send_to(text_data=json.dumps({"model": "best", "messages": HELLO, **options}))
        *_, last, done = await messages(communicator)
    assert (last["usage"]["served_by"], done) == ("sky/sky-1", "[DONE]")


async def test_a_model_with_several_homes_is_listed_once(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    await at_home(running, "sky-1", "sky-2")
    listed = (await client.get("/v1/models")).json()["data"]
    [best] = [model for model in listed if model["id"] == "best"]
    assert (best["provider_id"], best["provider_resource_id"]) == ("sky", "sky-1")
