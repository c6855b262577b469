"""Both lanes let in the same callers, and send the same headers on: none of a client's own but what it means to go."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone

from apps.access.models import ApiKey, Usage
from apps.registry import service
from apps.registry.models import Model, Provider
from llamastack import asgi, settings
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.upstream import Upstream

CHAT = "/v1/chat/completions"
DATA = "X-LlamaStack-Provider-Data"
LANE = "x-llamastack-lane"
BODY = {"messages": [{"role": "user", "content": "Hello"}], "store": False}
FOREIGN = {
    "Authorization": "Bearer sk-of-the-client",
    "X-Api-Key": "sk-of-the-client",
    "Cookie": "sessionid=1",
    "X-Forwarded-For": "10.0.0.1",
    "X-Request-Id": "mine",
    "Accept-Encoding": "br",
    "User-Agent": "the client's",
    "Traceparent": "00-1-2-01",
    "X-LlamaStack-Lane": "django",
}


@pytest.fixture
async def lanes(client: httpx.AsyncClient, sky: Provider) -> AsyncIterator[Any]:
    """Asks both lanes for the same, the fast one first; gives their answers."""
    before = settings.FAST_LANE, settings.AUTH_REQUIRED

    async def ask(headers: dict[str, str] | None = None, model: str = "sky/sky-1", **fields: Any) -> list[Any]:
        found = []
        for fast in (True, False):
            settings.FAST_LANE = fast
            found.append(await client.post(CHAT, json=BODY | {"model": model} | fields, headers=headers))
        assert found[0].status_code == found[1].status_code, (found[0].text, found[1].text)
        if found[0].status_code >= 400:
            assert found[0].json() == found[1].json()
            names = [{name for name in one.headers if name != LANE} for one in found]
            assert names[0] == names[1]
        return found

    yield ask
    settings.FAST_LANE, settings.AUTH_REQUIRED = before


def calls(upstream: Upstream) -> list[dict[str, str]]:
    """The headers of the last two with a body: the stack lists models whenever it likes."""
    return [headers for headers in upstream.headers if "Content-Type" in headers][-2:]


def issued(**fields: Any) -> str:
    return ApiKey.issue("key", "maya", **fields)[1]


def revoked() -> str:
    key, secret = ApiKey.issue("key", "maya")
    key.revoke()
    return secret


def revoke() -> None:
    """All there are."""
    for key in ApiKey.objects.all():
        key.revoke()


@pytest.mark.parametrize("stream", [False, True])
async def test_nothing_of_a_clients_own_headers_goes_on(lanes: Any, upstream: Upstream, stream: bool) -> None:
    found = await lanes(FOREIGN, stream=stream)
    assert [one.headers[LANE] for one in found] == ["fast", "django"]
    fast, django = calls(upstream)
    assert fast == django | {"Content-Length": fast["Content-Length"]}
    assert fast["Authorization"] == "Bearer sk-upstream"
    assert not {"cookie", "x-api-key", "x-request-id", "traceparent"} & {name.lower() for name in fast}
    assert "client" not in json.dumps(fast)
    assert "mine" not in [one.headers["x-request-id"] for one in found]


async def test_a_callers_own_key_goes_to_the_vendor_it_is_for(lanes: Any, upstream: Upstream) -> None:
    found = await lanes({DATA: json.dumps({"openai_api_key": "sk-callers", "groq_api_key": "sk-other"})})
    assert [one.headers[LANE] for one in found] == ["fast", "django"]
    fast, django = calls(upstream)
    assert fast["Authorization"] == django["Authorization"] == "Bearer sk-callers"
    assert "sk-other" not in json.dumps([fast, django])


@pytest.mark.parametrize(
    "data",
    [
        *('{"openai_api_key": 5}', '{"openai_api_key": "a\\r\\nX-Evil: 1"}', '{"openai_api_key": "ü"}', "[]", "{"),
        *('{"openai_api_key": ""}', '{"openai_api_key": null}', '{"__private": 1}', '{"a": 1, "a": 2}', '{"a": NaN}'),
    ],
)
async def test_odd_provider_data_means_the_same_in_both_lanes(
    lanes: Any, upstream: Upstream, running: LlamaStack, data: str
) -> None:
    await lanes({DATA: data.encode("utf-8")})  # type: ignore[dict-item]
    assert all("X-Evil" not in headers for headers in upstream.headers)
    await running.flusher.stop()
    records = await db(lambda: list(Usage.objects.order_by("pk").values_list("status", "error", "provider_id")))
    assert len(records) in (0, 2)
    assert records[:1] == records[1:]


async def test_who_may_not_ask_is_told_so_by_both_lanes(lanes: Any, running: LlamaStack, upstream: Upstream) -> None:
    settings.AUTH_REQUIRED = True
    old = await db(issued, expires_at=timezone.now() - timedelta(seconds=1))
    gone, other, good = await db(revoked), await db(issued, tenant="blue"), await db(issued)
    theirs = Model(identifier="theirs", tenant="blue")
    await db(service.edit_model, theirs, {"provider_id": "sky", "provider_model_id": "sky-1"})
    await running.live.refresh()
    for headers in ({}, {"Authorization": "Bearer none"}, {"X-Api-Key": old}, {"Authorization": f"Bearer {gone}"}):
        assert [one.status_code for one in await lanes(headers)] == [401, 401], headers
    assert [one.status_code for one in await lanes({"X-Api-Key": good}, "theirs")] == [404, 404]
    assert not upstream.requests
    for secret, model in ((good, "sky/sky-1"), (other, "theirs")):
        found = await lanes({"X-Api-Key": secret}, model)
        assert [(one.status_code, one.headers[LANE]) for one in found] == [(200, "fast"), (200, "django")]


async def test_a_key_that_is_revoked_while_a_body_comes_opens_nothing(
    lanes: Any, running: LlamaStack, upstream: Upstream
) -> None:
    settings.AUTH_REQUIRED = settings.FAST_LANE = True
    secret = await db(issued)
    await running.live.refresh()
    content = json.dumps(BODY | {"model": "sky/sky-1"}).encode()
    parts = [content[:10], content[10:]]
    sent: list[Any] = []

    async def receive() -> Any:
        if not parts:
            await asyncio.Future()
        if len(parts) == 1:
            await db(revoke)
            await running.live.refresh()
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"x-api-key", secret.encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode(), "query_string": b""}
    scope |= {"headers": headers, "scheme": "http", "http_version": "1.1", "asgi": {"version": "3.0"}}
    await asgi.application(scope, receive, send)
    assert sent[0]["status"] == 401
    assert not upstream.requests
