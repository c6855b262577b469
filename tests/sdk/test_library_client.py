"""The library client in programs of its own: the local model, what a host program keeps, what it is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT, environment

TIMEOUT_SECONDS = 100


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def ran(home: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A Python program in a process of its own."""
    env = environment(home, PYTHONPATH=str(ROOT), **variables)
    return subprocess.run(
        [sys.executable, *command], cwd=home, env=env, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )


@pytest.mark.local_model
@pytest.mark.slow
def test_the_example(home: Path) -> None:
    done = ran(home, str(ROOT / "examples" / "04_library_client.py"))
    assert done.returncode == 0, done.stderr
    assert "'all-MiniLM-L6-v2'" in done.stdout
    assert done.stdout.count("Paris") == 2
