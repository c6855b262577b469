"""The README's pictures: `make screenshots` writes docs/screenshots/*.png from the real server and a real model."""

import asyncio
import json
import re
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import httpx
from playwright.async_api import Browser, FilePayload, Page, async_playwright, expect

from tests import documents
from tests import upstream as dialect
from tests.browser.actions import add_provider, choose, log_in
from tests.browser.conftest import FLAGS
from tests.servers import ANSWER_SECONDS, Server, serving
from tests.upstream import Upstream

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
LOCAL = "SmolLM2-135M-Instruct"
REMOTE = ["llama-3.3-70b-instruct", "qwen3-32b"]
QUESTION = "Why is the sky blue? Answer in two sentences."
AIR = (
    "Air is mostly nitrogen and oxygen. Its pressure falls with height.",
    "The sky looks blue because air scatters short waves of light more than long ones.",
)
SEA = "Sea water is salt since rivers carry dissolved minerals from rocks into the ocean for ages."
WIDTH, HEIGHT = 1280, 800


async def shoot(page: Page, name: str) -> None:
    await page.wait_for_load_state("networkidle")
    await page.screenshot(path=FOLDER / f"{name}.png", animations="disabled")


async def tab(browser: Browser, scheme: str) -> Page:
    context = await browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
    return await context.new_page()


async def chat(page: Page, server: Server) -> None:
    await page.goto(server.url)
    await choose(page, LOCAL)
    await page.get_by_label("Temperature").fill("0")
    await page.get_by_label("Max tokens").fill("120")
    await page.get_by_label("Message").fill(QUESTION)
    await page.get_by_label("Message").press("Enter")
    await expect(page.locator(".stats")).to_contain_text("prompt", timeout=60_000)


async def playground(browser: Browser, server: Server) -> None:
    for scheme in ("light", "dark"):
        page = await tab(browser, scheme)
        await chat(page, server)
        await page.get_by_label("Message").fill("And why is it red in the evening?")
        await shoot(page, f"playground-{scheme}")
        if scheme == "light":
            await page.get_by_role("button", name="Copy as code").click()
            await page.get_by_text("Python", exact=True).click()
            await shoot(page, "playground-code")


async def all_checked(page: Page, address: str) -> None:
    """The list of providers, once each has said how it is."""
    async with asyncio.timeout(120):
        await page.goto(address)
        while await page.get_by_text("Not checked").count():
            await page.wait_for_timeout(500)
            await page.reload()


async def admin(browser: Browser, server: Server, upstream: Upstream) -> None:
    page = await tab(browser, "light")
    await log_in(page, server, server.first_password)
    await add_provider(page, server, "gpu-cluster", upstream.url)
    await all_checked(page, f"{server.url}/admin/registry/provider/")
    await shoot(page, "admin-providers")
    await page.get_by_role("link", name="gpu-cluster").click()
    await page.set_viewport_size({"width": WIDTH, "height": 1240})
    await shoot(page, "admin-provider")
    await page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    await page.goto(f"{server.url}/admin/registry/model/")
    await shoot(page, "admin-models")


async def batch(server: Server, lines: int = 200) -> str:
    """The job of a batch on the local model, whose answers are of different lengths."""
    url = "/v1/chat/completions"
    asked = {"model": LOCAL, "messages": [{"role": "user", "content": QUESTION}]}
    bodies = [{**asked, "max_tokens": 2 + 7 * number % 24} for number in range(lines)]
    wanted = [{"custom_id": str(n), "method": "POST", "url": url, "body": body} for n, body in enumerate(bodies)]
    text = "\n".join(map(json.dumps, wanted)).encode()
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=ANSWER_SECONDS) as http:
        form = {"file": ("questions.jsonl", text)}
        file = (await http.post("/v1/files", files=form, data={"purpose": "batch"})).json()["id"]
        made = {"input_file_id": file, "endpoint": url, "completion_window": "24h"}
        (await http.post("/v1/batches", json=made)).raise_for_status()
        job: str = (await http.get("/v1alpha/jobs", params={"kind": "batch", "limit": 1})).json()["data"][0]["id"]
    return job


async def jobs(browser: Browser, server: Server) -> None:
    """The page of a job while its batch runs."""
    page = await tab(browser, "light")
    await log_in(page, server, server.first_password)
    job = await batch(server)
    await page.goto(f"{server.url}/admin/jobs/job/{job}/change/")
    await expect(page.locator("[data-count]")).to_have_text(re.compile(r"1[0-4]\d of 200"), timeout=300_000)
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        await page.reload()  # the admin asks for the scheme once
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        await page.screenshot(path=FOLDER / f"job-{scheme}.png", animations="disabled")


async def vector_store(browser: Browser, server: Server) -> None:
    """The page of a vector store: files that were uploaded there, and what it finds in each mode."""
    page = await tab(browser, "light")
    await log_in(page, server, server.first_password)
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as http:
        store = (await http.post("/v1/vector_stores", json={"name": "Facts about nature"})).json()["id"]
    await page.goto(f"{server.url}/admin/registry/vectorstore/")
    await page.get_by_role("link", name=store).click()
    contents = {"air.pdf": documents.pdf(*AIR), "sea.txt": SEA.encode(), "scan.pdf": documents.scan()}
    files: list[FilePayload] = [
        {"name": name, "mimeType": "application/octet-stream", "buffer": content} for name, content in contents.items()
    ]
    await page.get_by_label("Upload files").set_input_files(files)
    await expect(page.get_by_text("2 completed")).to_be_visible(timeout=60_000)
    await expect(page.get_by_text("1 failed")).to_be_visible(timeout=60_000)
    await page.get_by_label("What to search for").fill("Where does the ocean's taste come from?")
    await page.get_by_role("button", name="Search in each mode").click()
    await page.locator("[data-mode=hybrid]").wait_for()
    await page.reload()  # without what the upload has told
    await page.set_viewport_size({"width": WIDTH, "height": 1240})
    await shoot(page, "admin-vector-store")


async def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(serving("starter", home=home))
        async with async_playwright() as playwright, dialect.serving(Upstream(models=REMOTE)) as upstream:
            browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            await admin(browser, server, upstream)
            await playground(browser, server)
            await vector_store(browser, server)
            await jobs(browser, server)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
