"""POST /v1/chat/completions, from the URL to an upstream and back."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from apps.registry import service
from apps.registry.models import Model, Provider
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.conftest import add_provider
from tests.upstream import Upstream

HELLO = [{"role": "user", "content": "Hello"}]
URL = "/v1/chat/completions"


def events(text: str) -> list[Any]:
    """The data of each event; the last one may be `[DONE]`."""
    data = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [item if item == "[DONE]" else json.loads(item) for item in data]


async def serve_as(provider: Provider, running: LlamaStack, *names: str, model_type: str = "llm") -> None:
    """Register models of the small upstream that its list leaves out."""
    for name in names:
        changes = {"provider_id": provider.identifier, "provider_model_id": name, "model_type": model_type}
        await db(service.edit_model, Model(identifier=name), {**changes, "metadata": {"embedding_dimension": 2}})
    await running.live.refresh()


async def test_a_chat_is_answered_under_the_name_the_client_asked_for(
    client: httpx.AsyncClient, sky: Provider, upstream: Upstream
) -> None:
    response = await client.post(URL, json={"model": "sky/sky-1", "messages": HELLO})
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["choices"][0]["message"]["content"] == "The sky is blue."
    assert body["model"] == "sky/sky-1"
    assert upstream.requests[-1] == {"model": "sky-1", "messages": HELLO}
    assert upstream.headers[-1]["Authorization"] == "Bearer sk-upstream"


@pytest.mark.parametrize("model", ["sky/sky-1", "nobody"])
async def test_every_answer_has_its_own_request_id(client: httpx.AsyncClient, sky: Provider, model: str) -> None:
    answers = [await client.post(URL, json={"model": model, "messages": HELLO}) for _ in range(2)]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert all(name.startswith("req_") for name in ids)


async def test_what_a_vendor_says_beyond_the_dialect_reaches_the_client(
    client: httpx.AsyncClient, sky: Provider
) -> None:
    body = (await client.post(URL, json={"model": "sky/sky-1", "messages": HELLO})).json()
    assert body["choices"][0]["message"]["reasoning_content"] == "I looked up."
    assert body["usage"]["total_tokens"] == 9


async def test_parameters_reach_the_vendor_as_the_client_wrote_them(
    client: httpx.AsyncClient, sky: Provider, upstream: Upstream
) -> None:
    sent = {
        "temperature": 0,
        "top_p": 0.5,
        "stop": ["x"],
        "seed": 7,
        "n": 1,
        "max_tokens": 3,
        "vendor_field": {"a": None},
    }
    await client.post(URL, json={"model": "sky/sky-1", "messages": HELLO, **sent})
    assert upstream.requests[-1] == {"model": "sky-1", "messages": HELLO, **sent}


FORMS: list[dict[str, Any]] = [
    {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "string"}}}},
    {"response_format": {"type": "json_object"}},
    {"structured_outputs": {"regex": "a+"}, "guided_json": {"$ref": "https://example.com"}},
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("url", "prompt"), [(URL, {"messages": HELLO}), ("/v1/completions", {"prompt": "Hello"})])
async def test_the_form_an_answer_must_have_reaches_the_vendor(
    client: httpx.AsyncClient, sky: Provider, upstream: Upstream, form: Any, url: str, prompt: Any
) -> None:
    await client.post(url, json={"model": "sky/sky-1", **prompt, **form})
    assert upstream.requests[-1] == {"model": "sky-1", **prompt, **form}


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"type": "xml"}, "response_format"),
        ({"type": "json_schema", "json_schema": {"schema": {}}}, "response_format.json_schema.name"),
        ({"type": "json_schema"}, "response_format.json_schema"),
    ],
)
async def test_a_form_that_is_none_is_refused_by_name(
    client: httpx.AsyncClient, sky: Provider, form: Any, param: str
) -> None:
    answer = await client.post(URL, json={"model": "sky/sky-1", "messages": HELLO, "response_format": form})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_body_nested_without_end_is_refused(client: httpx.AsyncClient, sky: Provider) -> None:
    schema = '{"items":' * 50_000 + "{}" + "}" * 50_000
    form = f'{{"type":"json_schema","json_schema":{{"name":"a","schema":{schema}}}}}'
    body = f'{{"model":"sky/sky-1","messages":{json.dumps(HELLO)},"response_format":{form}}}'
    answer = await client.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


async def test_a_stream_ends_in_done_and_carries_usage_when_asked(client: httpx.AsyncClient, sky: Provider) -> None:
    body = {"model": "sky/sky-1", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    response = await client.post(URL, json=body)
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["x-accel-buffering"] == "no"
    *chunks, usage, done = events(response.text)
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "The sky is blue."
    assert {chunk["model"] for chunk in chunks} == {"sky/sky-1"}
    assert chunks[0]["choices"][0] == {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 9)


async def test_a_stream_without_usage_asked_has_none(client: httpx.AsyncClient, sky: Provider) -> None:
    response = await client.post(URL, json={"model": "sky/sky-1", "messages": HELLO, "stream": True})
    assert not any("usage" in chunk for chunk in events(response.text)[:-1])


@pytest.mark.parametrize("model", ["cut", "broken"])
async def test_a_stream_that_fails_ends_in_an_error_event_and_never_in_done(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, model: str
) -> None:
    await serve_as(sky, running, model)
    response = await client.post(URL, json={"model": model, "messages": HELLO, "stream": True})
    *_, last = events(response.text)
    assert response.status_code == 200
    assert last["error"]["type"] == "upstream_error"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("upstreams", "ours"),
    [(400, 400), (404, 404), (422, 400), (429, 429), (401, 401), (403, 403), (500, 502), (504, 504)],
)
async def test_an_upstreams_refusal_keeps_its_meaning(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, upstreams: int, ours: int, stream: bool
) -> None:
    await serve_as(sky, running, f"status-{upstreams}")
    response = await client.post(URL, json={"model": f"status-{upstreams}", "messages": HELLO, "stream": stream})
    assert response.status_code == ours
    assert "told you so" in response.json()["error"]["message"]
    assert response.headers.get("retry-after") == ("7" if ours == 429 else None)


async def test_an_upstream_that_answers_nonsense_is_a_bad_gateway(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    await serve_as(sky, running, "nonsense")
    response = await client.post(URL, json={"model": "nonsense", "messages": HELLO})
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_error")


async def test_an_upstream_that_cannot_be_reached_is_a_bad_gateway_and_the_log_says_why(
    client: httpx.AsyncClient, running: LlamaStack, caplog: pytest.LogCaptureFixture
) -> None:
    row = await db(add_provider, "dead", base_url="http://127.0.0.1:9/v1")
    await serve_as(row, running, "dead-model")
    response = await client.post(URL, json={"model": "dead-model", "messages": HELLO})
    assert response.status_code == 502
    assert "cannot be reached at http://127.0.0.1:9/v1" in response.json()["error"]["message"]
    [logged] = [record.message for record in caplog.records if record.name == "django.request"]
    assert "127.0.0.1:9/v1" in logged
    assert response.headers["x-request-id"] in logged


async def test_the_upstream_is_closed_when_the_client_goes(
    running: LlamaStack, client: httpx.AsyncClient, sky: Provider, upstream: Upstream
) -> None:
    """Straight into the application: a client of httpx's ASGI transport cannot leave in the middle."""
    from llamastack.asgi import application

    await serve_as(sky, running, "endless")
    body = json.dumps({"model": "endless", "messages": HELLO, "stream": True}).encode()
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": URL, "query_string": b"", "headers": headers}
    started = asyncio.Event()

    async def messages() -> Any:
        yield {"type": "http.request", "body": body, "more_body": False}
        await started.wait()
        yield {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if b"more" in message.get("body", b""):
            started.set()

    received = messages()
    await application(scope, received.__anext__, send)
    async with asyncio.timeout(30):
        await upstream.closed.wait()


# --- bad input ---


def image(url: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"messages": None}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"content": "no role"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": {"a": 1}}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "messages[0].content[0]"),
        ({"messages": image({"url": "x", "detail": "most"})}, "messages[0].content[0].image_url.detail"),
        ({"messages": image({"detail": "low"})}, "messages[0].content[0].image_url.url"),
        ({"messages": image("data:image/png;base64,AAAA")}, "messages[0].content[0].image_url"),
        ({"model": 7}, "model"),
        ({"model": ""}, "model"),
        ({"model": "x" * 1_000_000}, "model"),
        ({"n": 1_000_000}, "n"),
        ({"n": 0}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stream": "perhaps"}, "stream"),
        ({"stream": "true"}, "stream"),
        ({"n": "2"}, "n"),
        ({"n": True}, "n"),
        ({"temperature": "0.5"}, "temperature"),
        ({"logit_bias": {"1": "5"}}, "logit_bias.1"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"logit_bias": {str(token): 1 for token in range(200_000)}}, "logit_bias"),
        ({"logprobs": 1}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": False, "stream_options": {}}, "stream_options"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
        ({"seed": 2**70}, "seed"),
        ({"logit_bias": {"1": "inf"}}, "logit_bias.1"),
    ],
)
async def test_a_wrong_field_is_named(client: httpx.AsyncClient, sky: Provider, change: Any, field: str) -> None:
    response = await client.post(URL, json={"model": "sky/sky-1", "messages": HELLO} | change)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"]) == (400, "invalid_request_error", field)
    assert response.json()["detail"] == error["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": [{}] * 100_000}]},
        {"messages": [{"role": "assistant", "tool_calls": [1] * 100_000}]},
        {"tools": [1] * 100_000},
        {"logit_bias": dict.fromkeys(map(str, range(100_000)), "x")},
    ],
)
async def test_a_hundred_thousand_wrong_items_are_refused_at_once(
    client: httpx.AsyncClient, sky: Provider, change: Any
) -> None:
    body = json.dumps({"model": "sky/sky-1", "messages": HELLO} | change)
    started = time.process_time()  # of this process alone, whatever else the machine has to do
    response = await client.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, time.process_time() - started < 2) == (400, True)


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff\xfe", b'{"model": NaN}', b"[" * 10_000 + b"]" * 10_000])
async def test_what_is_no_json_object_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")


