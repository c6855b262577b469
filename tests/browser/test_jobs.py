"""The page of a job while a batch runs: it follows without being reloaded, and its buttons do what they say."""

import json
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, WebSocketRoute, expect

from tests.browser.actions import log_in
from tests.servers import ANSWER_SECONDS, Server
from tests.upstream import Upstream

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]
URL = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]


async def batch(server: Server, *models: str) -> str:
    """The id of the job of a batch with one line for each of the models."""
    lines = [{"custom_id": str(n), "method": "POST", "url": URL, "body": body(model)} for n, model in enumerate(models)]
    text = "\n".join(map(json.dumps, lines)).encode()
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=ANSWER_SECONDS) as http:
        file = await http.post("/v1/files", files={"file": ("lines.jsonl", text)}, data={"purpose": "batch"})
        asked = {"input_file_id": file.json()["id"], "endpoint": URL, "completion_window": "24h"}
        made = await http.post("/v1/batches", json=asked)
        assert made.status_code == 200, made.text
        jobs = await http.get("/v1alpha/jobs", params={"kind": "batch", "limit": 1})
    job_id: str = jobs.json()["data"][0]["id"]
    return job_id


def body(model: str) -> dict[str, object]:
    return {"model": model, "messages": HELLO}


async def opened(page: Page, server: Server, cookies: list[Any], job_id: str) -> None:
    await page.context.add_cookies(cookies)
    await page.goto(f"{server.url}/admin/jobs/job/")
    await page.get_by_role("link", name=job_id).click()
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    await page.evaluate("window.sameDocument = true")


async def state_is(page: Page, state: str) -> None:
    await expect(page.locator("[data-state]:visible")).to_have_text(state)


async def test_a_batch_is_followed_without_reloading(
    page: Page, server: Server, cookies: list[Any], upstream: Upstream
) -> None:
    upstream.released.clear()
    job_id = await batch(server, *["openai/sky-1"] * 3, *["openai/held"] * 2)
    await opened(page, server, cookies, job_id)
    await expect(page.locator("[data-count]")).to_have_text("3 of 5")
    await state_is(page, "running")
    upstream.released.set()
    await expect(page.locator("[data-count]")).to_have_text("5 of 5")
    assert await page.locator("progress").evaluate("bar => bar.value / bar.max") == 1
    await state_is(page, "completed")
    await expect(page.locator("[data-log]")).to_contain_text("5 of 5 lines have been answered")
    await expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    assert await page.evaluate("window.sameDocument")

    await page.get_by_role("link", name="Batch batch_").click()
    await expect(page.get_by_label("Batch")).to_contain_text("completed")
    await page.get_by_role("link", name="file-").first.click()
    await expect(page.locator("body")).to_contain_text("lines.jsonl")


async def test_the_page_of_a_batch_follows_with_its_job(
    page: Page, server: Server, cookies: list[Any], upstream: Upstream
) -> None:
    upstream.released.clear()
    await opened(page, server, cookies, await batch(server, "openai/sky-1", "openai/held"))
    await page.get_by_role("link", name="Batch batch_").click()
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    await expect(page.get_by_label("Batch")).to_contain_text("in progress")
    await page.evaluate("window.sameDocument = true")
    await expect(page.locator("polyline[points*=' ']").first).to_be_attached()  # of one point alone, too
    upstream.released.set()
    await expect(page.get_by_label("Batch")).to_contain_text("Output file: file-")
    await expect(page.get_by_label("Batch")).to_contain_text("completed")
    assert await page.evaluate("window.sameDocument")


async def test_a_job_is_cancelled_and_the_page_says_so(
    page: Page, server: Server, cookies: list[Any], upstream: Upstream
) -> None:
    upstream.released.clear()
    await opened(page, server, cookies, await batch(server, "openai/sky-1", "openai/held"))
    await expect(page.locator("[data-count]")).to_have_text("1 of 2")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_text("The job is cancelled")).to_be_visible()
    await state_is(page, "cancelled")
    await expect(page.get_by_role("button", name="Try again")).to_be_hidden()
    assert "Try again" not in await (await page.request.get(page.url)).text()  # its batch has ended for good


async def test_a_page_that_is_cut_off_comes_back_by_itself(
    page: Page, server: Server, cookies: list[Any], upstream: Upstream
) -> None:
    upstream.released.clear()
    asked: list[str] = []

    async def cut_at_first(socket: WebSocketRoute) -> None:
        asked.append(socket.url)
        if len(asked) == 1:
            await socket.close(code=1012)
        else:
            socket.connect_to_server()

    await page.route_web_socket("**/ws/jobs/*", cut_at_first)
    await opened(page, server, cookies, await batch(server, "openai/sky-1", "openai/held"))
    assert len(asked) == 2
    upstream.released.set()
    await state_is(page, "completed")
    await expect(page.locator("[data-log] li")).to_have_count(2)


async def test_without_scripts_the_page_tells_the_facts(chromium: Browser, server: Server, upstream: Upstream) -> None:
    upstream.released.set()
    context = await chromium.new_context(java_script_enabled=False)
    page = await context.new_page()
    await log_in(page, server, server.first_password)
    job_id = await batch(server, "openai/sky-1")
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=ANSWER_SECONDS) as http:
        while (await http.get(f"/v1alpha/jobs/{job_id}")).json()["ended_at"] is None:
            pass
    await page.goto(f"{server.url}/admin/jobs/job/{job_id}/change/")
    await state_is(page, "completed")
    await expect(page.locator("[data-count]")).to_have_text("1 of 1")
    await expect(page.locator("[data-log]")).to_contain_text("1 of 1 lines have been answered")
    await context.close()
