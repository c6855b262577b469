"""A person gives a model a second home in the admin, and is told at the table what cannot be."""

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.browser.actions import log_in
from tests.servers import ANSWER_SECONDS, Server

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def model_page(page: Page, server: Server, model: str) -> None:
    await page.goto(f"{server.url}/admin/registry/model/")
    await page.get_by_role("link", name=model, exact=True).click()


async def save(page: Page) -> None:
    await page.locator("[name=_save]").click()


async def answered_by(server: Server, model: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=ANSWER_SECONDS) as http:
        response = await http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return response.headers["X-LlamaStack-Served-By"]


async def test_a_second_home_answers_where_the_first_one_fails(page: Page, server: Server) -> None:
    await log_in(page, server, server.first_password)
    await model_page(page, server, "openai/status-500")
    await expect(page.get_by_label("Name of home 1")).to_have_value("status-500")
    await page.get_by_label("Place of home 2").select_option("provider:openai")
    await page.get_by_label("Name of home 2").fill("sky-1")
    await page.get_by_label("Order of home 2").fill("1")
    await page.get_by_role("button", name="Add a home").click()
    await page.get_by_label("Place of home 3").select_option("model:")
    await page.get_by_label("Name of home 3").fill("openai/sky-2")
    await page.get_by_label("Order of home 3").fill("2")
    await save(page)
    await expect(page.get_by_text("was changed successfully")).to_be_visible()
    await expect(page.get_by_text("openai + 2")).to_be_visible()
    assert await answered_by(server, "openai/status-500") == "openai/sky-1"


async def test_a_circle_and_an_empty_list_are_refused_at_the_table(page: Page, server: Server) -> None:
    await log_in(page, server, server.first_password)
    await model_page(page, server, "openai/sky-2")
    table = page.locator(".field-homes")
    await page.get_by_label("Place of home 2").select_option("model:")
    await page.get_by_label("Name of home 2").fill("openai/status-500")
    await save(page)
    await expect(table).to_contain_text("openai/sky-2 -> openai/status-500 -> openai/sky-2 goes round in a circle")
    await expect(page.get_by_label("Name of home 2")).to_have_value("openai/status-500")
    for number in (1, 2):
        await page.get_by_label(f"Remove home {number}").check()
    await save(page)
    await expect(table).to_contain_text("A model needs at least one home")
    assert await answered_by(server, "openai/sky-2") == "openai/sky-2"
