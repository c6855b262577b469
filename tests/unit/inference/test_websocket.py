"""/ws/chat: the chat completion in, its chunks out, one chat after another."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from channels.testing import WebsocketCommunicator

from apps.access.models import ApiKey
from apps.inference.consumers import ChatConsumer
from apps.registry.models import Provider
from llamastack import asgi, stack
from llamastack.db import db
from tests.upstream import Upstream

HELLO = [{"role": "user", "content": "Hello"}]
HOST = (b"host", b"localhost")


@asynccontextmanager
async def socket(path: str = "/ws/chat", *headers: tuple[bytes, bytes], app: Any = None) -> AsyncIterator[Any]:
    """An accepted socket; the consumer is gone when the block ends."""
    communicator = WebsocketCommunicator(app or asgi.application, path, [HOST, *headers])
    accepted, code = await communicator.connect(timeout=30)
    assert accepted, code
    try:
        yield communicator
    finally:
        await communicator.disconnect(timeout=30)


async def messages(communicator: Any) -> list[Any]:
    """All messages up to the one that ends a chat."""
    received: list[Any] = []
    while True:
        text = await communicator.receive_from(timeout=30)
        message = text if text == "[DONE]" else json.loads(text)
        received.append(message)
        if message == "[DONE]" or "error" in message or message.get("type"):
            return received


async def closing(communicator: Any) -> int:
    message = await communicator.receive_output(timeout=30)
    assert message["type"] == "websocket.close", message
    code: int = message["code"]
    return code


async def error_of(communicator: Any, body: Any) -> dict[str, Any]:
    """The error that a message is answered with."""
    await communicator.send_to(text_data=body if isinstance(body, str) else json.dumps(body))
    answer: dict[str, Any] = json.loads(await communicator.receive_from(timeout=30))
    assert answer["detail"] == answer["error"]["message"]
    return answer["error"]


def said(received: list[Any]) -> str:
    chunks = [message for message in received if isinstance(message, dict)]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


async def begun(communicator: Any, model: str = "sky/endless") -> None:
    """Start a chat that does not end, and read its first chunk."""
    await communicator.send_json_to({"model": model, "messages": HELLO})
    first = await communicator.receive_json_from(timeout=30)
    assert first["object"] == "chat.completion.chunk", first


@pytest.fixture
async def endless(running: stack.LlamaStack, sky: Provider, upstream: Upstream) -> None:
    """A model whose answer does not end by itself."""
    upstream.models.append("endless")
    await running.live.discover(sky.pk)


@pytest.fixture
async def secret(running: stack.LlamaStack, settings: Any) -> str:
    """The secret of a key, where one is required."""
    settings.AUTH_REQUIRED = True
    _, secret = await db(ApiKey.issue, "test", "tester")
    return secret


# --- chats ---


async def test_a_chat_streams_the_chunks_and_ends_in_done(sky: Provider) -> None:
    async with socket() as chat:
        await chat.send_json_to(
            {"model": "sky/sky-1", "messages": HELLO, "stream_options": {"include_usage": True}, "temperature": 0.5}
        )
        received = await messages(chat)
    assert received[-1] == "[DONE]"
    assert said(received) == "The sky is blue."
    assert {chunk["model"] for chunk in received[:-1]} == {"sky/sky-1"}
    assert received[-2]["usage"]["total_tokens"] == 9


async def test_several_chats_follow_one_another_on_one_socket(sky: Provider, upstream: Upstream) -> None:
    async with socket() as chat:
        for number in range(3):
            await chat.send_json_to({"model": "sky/sky-1", "messages": HELLO, "seed": number})
            assert said(await messages(chat)) == "The sky is blue."
    assert [request["seed"] for request in upstream.requests] == [0, 1, 2]


@pytest.mark.usefixtures("endless")
async def test_a_cancel_stops_the_generation_and_says_so(upstream: Upstream) -> None:
    async with socket() as chat:
        await begun(chat)
        await chat.send_json_to({"type": "cancel"})
        received = await messages(chat)
        assert received[-1] == {"type": "cancelled"}
        await asyncio.wait_for(upstream.closed.wait(), 10)
        assert await chat.receive_nothing(timeout=0.1)
        await chat.send_json_to({"model": "sky/sky-1", "messages": HELLO})
        assert said(await messages(chat)) == "The sky is blue."


async def test_a_cancel_that_comes_too_late_is_harmless(sky: Provider) -> None:
    async with socket() as chat:
        await chat.send_json_to({"type": "cancel"})
        assert await messages(chat) == [{"type": "cancelled"}]


@pytest.mark.usefixtures("endless")
async def test_a_second_chat_while_one_runs_is_refused_and_the_first_goes_on() -> None:
    async with socket() as chat:
        await begun(chat)
        await chat.send_json_to({"model": "sky/sky-1", "messages": HELLO})
        refused = (await messages(chat))[-1]
        assert refused["error"]["code"] == "busy"
        going_on = await chat.receive_json_from(timeout=30)
        assert going_on["choices"][0]["delta"]["content"]


@pytest.mark.usefixtures("endless")
async def test_a_client_that_goes_closes_the_upstream(upstream: Upstream) -> None:
    async with socket() as chat:
        await begun(chat)
    await asyncio.wait_for(upstream.closed.wait(), 10)


async def test_an_answer_that_breaks_off_is_an_error_and_never_done(
    running: stack.LlamaStack, sky: Provider, upstream: Upstream
) -> None:
    upstream.models += ["broken", "cut"]
    await running.live.discover(sky.pk)
    async with socket() as chat:
        for model in ("sky/broken", "sky/cut"):
            await chat.send_json_to({"model": model, "messages": HELLO})
            received = await messages(chat)
            assert received[-1]["error"]["type"] == "upstream_error", received
            assert await chat.receive_nothing(timeout=0.1)


async def test_a_chat_needs_no_redis(sky: Provider, settings: Any) -> None:
    gone = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": ["redis://127.0.0.1:1"]}}
    settings.CHANNEL_LAYERS = {"default": gone}
    async with socket() as chat:
        await chat.send_json_to({"model": "sky/sky-1", "messages": HELLO})
        assert said(await messages(chat)) == "The sky is blue."


# --- errors: those of POST /v1/chat/completions ---

BAD_BODIES: list[Any] = [
    {"model": "no/such", "messages": HELLO},
    {"model": "sky/sky-1"},
    {"model": "sky/sky-1", "messages": []},
    {"model": "sky/sky-1", "messages": HELLO, "temperature": "hot"},
    {"model": "sky/sky-1", "messages": [{"role": "king", "content": "Hello"}]},
    {"model": "sky/sky-1", "messages": HELLO, "n": 10**6},
    {"model": "m" * 1_000_000, "messages": HELLO},
    {},
    [],
    "{",
    '{"model": ' + "[" * 10_000,
    '{"model": ' + "[" * 100 + "]" * 100 + "}",
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_an_error_is_the_one_of_the_http_api(client: httpx.AsyncClient, sky: Provider, body: Any) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    response = await client.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})
    async with socket() as chat:
        assert await error_of(chat, content) == response.json()["error"]
        await chat.send_json_to({"model": "sky/sky-1", "messages": HELLO})
        assert said(await messages(chat)) == "The sky is blue."


@pytest.mark.parametrize("status", [401, 404, 429, 500])
async def test_an_upstream_error_arrives_as_over_http(
    running: stack.LlamaStack, client: httpx.AsyncClient, sky: Provider, upstream: Upstream, status: int
) -> None:
    upstream.models.append(f"status-{status}")
    await running.live.discover(sky.pk)
    body = {"model": f"sky/status-{status}", "messages": HELLO, "stream": True}
    response = await client.post("/v1/chat/completions", json=body)
    async with socket() as chat:
        assert await error_of(chat, body) == response.json()["error"]


async def test_what_a_socket_cannot_do_is_said(running: stack.LlamaStack, settings: Any) -> None:
    settings.MAX_BODY_BYTES = 1000
    async with socket() as chat:
        assert (await error_of(chat, {"model": "m", "messages": HELLO, "stream": False}))["param"] == "stream"
        assert (await error_of(chat, {"type": "shout"}))["param"] == "type"
        assert (await error_of(chat, {"type": "auth"}))["param"] == "api_key"
        assert (await error_of(chat, {"model": "m" * 1000}))["code"] == "request_too_large"
        await chat.send_to(bytes_data=b"{}")
        assert "text" in (await chat.receive_json_from(timeout=30))["detail"]


# --- who may ---


async def test_a_foreign_origin_is_refused_before_anything_else(running: stack.LlamaStack) -> None:
    communicator = WebsocketCommunicator(
        asgi.application, "/ws/chat", [HOST, (b"origin", b"https://elsewhere.example")]
    )
    assert await communicator.connect(timeout=30) == (False, 4403)


async def test_a_socket_elsewhere_is_refused(running: stack.LlamaStack) -> None:
    communicator = WebsocketCommunicator(asgi.application, "/v1/models", headers=[(b"host", b"localhost")])
    assert await communicator.connect(timeout=30) == (False, 4403)


async def test_the_own_origin_is_served(running: stack.LlamaStack) -> None:
    async with socket("/ws/chat", (b"origin", b"http://localhost")) as chat:
        await chat.send_json_to({"type": "cancel"})
        assert await messages(chat) == [{"type": "cancelled"}]


@pytest.mark.parametrize(
    "header", [lambda secret: (b"authorization", b"Bearer " + secret), lambda secret: (b"x-api-key", secret)]
)
async def test_a_key_in_a_header_lets_in(
    sky: Provider, secret: str, header: Callable[[bytes], tuple[bytes, bytes]]
) -> None:
    async with socket("/ws/chat", header(secret.encode())) as chat:
        await chat.send_json_to({"model": "sky/sky-1", "messages": HELLO})
        assert said(await messages(chat)) == "The sky is blue."


async def test_a_key_in_the_first_message_lets_in(sky: Provider, secret: str) -> None:
    async with socket() as chat:
        await chat.send_json_to({"type": "auth", "api_key": secret})
        assert await messages(chat) == [{"type": "authenticated"}]
        await chat.send_json_to({"model": "sky/sky-1", "messages": HELLO})
        assert said(await messages(chat)) == "The sky is blue."


@pytest.mark.usefixtures("secret", "sky")
@pytest.mark.parametrize(
    "message", [{"model": "sky/sky-1", "messages": HELLO}, {"type": "auth", "api_key": "lls-wrong"}, {"type": "cancel"}]
)
async def test_a_first_message_without_a_valid_key_closes_the_socket(message: dict[str, Any]) -> None:
    async with socket() as chat:
        assert (await error_of(chat, message))["code"] == "invalid_api_key"
        assert await closing(chat) == 4401


@pytest.mark.usefixtures("secret")
async def test_a_wrong_key_in_a_header_closes_the_socket() -> None:
    async with socket("/ws/chat", (b"x-api-key", b"lls-wrong")) as chat:
        assert (await chat.receive_json_from(timeout=30))["error"]["code"] == "invalid_api_key"
        assert await closing(chat) == 4401


async def test_a_key_that_is_revoked_opens_no_further_chat(
    running: stack.LlamaStack, sky: Provider, secret: str
) -> None:
    async with socket("/ws/chat", (b"x-api-key", secret.encode())) as chat:
        await chat.send_json_to({"model": "sky/sky-1", "messages": HELLO})
        await messages(chat)
        await db(lambda: [key.revoke() for key in ApiKey.objects.all()])
        await running.live.refresh()
        assert (await error_of(chat, {"model": "sky/sky-1", "messages": HELLO}))["code"] == "invalid_api_key"
        assert await closing(chat) == 4401


@pytest.mark.parametrize("name", ["api_key", "API-Key", "token", "x-api-key"])
async def test_a_key_in_the_url_is_refused_with_the_reason(running: stack.LlamaStack, name: str) -> None:
    async with socket(f"/ws/chat?{name}=lls-1") as chat:
        assert "never in the URL" in (await chat.receive_json_from(timeout=30))["detail"]
        assert await closing(chat) == 1008


# --- time ---


@pytest.mark.usefixtures("secret")
async def test_who_does_not_authenticate_in_time_is_closed() -> None:
    async with socket(app=ChatConsumer.as_asgi(authenticate_seconds=0.05)) as chat:
        assert await closing(chat) == 4401


@pytest.mark.usefixtures("endless")
async def test_an_idle_socket_is_closed_and_one_that_chats_is_not() -> None:
    async with socket(app=ChatConsumer.as_asgi(idle_seconds=0.6)) as chat:
        await begun(chat)
        await chat.send_json_to({"type": "auth", "api_key": "lls-any"})
        while (await chat.receive_json_from(timeout=30)) != {"type": "authenticated"}:
            pass
        deadline = time.monotonic() + 1.2
        while time.monotonic() < deadline:
            assert (await chat.receive_json_from(timeout=30))["choices"]
        await chat.send_json_to({"type": "cancel"})
        await messages(chat)
        assert await closing(chat) == 4408
