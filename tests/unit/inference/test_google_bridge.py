"""HTTP for google-auth by our own egress, which it asks for from a thread."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.auth.exceptions import TransportError

from apps.inference.providers.remote.vertexai.bridge import Bridge
from llamastack.egress import Egress
from tests.unit.inference.scripted import Asked, Line, Status, scripted


@asynccontextmanager
async def bridge(line: Line) -> AsyncIterator[tuple[Bridge, str]]:
    async with scripted({"POST /token": line}) as server:
        egress = Egress(server.url, "Provider 'vertexai'", {"Authorization": "Bearer ours"})
        try:
            yield Bridge(egress, asyncio.get_running_loop()), f"{server.url}/token"
        finally:
            await egress.close()


async def test_a_reply_comes_as_google_auth_reads_it_whatever_its_status() -> None:
    async with bridge(Status(403, {"error": "x"})) as (asking, url):
        reply = await asyncio.to_thread(asking, url, "POST", "a=1", {"X-One": "1"}, retries=3)
    assert (reply.status, reply.data) == (403, b'{"error": "x"}')
    assert reply.headers["content-type"].startswith("application/json")


async def test_a_server_that_does_not_answer_in_time_is_a_failure_of_transport() -> None:
    left = asyncio.Event()

    async def silent(asked: Asked) -> Any:
        await left.wait()

    async with bridge(silent) as (asking, url):
        with pytest.raises(TransportError, match="did not answer in time"):
            await asyncio.to_thread(asking, url, "POST", timeout=0.05)
        left.set()


async def test_a_server_that_cannot_be_reached_is_told_in_our_words() -> None:
    async with bridge({}) as (asking, _):
        with pytest.raises(TransportError, match=r"'vertexai' cannot be reached at http://127\.0\.0\.1:9/token"):
            await asyncio.to_thread(asking, "http://127.0.0.1:9/token", "POST", b"a=1")
