"""The playground at `/`, as a person uses it."""

import asyncio
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.actions import choose, say
from tests.browser.conftest import eventually, snippets_folder
from tests.servers import Server
from tests.upstream import Upstream

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

ANSWER = "The sky is blue."
TRICKY = """It's "so" \\ $HOME `ls` <b>é</b>
next line"""


async def opened(page: Page, server: Server, model: str = "openai/sky-1") -> None:
    await page.goto(server.url)
    await choose(page, model)


async def code(page: Page, language: str) -> str:
    """What `Copy as code` copies."""
    await page.get_by_role("button", name="Copy as code").click()
    await page.get_by_text(language, exact=True).click()
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.get_by_role("button", name="Copy", exact=True).click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied: str = await page.evaluate("navigator.clipboard.readText()")
    await page.keyboard.press("Escape")
    return copied


async def output_of(*command: str, folder: Path | None = None) -> str:
    # No proxy of the machine's: the server is on the loopback.
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return out.decode()


async def test_a_chat_streams_its_answer_and_shows_usage_and_speed(page: Page, server: Server) -> None:
    await opened(page, server)
    await say(page, "Why?")
    answer = page.locator("article.assistant")
    await expect(answer.locator(".text")).to_have_text(ANSWER)
    await expect(answer.locator(".stats")).to_have_text(
        re.compile(r"5 prompt \+ 4 completion tokens · \d+(\.\d)? tokens/s · first after \d+\.\d\d s")
    )
    await expect(page.get_by_label("Message")).to_be_focused()
    await expect(page.get_by_label("Message")).to_have_value("")


async def test_the_conversation_goes_along_and_a_new_chat_forgets_it(
    page: Page, server: Server, upstream: Upstream
) -> None:
    await opened(page, server)
    await say(page, "One")
    await expect(page.locator(".stats")).to_contain_text("tokens/s")
    await say(page, "Two")
    await expect(page.locator("article.assistant .text")).to_have_text([ANSWER, ANSWER])
    await eventually(lambda: len(upstream.requests[-1]["messages"]) == 3)
    assert [(m["role"], m["content"]) for m in upstream.requests[-1]["messages"]] == [
        ("user", "One"),
        ("assistant", ANSWER),
        ("user", "Two"),
    ]
    await page.get_by_role("button", name="New chat").click()
    await expect(page.locator("article")).to_have_count(0)
    await say(page, "Three")
    await expect(page.locator("article.assistant .text")).to_have_text(ANSWER)
    assert [message["content"] for message in upstream.requests[-1]["messages"]] == ["Three"]


async def fill_parameters(page: Page) -> dict[str, Any]:
    await page.get_by_label("System prompt").fill("Be brief.")
    await page.get_by_label("Temperature").fill("0.5")
    await page.get_by_label("Top p").fill("0.9")
    await page.get_by_label("Max tokens").fill("7")
    await page.get_by_label("Seed").fill("42")
    await page.get_by_label("Stop sequences").fill("END\n\\n\\n")
    return {"temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "seed": 42, "stop": ["END", "\n\n"]}


async def test_parameters_that_are_given_are_sent_and_no_others(page: Page, server: Server, upstream: Upstream) -> None:
    await opened(page, server)
    streamed = {"model": "sky-1", "stream": True, "stream_options": {"include_usage": True}}
    await say(page, "Hello")
    await expect(page.locator(".stats")).to_contain_text("tokens/s")
    assert upstream.requests[-1] == streamed | {"messages": [{"role": "user", "content": "Hello"}]}
    await page.get_by_role("button", name="New chat").click()
    parameters = await fill_parameters(page)
    await say(page, "Hello")
    await expect(page.locator(".stats")).to_contain_text("tokens/s")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert upstream.requests[-1] == streamed | {"messages": messages} | parameters


@pytest.mark.parametrize("how", ["button", "Escape"])
async def test_stop_ends_the_generation_and_keeps_what_was_said(
    page: Page, server: Server, upstream: Upstream, how: str
) -> None:
    upstream.closed.clear()
    await opened(page, server, "openai/endless")
    await say(page, "Go on")
    await expect(page.locator("article.assistant .text")).to_contain_text("more more")
    if how == "button":
        await page.get_by_role("button", name="Stop").click()
    else:
        await page.keyboard.press("Escape")
    await upstream.until_closed()
    await expect(page.locator(".stats")).to_contain_text("stopped")
    await expect(page.locator("article.assistant .text")).to_contain_text(ANSWER)
    await choose(page, "openai/sky-1")
    await say(page, "And now?")
    await expect(page.locator("article.assistant .text").last).to_have_text(ANSWER)


@pytest.mark.parametrize("model", ["status-500", "status-429"])
async def test_an_error_is_a_sentence_and_the_message_can_be_sent_again(page: Page, server: Server, model: str) -> None:
    await opened(page, server, f"openai/{model}")
    await say(page, "Hello")
    await expect(page.get_by_role("alert")).to_contain_text("told you so")
    await expect(page.get_by_label("Message")).to_have_value("Hello")


@pytest.mark.parametrize("model", ["broken", "cut"])
async def test_an_answer_that_breaks_off_says_so_below_what_was_said(page: Page, server: Server, model: str) -> None:
    await opened(page, server, f"openai/{model}")
    await say(page, "Hello")
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.locator("article.assistant .text")).to_have_text(ANSWER)


