"""The pages of docs/api: their lines run as they stand against the real server, and no endpoint is forgotten."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llamastack.api import api
from llamastack.apis import ALIASES
from tests.sdk.conftest import ON_ONE
from tests.servers import ROOT, Server
from tests.upstream import Upstream, in_thread

PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))
BLOCK = re.compile(r"```(bash|python|text)\n(.*?)```", re.DOTALL)
VENDOR = "http://127.0.0.1:8000/v1"
COMMANDS = {"bash": ["bash", "-euc"], "python": [sys.executable, "-c"]}


@pytest.fixture(scope="module")
def vendor() -> Iterator[Upstream]:
    with in_thread() as running:
        yield running


def ran(language: str, block: str, server: Server, vendor: Upstream) -> str:
    """What a block prints. A vendor's server, where a page adds one, is the small upstream."""
    script = block.replace("127.0.0.1:8321", f"127.0.0.1:{server.port}").replace(VENDOR, vendor.url)
    env = os.environ | {"no_proxy": "*"}
    done = subprocess.run([*COMMANDS[language], script], env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    return done.stdout


def shows(output: str, line: str) -> bool:
    """Whether the output has what a page says it prints; `…` stands for anything."""
    return re.search(".*".join(map(re.escape, line.split("…"))), output, re.DOTALL) is not None


@ON_ONE
@pytest.mark.local_model
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_lines_of_a_page_run_and_print_what_it_says(page: Path, server: Server, vendor: Upstream) -> None:
    output = ""
    for language, block in BLOCK.findall(page.read_text()):
        if language == "text":
            missing = [line for line in block.splitlines() if not shows(output, line)]
            assert missing == [], output
        else:
            output = ran(language, block, server, vendor)


def test_every_endpoint_has_its_page() -> None:
    told = "\n".join(page.read_text() for page in PAGES)
    served = api.get_openapi_schema(path_prefix="")["paths"]
    routes = {
        f"{method.upper()} {path}"
        for path, methods in served.items()
        if not path.startswith(ALIASES)
        for method in methods
    }
    assert {route for route in routes if f"`{route}`" not in told} == set()
