"""A real browser on the real server. One server, one upstream and one browser a module, in the module's own loop."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests import upstream as dialect
from tests.browser.actions import log_in
from tests.live import discovered
from tests.servers import Server, serving
from tests.upstream import Upstream

# It talks to its maker's servers otherwise; as root it has no sandbox.
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
MODELS = ["sky-1", "sky-2", "endless", "status-500", "status-429", "broken", "cut", "held", "<b>bold</b>"]

expect.set_options(timeout=30_000)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def upstream() -> AsyncIterator[Upstream]:
    async with dialect.serving(Upstream(models=list(MODELS))) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """The stack with one provider, `openai`, on the small upstream, whose models are listed."""
    env = {"OPENAI_API_KEY": "sk-upstream", "OPENAI_BASE_URL": upstream.url}
    with ExitStack() as stack:
        home = tmp_path_factory.mktemp("home")
        server = await asyncio.to_thread(stack.enter_context, serving("remote-only", home=home, env=env))
        await asyncio.to_thread(discovered, server)
        yield server


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cookies(chromium: Browser, server: Server) -> list[Any]:
    """Those of the first superuser's session, logged in once."""
    context = await chromium.new_context()
    await log_in(await context.new_page(), server, server.first_password)
    found: list[Any] = await context.cookies()
    await context.close()
    return found


@pytest_asyncio.fixture(loop_scope="module")
async def page(chromium: Browser) -> AsyncIterator[Page]:
    """A tab with its own cookies. It may ask no other machine for anything, and its scripts may not fail."""
    context = await chromium.new_context(viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
    page.on("request", lambda request: wrong.append(request.url) if not _here(request.url) else None)
    yield page
    await context.close()
    assert not wrong


def _here(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", None)


async def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def snippets_folder() -> Path:
    """Where Node finds the packages that the snippets import."""
    return Path(__file__).resolve().parents[1] / "sdk" / "node"
