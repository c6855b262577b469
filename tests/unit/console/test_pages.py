"""The pages are shells: static, offline, and closed to the scripts of others."""

import re
from typing import Any

import httpx
import pytest

PAGES = ["/", "/docs"]


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_loads_nothing_from_elsewhere(client: httpx.AsyncClient, path: str) -> None:
    page = await client.get(path)
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert addresses
    assert all(address.startswith(("/", "#")) and not address.startswith("//") for address in addresses)


@pytest.mark.parametrize("path", PAGES)
async def test_what_a_page_names_is_there(client: httpx.AsyncClient, path: str) -> None:
    page = await client.get(path)
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
        assert (await client.get(address)).status_code == 200, address


async def test_a_page_needs_no_key_and_says_whether_the_api_does(client: httpx.AsyncClient, settings: Any) -> None:
    assert 'data-auth-required="false"' in (await client.get("/")).text
    settings.AUTH_REQUIRED = True
    assert 'data-auth-required="true"' in (await client.get("/")).text


async def test_scripts_are_served_as_scripts(client: httpx.AsyncClient) -> None:
    for name in ("playground", "chat", "snippets"):
        script = await client.get(f"/static/console/{name}.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert "innerHTML" not in script.text
    assert (await client.get("/static/console/none.js")).status_code == 404
    assert (await client.get("/static/../llamastack/settings.py")).status_code == 404


async def test_a_file_that_has_not_changed_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/static/console/playground.css")
    again = await client.get("/static/console/playground.css", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await client.head("/static/console/playground.css")).headers["content-length"] == str(len(first.content))
    assert (await client.post("/static/console/playground.css")).status_code == 405
