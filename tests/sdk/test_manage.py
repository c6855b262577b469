"""docs/manage.md: its lines run as they stand, one after the other, against a real server that asks for keys."""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import upstream as dialect
from tests.live import SERVERS
from tests.servers import ROOT, Server, serving
from tests.upstream import Upstream

PAGE = (ROOT / "docs" / "manage.md").read_text()
SECRET = "sk-very-secret"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with dialect.serving() as running:
        yield running


@pytest.fixture(params=SERVERS)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    with ExitStack() as stack:
        running = serving("remote-only", "--server", request.param, home=tmp_path, env={"LLAMA_STACK_AUTH": "required"})
        yield await asyncio.to_thread(stack.enter_context, running)


def ran(script: str, key: str) -> "subprocess.CompletedProcess[str]":
    env = os.environ | {"LLAMA_STACK_API_KEY": key, "no_proxy": "*"}
    return subprocess.run(["bash", "-e", "-c", script], env=env, capture_output=True, text=True, timeout=100)


async def test_the_lines_of_the_page(server: Server, upstream: Upstream) -> None:
    script = "\n".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL))
    assert SECRET in script
    script = script.replace("http://127.0.0.1:8321", server.url).replace("http://127.0.0.1:8000/v1", upstream.url)
    done = await asyncio.to_thread(ran, script, server.first_key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert SECRET not in done.stdout
    for said in ('"ok":true', '"models":2', '"max_tokens":2048', '"default":true', '"state":"revoked"'):
        assert said in done.stdout
    refused = await asyncio.to_thread(ran, script, "lls-wrong")
    assert refused.returncode != 0