async def test_what_people_and_models_write_is_shown_as_text(page: Page, server: Server) -> None:
    await opened(page, server, "openai/<b>bold</b>")
    attack = "<img src=x onerror='document.title=1'>\n  two spaces"
    await say(page, attack)
    await expect(page.locator("article.assistant h3")).to_have_text("openai/<b>bold</b>")
    assert await page.locator("article.user .text").evaluate("element => element.textContent") == attack
    style = await page.locator("article.user .text").evaluate("element => getComputedStyle(element).whiteSpace")
    assert style == "pre-wrap"
    assert await page.locator("article :is(img, b)").count() == 0


async def test_bad_parameters_are_not_sent(page: Page, server: Server, upstream: Upstream) -> None:
    await opened(page, server)
    before = len(upstream.requests)
    await page.get_by_label("Temperature").fill("9")
    await page.get_by_text("Settings", exact=True).click()
    await say(page, "Hello")
    await expect(page.get_by_label("Temperature")).to_be_visible()
    await expect(page.locator("article")).to_have_count(0)
    assert len(upstream.requests) == before


async def test_curl_and_python_that_are_copied_ask_the_same(page: Page, server: Server, upstream: Upstream) -> None:
    await opened(page, server)
    await fill_parameters(page)
    await page.get_by_label("Message").fill(TRICKY)
    curl, python = await code(page, "curl"), await code(page, "Python")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".stats")).to_contain_text("tokens/s")
    asked = upstream.requests[-1]
    assert asked["messages"][-1]["content"] == TRICKY
    chunks = await output_of("bash", "-c", curl.replace("curl ", "curl --silent --fail ", 1))
    assert chunks.endswith("data: [DONE]\n\n")
    assert upstream.requests[-1] == asked
    assert await output_of(sys.executable, "-c", python) == f"{ANSWER}\n"
    assert upstream.requests[-1] == asked


async def test_without_a_message_the_last_question_is_copied(page: Page, server: Server, upstream: Upstream) -> None:
    await opened(page, server)
    assert '"content": "Hello!"' in await code(page, "curl")
    await say(page, "Why?")
    await expect(page.locator(".stats")).to_contain_text("tokens/s")
    asked = upstream.requests[-1]
    assert await output_of(sys.executable, "-c", await code(page, "Python")) == f"{ANSWER}\n"
    assert upstream.requests[-1] == asked


@pytest.mark.node
async def test_javascript_that_is_copied_asks_the_same(page: Page, server: Server, upstream: Upstream) -> None:
    await opened(page, server)
    parameters = await fill_parameters(page)
    await page.get_by_label("Message").fill(TRICKY)
    javascript = await code(page, "JavaScript")
    with tempfile.NamedTemporaryFile("w", dir=snippets_folder(), suffix=".mjs") as file:
        file.write(javascript)
        file.flush()
        assert await output_of("node", file.name) == f"{ANSWER}\n"
    assert upstream.requests[-1]["messages"][-1] == {"role": "user", "content": TRICKY}
    assert {name: upstream.requests[-1][name] for name in parameters} == parameters


async def test_it_fits_a_telephone(chromium: Browser, server: Server) -> None:
    context = await chromium.new_context(viewport={"width": 360, "height": 640}, has_touch=True)
    page = await context.new_page()
    await opened(page, server)
    await page.get_by_label("Message").fill("Hello")
    await page.get_by_role("button", name="Send").tap()
    await expect(page.locator("article.assistant .text")).to_have_text(ANSWER)
    await expect(page.get_by_label("Message")).to_be_in_viewport()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    await page.get_by_text("Settings", exact=True).tap()
    await expect(page.get_by_label("Temperature")).to_be_visible()
    await context.close()


async def test_the_description_of_the_api_works_offline(page: Page, server: Server) -> None:
    await page.goto(f"{server.url}/docs")
    await expect(page.get_by_text("Create a chat completion").first).to_be_visible()
    await page.get_by_text("Create a chat completion").first.click()
    await expect(page.get_by_role("button", name="Try it out")).to_be_visible()
    description = json.loads(await (await page.request.get(f"{server.url}/openapi.json")).text())
    assert description["openapi"].startswith("3.1")
    schemes = description["components"]["securitySchemes"].values()
    assert [(scheme["type"], scheme["scheme"]) for scheme in schemes] == [("http", "bearer")]
