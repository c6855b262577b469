"""Stored chat completions: what `store` means, and the routes that read, change and delete them."""

import asyncio
from typing import Any

import httpx

from apps.inference.models import StoredCompletion
from apps.registry.models import Provider
from llamastack.db import db
from tests.unit.inference.test_chat_completions import events

HELLO = [{"role": "user", "content": "Hello"}]
URL = "/v1/chat/completions"


async def chat(client: httpx.AsyncClient, **fields: Any) -> str:
    """The id of a completion that has been answered."""
    response = await client.post(URL, json={"model": "sky/sky-1", "messages": HELLO, "store": True, **fields})
    assert response.status_code == 200, response.text
    chunk = events(response.text)[0] if fields.get("stream") else response.json()
    return str(chunk["id"])


async def until_stored(count: int) -> None:
    async with asyncio.timeout(5):
        while await db(StoredCompletion.objects.count) < count:
            await asyncio.sleep(0.02)


# --- the three meanings of store ---


async def test_a_completion_is_there_as_soon_as_its_answer_is(client: httpx.AsyncClient, sky: Provider) -> None:
    given = {"model": "sky/sky-1", "messages": HELLO, "store": True, "metadata": {"who": "me"}}
    answer = (await client.post(URL, json=given)).json()
    stored = (await client.get(f"{URL}/{answer['id']}")).json()
    assert stored == answer | {"metadata": {"who": "me"}, "input_messages": HELLO}
    assert stored["model"] == "sky/sky-1"
