"""`manage.py runserver`: daphne under Django's autoreloader, on the database that `llama` commands use too."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests import upstream as dialect
from tests.servers import ANSWER_SECONDS, ROOT, Server, environment, free_port, processes, starting, wait_until_ready
from tests.upstream import Upstream

RUN = """
version: 2
image_name: development
apis: [inference]
providers:
  inference:
  - provider_id: sky
    provider_type: remote::openai
    config: {base_url: "%s"}
models:
- {model_id: sky-1, provider_id: sky}
"""
RELOAD_SECONDS = 60
GONE_SECONDS = 30
CHAT = {"model": "sky-1", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with dialect.serving() as running:
        yield running


def manage(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment(home, **variables), capture_output=True, text=True)


def until_reloaded(server: Server, file: Path) -> None:
    """Change the file until that is seen: the reloader sees no change before its first look at all files."""
    began = time.monotonic()
    while server.output.count("Starting ASGI/Daphne") < 2:
        assert time.monotonic() - began < RELOAD_SECONDS, server.output
        if "changed, reloading" not in server.output:
            os.utime(file)
        time.sleep(0.2)
    wait_until_ready(server)


def until_gone(home: Path) -> None:
    """The reloader has its child killed, and does not wait for it."""
    began = time.monotonic()
    while left := processes(home):
        assert time.monotonic() - began < GONE_SECONDS, left
        time.sleep(0.02)


@pytest.mark.slow
async def test_it_serves_the_registry_and_static_files_and_reloads(upstream: Upstream, tmp_path: Path) -> None:
    home, run = tmp_path / "home", tmp_path / "run.yaml"
    run.write_text(RUN % upstream.url)
    settings = tmp_path / "development.py"
    settings.write_text("from llamastack.settings import *\n")
    variables = {"LLAMA_STACK_CONFIG": str(run), "DJANGO_SETTINGS_MODULE": "development", "DJANGO_DEBUG": "1"}
    env = environment(home, PYTHONPATH=f"{tmp_path}:{ROOT}", **variables)
    port = free_port()
    llama = [sys.executable, "-m", "llamastack.cli", "stack", "apply", str(run)]
    subprocess.run(llama, cwd=ROOT, env=env, capture_output=True, check=True)
    with starting([sys.executable, "manage.py", "runserver", str(port)], env, port) as server:
        wait_until_ready(server)
        async with httpx.AsyncClient(base_url=server.url, timeout=ANSWER_SECONDS) as http:
            for again in (False, True):
                if again:
                    await asyncio.to_thread(until_reloaded, server, settings)
                chat = await http.post("/v1/chat/completions", json=CHAT)
                assert chat.json()["choices"][0]["message"]["content"] == "The sky is blue."
                streamed = await http.post("/v1/chat/completions", json=CHAT | {"stream": True})
                assert streamed.text.endswith("data: [DONE]\n\n")
                for path in ("/", "/admin/login/", "/static/console/page.css", "/static/admin/css/base.css"):
                    assert (await http.get(path)).status_code == 200, path
        os.killpg(server.process.pid, signal.SIGINT)  # Ctrl-C reaches the whole group
        server.process.wait(60)
        assert "unapplied migration" not in server.output
    await asyncio.to_thread(until_gone, home)


def test_a_configuration_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    done = manage(tmp_path / "home", "check", LLAMA_STACK_CONFIG="startr")
    assert done.returncode == 1
    assert "starter" in done.stderr
    assert "Traceback" not in done.stderr
