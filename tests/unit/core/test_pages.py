"""Pages have Django's protections; the API, which needs none of them, is spared them."""

import os
import subprocess
import sys
from inspect import getclosurevars
from typing import Any

import httpx
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.db import OperationalError
from django.http import HttpRequest
from ninja import Router

from llamastack import api as composition
from llamastack.urls import HOT, failed, urlpatterns
from tests.servers import ROOT


async def test_a_page_may_not_be_framed(client: httpx.AsyncClient) -> None:
    page = await client.get("/admin/login/")
    assert page.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "same-origin"


async def test_a_form_without_its_token_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post("/admin/login/", data={"username": "a", "password": "b"})).status_code == 403


async def test_the_api_sets_no_cookie_and_asks_for_no_token(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/chat/completions", json={})
    assert answer.status_code == 400
    assert "set-cookie" not in answer.headers


def test_a_request_of_the_api_goes_round_all_middleware_of_pages() -> None:
    handler: Any = ASGIHandler()
    outermost = handler._middleware_chain.__wrapped__
    assert getclosurevars(outermost).nonlocals["view"].__wrapped__ == handler._get_response_async


def test_what_is_asked_most_is_found_first() -> None:
    found = [str(pattern.pattern) for pattern in urlpatterns[: len(HOT) + 1]]
    assert set(found) == set(HOT)


async def test_an_address_that_is_nothing_has_a_page_and_in_the_api_an_error(client: httpx.AsyncClient) -> None:
    page = await client.get("/nope")
    assert (page.status_code, "There is nothing here" in page.text) == (404, True)
    for path in ("/v1", "/v1/nope"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")


def test_a_page_that_finds_no_database_says_when_to_come_back() -> None:
    try:
        raise OperationalError("the connection is lost")
    except OperationalError:
        answer = failed(HttpRequest())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.slow
def test_behind_tls_cookies_travel_on_it_alone() -> None:
    names = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT")
    code = f"from llamastack import settings; print(*(getattr(settings, name) for name in {names}))"
    env = os.environ | {"LLAMA_STACK_HTTPS": "1"}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert ran.stdout == "True True True\n"


def test_every_operation_of_the_api_is_async() -> None:
    """What is not would wait for all others in the one thread that these share (llamastack/threads.py)."""
    routers = [value for value in vars(composition).values() if isinstance(value, Router)]
    views = [view for router in routers for view in router.path_operations.values()]
    operations = [operation for view in views for operation in view.operations]
    assert operations
    assert all(operation.is_async for operation in operations)
