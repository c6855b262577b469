"""What a newcomer does: a second provider in the admin, its models at once everywhere, and after a restart still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.browser.actions import add_provider, choose, log_in, make_default, say
from tests.servers import ANSWER_SECONDS, Server, serving
from tests.upstream import Upstream

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

ANSWER = "The sky is blue."


@pytest.fixture
async def stack() -> AsyncIterator[ExitStack]:
    with ExitStack() as running:
        yield running


async def served(stack: ExitStack, home: Path, **env: str) -> Server:
    return await asyncio.to_thread(stack.enter_context, serving("remote-only", home=home, env=env))


async def chat_over_http(server: Server, model: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    async with (
        httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=ANSWER_SECONDS) as http,
        asyncio.timeout(ANSWER_SECONDS),
    ):
        while (response := await http.post("/v1/chat/completions", json=body)).status_code == 404:
            await asyncio.sleep(0.02)
    assert response.status_code == 200, response.text
    content: str = response.json()["choices"][0]["message"]["content"]
    return content


async def chat_in_playground(page: Page, model: str) -> None:
    await choose(page, model)
    await say(page, "Hello")
    await expect(page.locator("article.assistant .text")).to_have_text(ANSWER)


async def test_a_provider_added_in_the_admin_answers_at_once_and_after_a_restart(
    page: Page, upstream: Upstream, stack: ExitStack, tmp_path: Path
) -> None:
    server = await served(stack, tmp_path)
    await log_in(page, server, server.first_password)
    playground = await page.context.new_page()
    await playground.goto(server.url)
    await expect(playground.get_by_role("status")).to_contain_text("No model")

    await add_provider(page, server, "second", upstream.url)
    assert await chat_over_http(server, "second/sky-1") == ANSWER
    await expect(playground.get_by_role("option", name="second/sky-1")).to_be_attached()
    await expect(playground.get_by_role("status")).to_be_hidden()
    await chat_in_playground(playground, "second/sky-1")

    await make_default(page, server, "second/sky-2")

    assert await asyncio.to_thread(server.stop) == 0
    await expect(playground.get_by_role("status")).to_contain_text("cannot be reached")
    again = await served(stack, tmp_path)
    assert await chat_over_http(again, "second/sky-1") == ANSWER
    await page.goto(f"{again.url}/admin/registry/provider/")
    await expect(page.get_by_role("link", name="second")).to_be_visible()
    await playground.goto(again.url)
    await expect(playground.get_by_label("Model", exact=True)).to_have_value("second/sky-2")
    await chat_in_playground(playground, "second/sky-1")


async def test_where_a_key_is_required_the_playground_asks_for_it_and_keeps_it_in_the_tab(
    page: Page, upstream: Upstream, stack: ExitStack, tmp_path: Path
) -> None:
    env = {"OPENAI_API_KEY": "sk-upstream", "OPENAI_BASE_URL": upstream.url, "LLAMA_STACK_AUTH": "required"}
    server = await served(stack, tmp_path, **env)
    await page.goto(server.url)
    await expect(page.get_by_role("status")).to_contain_text("needs an API key")
    key = page.get_by_label("API key")
    await key.fill("lls-wrong")
    await key.press("Tab")
    await expect(page.get_by_role("status")).to_contain_text("Enter a valid API key")
    await key.fill(server.first_key)
    await key.press("Tab")
    await expect(page.get_by_role("status")).to_be_hidden()
    await chat_in_playground(page, "openai/sky-1")
    await page.reload()
    await chat_in_playground(page, "openai/sky-2")
    assert await page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert server.first_key not in page.url
    other_tab = await page.context.new_page()
    await other_tab.goto(server.url)
    await expect(other_tab.get_by_role("status")).to_contain_text("needs an API key")
