"""Nothing but egress reaches other machines: what ruff's banned imports cannot see is looked for here."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
# Modules that speak to other machines, as far as Python or our requirements have them.
SPEAKING = {
    *("aiohttp", "ftplib", "grpc", "httpcore", "httptools", "httpx", "huggingface_hub", "imaplib", "paramiko"),
    *("poplib", "pycurl", "requests", "smtplib", "telnetlib", "tornado", "urllib3", "websocket", "websockets"),
    *("xmlrpc", "http.client", "urllib.request", "multiprocessing.connection"),
    *("transformers.image_utils", "transformers.video_utils"),
}  # fmt: skip
# Methods of loops and sockets that do, whatever they are called on.
CONNECTING = {
    *("create_connection", "create_unix_connection", "create_datagram_endpoint", "open_connection"),
    *("open_unix_connection", "sock_connect", "connect_ex", "sendto", "urlopen", "urlretrieve"),
    *("load_image", "fetch_images"),
}  # fmt: skip
# What may, and why.
DOOR = {
    "llamastack/client.py": "the official clients' classes, over our own transport",
    "llamastack/transport.py": "that transport: httpx's types, and no network",
}
# Sockets that lead to a process of our own, and nowhere else.
LOCAL = {"apps/file_processors/sandbox.py": {"open_unix_connection"}}


# gRPC, which egress does not speak: to a server of Milvus, and to the one that is within our own process.
BY_GRPC = {
    "apps/vector_io/providers/in_milvus/client.py": {"grpc"},
    "apps/vector_io/providers/inline/milvus.py": {"grpc"},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("llamastack", "apps"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name not in DOOR and not name.startswith("llamastack/egress/"):
                yield name, ast.parse(path.read_text())


def reaching(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if speaks(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            yield from (name for name in names if speaks(name) or name.rpartition(".")[2] in CONNECTING)
        elif isinstance(node, ast.Attribute) and node.attr in CONNECTING:
            yield node.attr


def speaks(module: str) -> bool:
    return any(module == known or module.startswith(f"{known}.") for known in SPEAKING)


def test_no_other_module_reaches_out() -> None:
    found = {name: set(reaching(tree)) for name, tree in modules()}
    assert {name: words for name, words in found.items() if words} == LOCAL | BY_GRPC


def test_sockets_are_for_listening_alone() -> None:
    """`connect` is a method of databases and of Django's signals too, so that it is looked for where sockets are."""
    for name, tree in modules():
        nodes = list(ast.walk(tree))
        if any(isinstance(node, ast.Import) and node.names[0].name == "socket" for node in nodes):
            called = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute) and node.attr == "connect"}
            assert called <= {"psycopg.connect"}, name


@pytest.mark.parametrize(
    "code",
    [
        "import aiohttp",
        "import urllib.request as r",
        "from http import client",
        "from http.client import HTTPConnection",
        "from transformers.image_utils import load_image",
        "from socket import create_connection",
        "import asyncio\nasync def f(): await asyncio.open_connection('a', 1)",
        "async def f(loop, s): await loop.sock_connect(s, ('a', 1))",
    ],
)
def test_what_reaches_out_would_be_found(code: str) -> None:
    assert list(reaching(ast.parse(code)))


def test_ruff_refuses_the_imports_while_they_are_written() -> None:
    code = "import urllib3\nimport http.client\nimport socket\nsocket.create_connection(('a', 1))\n"
    command = [sys.executable, "-m", "ruff", "check", "--select=TID251", "--stdin-filename=apps/x.py", "-"]
    ran = subprocess.run(command, cwd=ROOT, input=code, capture_output=True, text=True)
    assert ran.stdout.count("TID251") == 3
