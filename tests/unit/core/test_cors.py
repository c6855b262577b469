"""Pages of other origins: those that are listed may call and read the API, others may not."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from llamastack import guards, settings
from llamastack.call import AT_ONCE
from tests.servers import serving

PAGE = "https://chat.example"
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    with serving(home=home, env={"LLAMA_STACK_ALLOWED_ORIGINS": f"{PAGE}, http://localhost:3000"}) as server:
        yield server.url


def preflight(url: str, origin: str, path: str = CHAT) -> httpx.Response:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    return httpx.options(url + path, headers={"Origin": origin} | asked)


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:3000"])
def test_the_preflight_of_a_listed_page_is_answered(url: str, origin: str) -> None:
    response = preflight(url, origin)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == origin
    assert response.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    assert {"GET", "POST", "DELETE"} <= set(response.headers["Access-Control-Allow-Methods"].split(", "))
    assert response.headers["Access-Control-Max-Age"] == "600"


@pytest.mark.parametrize("origin", ["https://evil.example", f"{PAGE}.evil.example", f"{PAGE}:444", "null"])
def test_the_preflight_of_another_page_is_refused(url: str, origin: str) -> None:
    response = preflight(url, origin)
    assert response.status_code == 403
    assert "Access-Control-Allow-Origin" not in response.headers


def test_a_listed_page_reads_answers_and_errors(url: str) -> None:
    listed = {"Origin": PAGE}
    answer = httpx.get(f"{url}/v1/models", headers=listed)
    error = httpx.post(url + CHAT, json={"model": "nothing", "messages": []}, headers=listed)
    assert (answer.status_code, error.is_client_error) == (200, True)
    for response in (answer, error):
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        assert "Origin" in response.headers["Vary"]
        exposed = "Retry-After, X-LlamaStack-Served-By, X-LlamaStack-Lane"
        assert response.headers["Access-Control-Expose-Headers"] == exposed


def test_a_refusal_before_django_can_be_read_too(url: str) -> None:
    response = httpx.post(url + CHAT, content=b"x", headers={"Origin": PAGE, "Content-Type": "text/plain"})
    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (400, PAGE)


def test_pages_of_ours_are_nobodys_to_read(url: str) -> None:
    """The admin's session is a cookie: what it shows is for its own pages."""
    response = httpx.get(f"{url}/admin/login/", headers={"Origin": PAGE})
    assert "Access-Control-Allow-Origin" not in response.headers


def test_credentials_are_never_shared(url: str) -> None:
    assert "Access-Control-Allow-Credentials" not in preflight(url, PAGE).headers


def test_server_cors_lists_the_origins(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(f"version: 2\nimage_name: web\nserver:\n  cors:\n    allow_origins: ['{PAGE}']\n")
    with serving(config, home=tmp_path / "home") as server:
        assert preflight(server.url, PAGE).status_code == 204
        assert preflight(server.url, "http://localhost:3000").status_code == 403


@pytest.mark.parametrize(("origin", "kept"), [(PAGE, False), ("http://other.example", True)])
def test_no_answer_to_a_page_goes_past_what_lets_it_read(origin: str, kept: bool) -> None:
    settings.ALLOWED_ORIGINS, before = [PAGE], settings.ALLOWED_ORIGINS
    scope = {"path": CHAT, "headers": [(b"origin", origin.encode())], AT_ONCE: object()}
    try:
        guards.readable(scope, None)
    finally:
        settings.ALLOWED_ORIGINS = before
    assert (AT_ONCE in scope) is kept
