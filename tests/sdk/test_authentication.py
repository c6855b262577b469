"""A server that asks for keys, and the command that makes and revokes them."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.servers import ANSWER_SECONDS, ROOT, Server, environment, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    with serving("remote-only", home=home, env={"LLAMA_STACK_AUTH": "required"}) as running:
        yield running


def llama(home: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "llamastack.cli", *arguments, "--config", "remote-only"]
    return subprocess.run(command, cwd=ROOT, env=environment(home), capture_output=True, text=True, check=True).stdout


def status(server: Server, key: str | None = None, header: str = "Authorization") -> int:
    value = key if header == "x-api-key" else f"Bearer {key}"
    return httpx.get(
        f"{server.url}/v1/models", headers={header: value or ""} if key else {}, timeout=ANSWER_SECONDS
    ).status_code


def test_without_a_key_only_health_and_version_answer(server: Server) -> None:
    assert status(server) == 401
    assert status(server, "lls-guess") == 401
    assert httpx.get(f"{server.url}/v1/health", timeout=ANSWER_SECONDS).status_code == 200
    assert httpx.get(f"{server.url}/v1/version", timeout=ANSWER_SECONDS).status_code == 200


def test_a_head_without_an_end_is_refused(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nX-Long: ")
        with pytest.raises(ConnectionError):
            client.sendall(b"x" * 2**25)
    assert httpx.get(f"{server.url}/v1/health", timeout=ANSWER_SECONDS).status_code == 200


def test_the_error_says_what_to_send(server: Server) -> None:
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="lls-guess", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError, match="unknown, expired or revoked"),
    ):
        client.models.list()


def test_a_key_lets_in_until_it_is_revoked(server: Server, home: Path) -> None:
    key = llama(home, "key", "create", "ci").strip()
    assert status(server, key) == 200
    assert status(server, key, "x-api-key") == 200
    llama(home, "key", "revoke", key[:10])
    started = time.monotonic()
    while status(server, key) != 401:
        assert time.monotonic() - started < 30
    assert key not in server.output


def test_the_admin_key_that_was_printed_works(server: Server) -> None:
    assert status(server, server.first_key) == 200
