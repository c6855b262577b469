"""What every request passes first: host, origin, content type, size."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from llamastack import settings

URL = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("host", ["evil.example", "localhost." * 30, "localhost/", ""])
async def test_another_host_name_is_refused(client: httpx.AsyncClient, host: str) -> None:
    """A page elsewhere can have its own name point at the loopback (DNS rebinding)."""
    assert (await client.get("/v1/models", headers={"Host": "localhost"})).status_code == 200
    response = await client.get("/v1/models", headers={"Host": host})
    assert (response.status_code, "LLAMA_STACK_ALLOWED_HOSTS" in response.text) == (400, True)


@pytest.mark.parametrize("host", ["localhost:8321", "127.0.0.1", "[::1]:80"])
async def test_the_names_of_the_loopback_are_ours(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get("/v1/health", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("path", ["/v1/models", URL, "/"])
async def test_a_page_of_another_site_is_refused(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, json={}, headers={"Origin": "https://evil.example"})
    assert (response.status_code, response.json()["error"]["type"]) == (403, "permission_error")


@pytest.mark.parametrize(
    "origin", ["null", "http://localhost:9999", "http://localhost.evil.example", "http://[::1", "http://[x]"]
)
async def test_origins_that_look_like_ours_are_refused(client: httpx.AsyncClient, origin: str) -> None:
    assert (await client.get("/v1/models", headers={"Origin": origin})).status_code == 403


@pytest.mark.parametrize("name", ["Host", "Origin"])
async def test_a_header_that_is_sent_twice_hides_nothing(client: httpx.AsyncClient, name: str) -> None:
    own = {"Host": "localhost", "Origin": "http://localhost"}[name]
    response = await client.get("/v1/models", headers=[(name, "http://evil.example"), (name, own)])
    assert response.status_code in (400, 403)


async def test_our_own_page_may_call(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/models", headers={"Origin": "http://localhost"})).status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
async def test_what_a_form_can_send_is_no_json(client: httpx.AsyncClient, kind: str) -> None:
    response = await client.post(URL, content=b'{"model": "m"}', headers={"Content-Type": kind})
    assert (response.status_code, "application/json" in response.json()["detail"]) == (400, True)


async def test_a_body_that_states_too_large_a_size_is_413(client: httpx.AsyncClient) -> None:
    headers = JSON | {"Content-Length": str(settings.MAX_BODY_BYTES + 1)}
    response = await client.post(URL, content=b"{}", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("stated", [None, "2"])
async def test_a_body_is_counted_and_not_trusted(client: httpx.AsyncClient, stated: str | None) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(settings.MAX_BODY_BYTES // 2**20 + 1):
            yield b" " * 2**20

    headers: dict[str, Any] = JSON | ({"Content-Length": stated} if stated else {})
    response = await client.post(URL, content=body(), headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


async def test_what_a_page_uploads_is_bounded_as_the_apis_uploads_are(client: httpx.AsyncClient) -> None:
    page = "/admin/registry/vectorstore/1/upload/"
    large = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": str(settings.MAX_FILE_BYTES * 2)}
    response = await client.post(page, content=b"", headers=large)
    assert (response.status_code, "LLAMA_STACK_MAX_FILE_BYTES" in response.text) == (413, True)
    assert (await client.post(page, json={})).status_code == 400


async def test_a_method_that_is_not_possible_is_405_in_our_shape(client: httpx.AsyncClient) -> None:
    response = await client.delete("/v1/models")
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    "path", ["/v1/nothing", "/v1/responses", "/v1/conversations", "/v1alpha/agents", "/v1beta/datasets"]
)
async def test_what_is_not_built_is_absent(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_url")


@pytest.mark.parametrize("path", ["/admin/registry/provider/?api=%00", "/v1/models?x=a%00b"])
async def test_a_query_with_a_nul_is_refused(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 400
