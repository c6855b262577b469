"""POST /v1/chat/completions, from the URL to an upstream and back."""

import httpx

from apps.registry.models import Provider
from tests.upstream import Upstream

HELLO = [{"role": "user", "content": "Hello"}]


async def test_a_chat_is_answered_under_the_name_the_client_asked_for(
    client: httpx.AsyncClient, sky: Provider, upstream: Upstream
) -> None:
    response = await client.post("/v1/chat/completions", json={"model": "sky/sky-1", "messages": HELLO})
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["choices"][0]["message"]["content"] == "The sky is blue."
    assert body["model"] == "sky/sky-1"
    assert upstream.requests[-1] == {"model": "sky-1", "messages": HELLO}
    assert upstream.headers[-1]["Authorization"] == "Bearer sk-upstream"
