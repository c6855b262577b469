"""What a person does on the pages, by the names that the person sees."""

from playwright.async_api import Page, expect

from tests.servers import Server


async def log_in(page: Page, server: Server, password: str) -> None:
    await page.goto(f"{server.url}/admin/")
    await page.get_by_label("Username").fill("admin")
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()
    await expect(page).to_have_url(f"{server.url}/admin/")


async def add_provider(page: Page, server: Server, identifier: str, base_url: str) -> None:
    """A server of the OpenAI dialect, by the links and the form of the admin."""
    await page.goto(f"{server.url}/admin/registry/provider/")
    await page.get_by_title("Add provider").first.click()
    await page.get_by_role("region", name="inference").get_by_role("link", name="remote::openai").first.click()
    await page.locator("[name=identifier]").fill(identifier)
    await page.locator("[name=config_base_url]").fill(base_url)
    await page.locator("[name=config_api_key]").fill("sk-upstream")
    await page.locator("[name=_save]").click()
    await expect(page.get_by_text("was added successfully")).to_be_visible()


async def make_default(page: Page, server: Server, model: str) -> None:
    await page.goto(f"{server.url}/admin/registry/model/")
    await page.get_by_role("link", name=model, exact=True).click()
    await page.get_by_label("Default").check(force=True)  # the box itself lies under its switch
    await page.locator("[name=_save]").click()
    await expect(page.get_by_text("was changed successfully")).to_be_visible()


async def choose(page: Page, model: str) -> None:
    """A model in the playground."""
    await page.get_by_label("Model", exact=True).select_option(model)


async def say(page: Page, text: str) -> None:
    await page.get_by_label("Message").fill(text)
    await page.get_by_label("Message").press("Enter")
