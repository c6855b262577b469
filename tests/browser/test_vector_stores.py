"""The page of a vector store: files are sent, read and searched, and the page is never reloaded."""

import re
from typing import Any

import httpx
import pytest
from playwright.async_api import FilePayload, Page, Route, expect

from tests import documents
from tests.servers import ANSWER_SECONDS, Server
from tests.upstream import Upstream

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]
PAGES = "Air is mostly nitrogen.", "The sky looks blue because air scatters short waves of light."


def payload(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


async def opened(page: Page, server: Server, cookies: list[Any], upstream: Upstream) -> str:
    """The id of a new store, whose page is open."""
    model = {"model_id": "vectors", "provider_id": "openai", "provider_model_id": "held", "model_type": "embedding"}
    upstream.released.set()
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=ANSWER_SECONDS) as http:
        await http.post("/v1/models", json={**model, "metadata": {"embedding_dimension": 2}})
        made = await http.post("/v1/vector_stores", json={"name": "facts", "embedding_model": "vectors"})
        assert made.status_code == 200, made.text
    store: str = made.json()["id"]
    await page.context.add_cookies(cookies)
    await page.goto(f"{server.url}/admin/registry/vectorstore/")
    await page.get_by_role("link", name=store).click()
    await page.evaluate("window.sameDocument = true")
    return store


def row(page: Page, name: str) -> Any:
    return page.locator("tr[data-file]").filter(has_text=name)


async def test_files_are_sent_read_tried_again_and_searched_without_reloading(
    page: Page, server: Server, cookies: list[Any], upstream: Upstream
) -> None:
    await opened(page, server, cookies, upstream)
    upstream.released.clear()
    broken = documents.pdf("")[:200]
    files = [payload("air.pdf", documents.pdf(*PAGES)), payload("broken.pdf", broken), payload("blank.txt", b"")]
    await page.get_by_label("Upload files").set_input_files(files)
    await expect(page.get_by_role("alert").filter(has_text="The file is empty.")).to_be_visible()
    await expect(row(page, "air.pdf")).to_contain_text("in progress")
    await expect(row(page, "broken.pdf")).to_contain_text("cannot be read", timeout=60_000)  # once parsers are loaded
    await expect(page.get_by_text("1 of 2 files are read")).to_be_visible()
    upstream.released.set()
    await expect(row(page, "air.pdf")).to_contain_text("completed")
    await expect(page.get_by_text("files are read")).to_be_hidden()

    upstream.released.clear()
    await page.get_by_role("button", name="Try broken.pdf again").click()
    upstream.released.set()
    await expect(row(page, "broken.pdf")).to_contain_text("failed")
    await page.get_by_label("What to search for").fill("sky blue")
    await page.get_by_role("button", name="Search in each mode").click()
    for mode in ("vector", "keyword", "hybrid"):
        await expect(page.locator(f"[data-mode={mode}] li").filter(has_text=PAGES[1])).to_contain_text("page 2")
    await page.get_by_role("button", name="Detach broken.pdf").click()
    await expect(row(page, "broken.pdf")).to_have_count(0)
    assert await page.evaluate("window.sameDocument")

    await row(page, "air.pdf").get_by_role("link").click()
    await expect(page.get_by_label("File", exact=True)).to_contain_text("Chunk 2, page 2")


async def test_the_bytes_that_are_sent_are_told_and_what_cannot_be_sent_says_why(
    page: Page, server: Server, cookies: list[Any], upstream: Upstream
) -> None:
    await opened(page, server, cookies, upstream)
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    await page.route("**/upload/", hold)
    files = [payload(f"{number}.txt", b"x" * 2048) for number in range(4)]
    await page.get_by_label("Upload files").set_input_files(files)
    sending = page.locator("[data-lines] li")
    await expect(sending).to_have_count(4)
    await expect(page.locator("[data-sent-told]")).to_have_text(re.compile(r"[\d.]+ (bytes|KB) of 8.0 KB sent, 0 of 4"))
    while len(held) < 2:
        await page.wait_for_timeout(10)
    await held[0].continue_()
    await expect(page.locator("[data-sent-told]")).to_have_text("2.0 KB of 8.0 KB sent, 1 of 4 files")
    await held[1].abort()
    await expect(sending.filter(has_text="1.txt")).to_contain_text("The server cannot be reached.")
    await page.get_by_role("button", name="Stop sending").click()
    await expect(sending.filter(has_text="it was stopped")).to_have_count(2)
    await expect(row(page, "0.txt")).to_contain_text("completed")  # what had been sent is attached all the same
    await page.unroute("**/upload/")


async def test_a_file_that_is_there_is_attached(
    page: Page, server: Server, cookies: list[Any], upstream: Upstream
) -> None:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=ANSWER_SECONDS) as http:
        form: Any = {"files": {"file": ("there.txt", b"It is there.")}, "data": {"purpose": "assistants"}}
        file_id = (await http.post("/v1/files", **form)).json()["id"]
    await opened(page, server, cookies, upstream)
    assert await page.locator(f"datalist option[value={file_id}]").text_content() == "there.txt, 12\xa0bytes"
    await page.get_by_label("A file that is there").fill("file-none")
    await page.get_by_role("button", name="Attach a file that is there").click()
    await expect(page.get_by_role("alert").filter(has_text="There is no file 'file-none'")).to_be_visible()
    await page.get_by_label("A file that is there").fill(file_id)
    await page.get_by_role("button", name="Attach a file that is there").click()
    await expect(row(page, "there.txt")).to_contain_text("completed")


async def test_a_narrow_page_is_no_wider_than_the_screen(
    page: Page, server: Server, cookies: list[Any], upstream: Upstream
) -> None:
    await page.set_viewport_size({"width": 390, "height": 844})
    await opened(page, server, cookies, upstream)
    assert await page.locator(".store-files").count() == 1
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
