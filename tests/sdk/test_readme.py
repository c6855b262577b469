"""What the README and the examples show, run as they stand against the real server."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from websockets.asyncio.client import connect

from llamastack.cli import app
from tests.sdk.conftest import CHAT, ON_ONE
from tests.servers import ROOT, Server

README = (ROOT / "README.md").read_text()
NODE = Path(__file__).parent / "node"
EXAMPLES = sorted((ROOT / "examples").glob("0[1-36]_*.py"))  # 04 has no server: test_library_client.py
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found
    return found[1]


def ran(command: list[str], server: Server, cwd: Path = ROOT) -> str:
    command = [part.replace("http://127.0.0.1:8321", server.url) for part in command]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    return result.stdout


@ON_ONE
@pytest.mark.local_model
def test_the_curl_line(server: Server) -> None:
    lines = [line.strip().rstrip("\\") for line in README.split("curl:\n\n")[1].splitlines()[:2]]
    assert json.loads(ran(["bash", "-c", " ".join(lines)], server))["model"] == CHAT


@ON_ONE
@pytest.mark.local_model
def test_the_python_lines(server: Server) -> None:
    said = ran([sys.executable, "-c", block("python")], server)
    assert "Paris" in said
    assert said.endswith("384\n")


@ON_ONE
@pytest.mark.local_model
@pytest.mark.node
def test_the_javascript_lines(server: Server) -> None:
    assert "Paris" in ran(["node", "--input-type=module", "-e", block("js")], server, NODE)


@ON_ONE
@pytest.mark.local_model
async def test_the_websocket(server: Server) -> None:
    question = [{"role": "user", "content": "What is the capital of France?"}]
    body = {"model": CHAT, "messages": question, "temperature": 0, "max_tokens": 20}
    async with connect(f"{server.url.replace('http', 'ws')}/ws/chat") as socket:
        await socket.send(json.dumps(body))
        said = ""
        async for message in socket:
            if message == "[DONE]":
                break
            chunk = json.loads(message)
            said += chunk["choices"][0]["delta"].get("content", "")
    assert "Paris" in said


@ON_ONE
@pytest.mark.local_model
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example(server: Server, example: Path) -> None:
    assert "Paris" in ran([sys.executable, str(example), server.url], server)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


def test_every_make_target_shown_exists() -> None:
    """A target is shown as `make target`, or on a line of its own that begins with it."""
    makefile = (ROOT / "Makefile").read_text()
    shown = {
        target
        for document in DOCUMENTS
        for target in re.findall(r"(?:`|^    )make ([a-z-]+)", document.read_text(), re.MULTILINE)
    }
    known = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert shown - known - {f"bench-{file.stem}" for file in (ROOT / "benchmarks").glob("[!_]*.py")} == set()


def test_every_command_shown_exists() -> None:
    shown = set(re.findall(r"llama ((?:stack|model|key) [a-z-]+)", README))
    known = set(commands(get_command(app)))
    assert shown - known == set()


def commands(command: Any, path: str = "") -> Iterator[str]:
    """The words after `llama` of every command."""
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{path} {name}".strip())
