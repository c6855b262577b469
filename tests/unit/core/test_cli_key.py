"""`llama key` against a server that demands keys."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.servers import ROOT, Server, environment, serving

pytestmark = pytest.mark.slow
SECONDS_UNTIL_SEEN = 30.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "home"


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    with serving("remote-only", home=home, env={"LLAMA_STACK_AUTH": "required"}) as running:
        yield running


def key(home: Path, *arguments: str, config: str = "remote-only") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llamastack.cli", "key", *arguments, "--config", config]
    return subprocess.run(command, env=environment(home), cwd=ROOT, capture_output=True, text=True, timeout=60)


def status(server: Server, secret: str) -> int:
    return httpx.get(f"{server.url}/v1/models", headers={"Authorization": f"Bearer {secret}"}).status_code


def becomes(server: Server, secret: str, wanted: int) -> bool:
    deadline = time.monotonic() + SECONDS_UNTIL_SEEN
    while status(server, secret) != wanted:
        if time.monotonic() > deadline:
            return False
    return True


def test_a_key_opens_the_running_server_until_it_is_revoked(home: Path, server: Server) -> None:
    created = key(home, "create", "laptop", "--owner", "ann", "--admin", "--expires", "30d")
    secret = created.stdout.strip()
    assert (created.returncode, secret[:4]) == (0, "lls-")
    assert becomes(server, secret, 200)
    row = next(line for line in key(home, "list").stdout.splitlines() if "laptop" in line)
    assert row.startswith(secret[:10])
    assert {"ann", "yes", "force"} <= set(row.split())
    assert secret not in row
    revoked = key(home, "revoke", secret[:10])
    assert revoked.stdout == f"The key {secret[:10]}… (laptop) is revoked.\n"
    assert becomes(server, secret, 401)
    assert "revoked" in key(home, "list").stdout


def test_a_prefix_that_fits_none_or_several_revokes_nothing(home: Path, server: Server) -> None:
    secret = key(home, "create", "kept").stdout.strip()
    none, several = key(home, "revoke", "lls-zzzzzzzzzz"), key(home, "revoke", "lls-")
    assert (none.returncode, several.returncode) == (1, 1)
    assert "No key that is in force begins with 'lls-zzzzzz'" in none.stderr
    assert "Several keys begin with 'lls-'" in several.stderr
    assert becomes(server, secret, 200)


def test_the_database_is_that_of_the_configuration(home: Path, server: Server) -> None:
    key(home, "create", "elsewhere", config="starter")
    assert "elsewhere" in key(home, "list", config="starter").stdout
    assert "elsewhere" not in key(home, "list").stdout


def test_an_unknown_distribution_is_one_sentence(home: Path) -> None:
    done = key(home, "list", config="remot-only")
    assert (done.returncode, "did you mean 'remote-only'?" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr
