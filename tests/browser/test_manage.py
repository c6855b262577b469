"""The pages of /manage/, by hand. The `page` fixture sees to it that they ask no other machine for anything."""

import json

import pytest
from playwright.async_api import Page, expect

from tests.browser.actions import log_in
from tests.servers import Server

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_a_provider_is_tested_and_changed_in_a_session(page: Page, server: Server) -> None:
    await log_in(page, server, server.first_password)
    await page.goto(f"{server.url}/manage/providers/inference/openai")
    await expect(page.get_by_text('"Environment: OPENAI_API_KEY"')).to_be_visible()
    await expect(page.locator("body")).not_to_contain_text("sk-upstream")
    await page.get_by_role("button", name="Test").click()
    await expect(page.locator(".response-info")).to_contain_text('"ok": true')

    await page.goto(f"{server.url}/manage/providers/inference/openai")
    content = page.locator("[name=_content]")
    shown = json.loads(await content.input_value())
    shown["config"]["allowed_models"] = ["sky-1"]
    await content.fill(json.dumps(shown))
    await page.get_by_role("button", name="PUT").click()
    await expect(page.locator(".response-info")).to_contain_text('"allowed_models": "Admin"')

    await page.locator("[name=_content]").fill('{"enabeld": false}')
    await page.get_by_role("button", name="PATCH").click()
    await expect(page.locator(".response-info")).to_contain_text("did you mean 'enabled'?")
    await expect(page.locator(".response-info")).to_contain_text("HTTP 400")


async def test_a_list_is_filtered_in_its_window(page: Page, server: Server) -> None:
    await page.goto(f"{server.url}/manage/models")
    await page.get_by_role("button", name="Filters").click()
    await page.get_by_label("Model type").select_option("embedding")
    await page.locator("#filtersModal form button").first.click()
    await expect(page.locator(".response-info")).to_contain_text('"count": 0')


async def test_the_description_is_shown_and_can_be_tried_out(page: Page, server: Server) -> None:
    await page.goto(f"{server.url}/manage/docs")
    await page.get_by_text("/manage/providers", exact=True).first.click()
    await page.get_by_role("button", name="Try it out").click()
    await page.get_by_role("button", name="Execute").click()
    await expect(page.locator(".live-responses-table")).to_contain_text('"provider_id": "openai"')
    await page.get_by_role("link", name="API", exact=True).first.click()
    await expect(page).to_have_url(f"{server.url}/docs")
