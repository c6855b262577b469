"""Two servers on one database: what is changed in one is served by the other."""

import asyncio
import html
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from llamastack.services import Services
from tests import upstream as dialect
from tests.servers import ANSWER_SECONDS, ROOT, Server, environment, new_database, serving
from tests.upstream import Upstream

WITHIN = 60.0


@pytest.fixture
def database(services: Services) -> str:
    return new_database(services, "two_processes")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with dialect.serving() as running:
        yield running


@pytest.fixture
async def servers(database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Server, Server]]:
    env = {"DATABASE_URL": database, "LLAMA_STACK_FAST_LANE": "1"}
    home = tmp_path_factory.mktemp("home")  # one home: both must read the same secrets
    with ExitStack() as stack:
        one = await asyncio.to_thread(stack.enter_context, serving("remote-only", home=home, env=env))
        other = await asyncio.to_thread(stack.enter_context, serving("remote-only", home=home, env=env))
        yield one, other


class Admin:
    """Somebody logged in to one server's admin."""

    def __init__(self, server: Server, http: httpx.AsyncClient) -> None:
        self.server = server
        self.http = http

    async def submit(self, path: str, **fields: str) -> httpx.Response:
        page = await self.http.get(path)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert token, page.text
        response = await self.http.post(path, data=fields | {"csrfmiddlewaretoken": token[1]}, follow_redirects=True)
        assert response.status_code == 200, response.text
        return response

    async def log_in(self) -> None:
        await self.submit("/admin/login/?next=/admin/", username="admin", password=self.server.first_password)

    async def add_provider(self, identifier: str, base_url: str) -> None:
        page = await self.submit(
            "/admin/registry/provider/add/?api=inference&provider_type=remote::openai",
            identifier=identifier,
            enabled="on",
            config_base_url=base_url,
            config_api_key="sk-upstream",
        )
        assert "was added successfully" in html.unescape(page.text)


async def answers_within(server: Server, model: str, seconds: float) -> float:
    """The seconds until a chat with the model is answered; fails after `seconds`."""
    began = time.monotonic()
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=ANSWER_SECONDS) as http:
        while (response := await http.post("/v1/chat/completions", json=body)).status_code != 200:
            assert response.status_code in (404, 503), response.text
            assert time.monotonic() - began < seconds, response.text
        took = time.monotonic() - began
        again = await http.post("/v1/chat/completions", json=body)
    assert again.headers["X-LlamaStack-Lane"] == "fast"  # the first one may have had to start its provider
    assert response.json()["choices"][0]["message"]["content"] == "The sky is blue."
    return took


async def test_a_provider_added_on_one_is_served_by_the_other(
    servers: tuple[Server, Server], upstream: Upstream
) -> None:
    one, other = servers
    async with httpx.AsyncClient(base_url=one.url, trust_env=False, timeout=ANSWER_SECONDS) as http:
        admin = Admin(one, http)
        await admin.log_in()
        await admin.add_provider("second", upstream.url)
        await answers_within(other, "second/sky-1", WITHIN)
        await answers_within(one, "second/sky-2", WITHIN)
        model = {"model_id": "mine", "provider_id": "second", "provider_model_id": "sky-1"}
        assert (await http.post("/v1/models", json=model)).status_code == 200
        await answers_within(other, "mine", WITHIN)


async def test_one_of_two_asks_a_provider_what_it_serves_and_how_it_is(
    servers: tuple[Server, Server], upstream: Upstream
) -> None:
    async with httpx.AsyncClient(base_url=servers[0].url, trust_env=False, timeout=ANSWER_SECONDS) as http:
        admin = Admin(servers[0], http)
        await admin.log_in()
        await admin.add_provider("second", upstream.url)
    for server in servers:
        await answers_within(server, "second/sky-1", WITHIN)
        await healthy_within(server, "second", WITHIN)
    listings = len(upstream.headers) - len(upstream.requests)
    # One for its models, one for its health, which is looked at again after a minute; four if each process asked.
    assert listings in (2, 3)


async def healthy_within(server: Server, provider_id: str, seconds: float) -> None:
    async with (
        httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=ANSWER_SECONDS) as http,
        asyncio.timeout(seconds),
    ):
        while True:
            listed = (await http.get("/v1/providers")).json()["data"]
            if any((p["provider_id"], p["health"]["status"]) == (provider_id, "OK") for p in listed):
                return
            await asyncio.sleep(0.02)


async def outcome(server: Server, key: str) -> tuple[int, str]:
    """The status of a chat and the lane that answered it."""
    body = {"model": "openai/sky-1", "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=ANSWER_SECONDS) as http:
        response = await http.post("/v1/chat/completions", json=body, headers=headers)
    return response.status_code, response.headers["X-LlamaStack-Lane"]


async def turns(server: Server, key: str, wanted: tuple[int, str], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while await outcome(server, key) != wanted:
            await asyncio.sleep(0.02)


async def test_a_key_that_is_revoked_opens_neither_of_two(database: str, upstream: Upstream, tmp_path: Path) -> None:
    env = {
        "DATABASE_URL": database,
        "LLAMA_STACK_AUTH": "required",
        "LLAMA_STACK_FAST_LANE": "1",
        "OPENAI_API_KEY": "sk-upstream",
        "OPENAI_BASE_URL": upstream.url,
    }

    def llama(*arguments: str) -> str:
        command = [sys.executable, "-m", "llamastack.cli", *arguments, "--config", "remote-only"]
        run = subprocess.run(
            command, cwd=ROOT, env=environment(tmp_path, **env), capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    with ExitStack() as stack:
        servers = [
            await asyncio.to_thread(stack.enter_context, serving("remote-only", home=tmp_path, env=env))
            for _ in range(2)
        ]
        key = await asyncio.to_thread(llama, "key", "create", "ci")
        for server in servers:
            await turns(server, key, (200, "fast"), 10)  # once it knows the models and has started their provider
        await asyncio.to_thread(llama, "key", "revoke", key[:10])
        await asyncio.gather(*(turns(server, key, (401, "django"), WITHIN) for server in servers))