async def test_an_empty_body_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post(URL, content=b"", headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "body")


async def test_a_body_of_depth_ten_thousand_is_refused(client: httpx.AsyncClient) -> None:
    body = b'{"a":' * 10_000 + b"1" + b"}" * 10_000
    response = await client.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")


async def test_a_body_of_depth_sixty_five_is_refused(client: httpx.AsyncClient) -> None:
    body = b'{"a":' * 65 + b"1" + b"}" * 65
    response = await client.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert "nested more than 64 deep" in response.json()["error"]["message"]


async def test_an_unknown_model_is_404_and_near_ones_are_named(client: httpx.AsyncClient, sky: Provider) -> None:
    response = await client.post(URL, json={"model": "sky-l", "messages": HELLO})
    assert response.status_code == 404
    assert "'sky/sky-1'" in response.json()["error"]["message"]


async def test_a_model_of_another_type_is_400(client: httpx.AsyncClient, running: LlamaStack, sky: Provider) -> None:
    await serve_as(sky, running, "vectors", model_type="embedding")
    response = await client.post(URL, json={"model": "vectors", "messages": HELLO})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "model")


async def test_a_model_whose_provider_is_gone_is_503(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    await db(service.edit_provider, sky, {}, False)
    await running.live.refresh()
    response = await client.post(URL, json={"model": "sky/sky-1", "messages": HELLO})
    assert response.status_code == 503
    assert "'sky'" in response.json()["error"]["message"]
