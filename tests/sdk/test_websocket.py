"""/ws/chat and /ws/jobs on a real uvicorn and a real daphne, with a key required."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests import upstream as dialect
from tests.live import discovered
from tests.servers import ANSWER_SECONDS, Server, serving
from tests.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO = [{"role": "user", "content": "Hello"}]
SMALL = 100_000


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def upstream() -> AsyncIterator[Upstream]:
    async with dialect.serving(Upstream(models=["sky-1", "endless", "held"])) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["uvicorn", "daphne"])
async def server(
    request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    env = {"OPENAI_API_KEY": "sk-upstream", "OPENAI_BASE_URL": upstream.url}
    env |= {"LLAMA_STACK_AUTH": "required", "LLAMA_STACK_MAX_BODY_BYTES": str(SMALL)}
    home: Path = tmp_path_factory.mktemp("home")
    with ExitStack() as stack:
        running = serving("remote-only", "--server", request.param, home=home, env=env)
        server = await asyncio.to_thread(stack.enter_context, running)
        await asyncio.to_thread(discovered, server, {"Authorization": f"Bearer {server.first_key}"})
        yield server


def socket(server: Server, **headers: str) -> connect:
    return connect(f"{server.url.replace('http', 'ws')}/ws/chat", additional_headers=headers, proxy=None)


def with_key(server: Server) -> connect:
    return socket(server, Authorization=f"Bearer {server.first_key}")


async def received(chat: ClientConnection) -> Any:
    text = await asyncio.wait_for(chat.recv(), ANSWER_SECONDS)
    return text if text == "[DONE]" else json.loads(text)


async def ask(chat: ClientConnection, model: str) -> None:
    await chat.send(json.dumps({"model": model, "messages": HELLO}))


async def answer(chat: ClientConnection) -> str:
    said = ""
    while (message := await received(chat)) != "[DONE]":
        said += message["choices"][0]["delta"].get("content") or ""
    return said


async def refusal(chat: ClientConnection) -> Any:
    """The code of the error that is answered, or with which the socket is closed."""
    try:
        return (await received(chat))["error"]["code"]
    except ConnectionClosed:
        return chat.close_code


async def test_chats_and_a_cancel_on_one_socket(server: Server, upstream: Upstream) -> None:
    upstream.closed.clear()
    async with with_key(server) as chat:
        await ask(chat, "openai/sky-1")
        assert await answer(chat) == "The sky is blue."
        await ask(chat, "openai/endless")
        await received(chat)
        await chat.send('{"type": "cancel"}')
        while (message := await received(chat)).get("object") == "chat.completion.chunk":
            pass
        assert message == {"type": "cancelled"}
        await upstream.until_closed()
        await ask(chat, "openai/sky-1")
        assert await answer(chat) == "The sky is blue."


@pytest.mark.parametrize("politely", [True, False])
async def test_a_client_that_goes_closes_the_upstream(server: Server, upstream: Upstream, politely: bool) -> None:
    upstream.closed.clear()
    async with with_key(server) as chat:
        await ask(chat, "openai/endless")
        await received(chat)
        if not politely:
            chat.transport.abort()
    await upstream.until_closed()


async def test_a_client_that_goes_before_the_first_chunk_closes_the_upstream_too(
    server: Server, upstream: Upstream
) -> None:
    upstream.closed.clear()
    async with with_key(server) as chat:
        before = len(upstream.requests)
        await ask(chat, "openai/held")
        while len(upstream.requests) == before:
            await asyncio.sleep(0.01)
    await upstream.until_closed()


async def test_without_a_key_the_socket_is_closed_with_4401(server: Server) -> None:
    async with socket(server) as chat:
        await ask(chat, "openai/sky-1")
        assert (await received(chat))["error"]["code"] == "invalid_api_key"
        with pytest.raises(ConnectionClosed):
            await received(chat)
    assert chat.close_code == 4401


async def test_a_page_of_another_site_gets_no_socket(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await socket(server, Origin="https://elsewhere.example")
    assert refused.value.response.status_code == 403


async def test_too_large_a_message_does_no_harm(server: Server) -> None:
    """Uvicorn closes with 1009 before it has read it all; daphne drops the connection."""
    async with with_key(server) as chat:
        await chat.send(json.dumps({"model": "m" * SMALL}))
        assert await refusal(chat) in (1009, 1006)
    async with with_key(server) as chat:
        await ask(chat, "openai/sky-1")
        assert await answer(chat) == "The sky is blue."


@asynccontextmanager
async def held_batch(server: Server) -> AsyncIterator[str]:
    """The job of a batch whose one line is not answered, ended at last."""
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
    text = json.dumps({**line, "body": {"model": "openai/held", "messages": HELLO}}).encode()
    headers = {"Authorization": f"Bearer {server.first_key}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=ANSWER_SECONDS) as client:
        form = {"files": {"file": ("lines.jsonl", text)}, "data": {"purpose": "batch"}}
        file = (await client.post("/v1/files", **form)).json()["id"]  # type: ignore[arg-type]
        asked = {"input_file_id": file, "endpoint": line["url"], "completion_window": "24h"}
        assert (await client.post("/v1/batches", json=asked)).status_code == 200
        job_id = (await client.get("/v1alpha/jobs", params={"kind": "batch", "limit": 1})).json()["data"][0]["id"]
        yield job_id
        await client.post(f"/v1alpha/jobs/{job_id}/cancel")


def of_job(server: Server, job_id: str, **headers: str) -> connect:
    return connect(f"{server.url.replace('http', 'ws')}/ws/jobs/{job_id}", additional_headers=headers, proxy=None)


async def test_a_job_is_watched_until_it_is_cancelled(server: Server) -> None:
    key = {"Authorization": f"Bearer {server.first_key}"}
    async with held_batch(server) as job_id, of_job(server, job_id, **key) as watch:
        while (job := await received(watch)).get("progress") != {"done": 0, "total": 1}:
            pass
        assert (job["kind"], job["status"]) == ("batch", "running")
        async with httpx.AsyncClient(base_url=server.url, headers=key, timeout=ANSWER_SECONDS) as client:
            assert (await client.post(f"/v1alpha/jobs/{job_id}/cancel")).status_code == 200
        while (told := await received(watch)).get("status") != "cancelled":
            pass
        assert told["id"] == job_id
        with pytest.raises(ConnectionClosed):
            await received(watch)
    assert watch.close_code == 1000


async def test_whose_job_it_is_not_is_told_nothing(server: Server) -> None:
    async with held_batch(server) as job_id, of_job(server, job_id, Authorization="Bearer lls-wrong") as stranger:
        assert await refusal(stranger) == "invalid_api_key"
        await stranger.wait_closed()
    async with of_job(server, "job_none", Authorization=f"Bearer {server.first_key}") as lost:
        assert (await received(lost))["error"]["param"] == "job_id"
        await lost.wait_closed()
    assert (stranger.close_code, lost.close_code) == (4401, 4404)
    with pytest.raises(InvalidStatus) as refused:
        await of_job(server, job_id, Origin="https://elsewhere.example")
    assert refused.value.response.status_code == 403


async def test_a_server_that_stops_ends_its_sockets_and_what_runs_on_them(server: Server, upstream: Upstream) -> None:
    """The last test: it stops the server."""
    upstream.closed.clear()
    async with with_key(server) as idle, with_key(server) as chat:
        await ask(chat, "openai/endless")
        await received(chat)
        assert await asyncio.to_thread(server.stop) == 0
        await upstream.until_closed()
        await asyncio.wait_for(idle.wait_closed(), 30)
