"""What a newcomer does: clone, `make serve`, and the official client has an answer from a model on this machine."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from openai import OpenAI

from tests.servers import ROOT, Server, environment, free_port, listening, processes, starting, wait_until_ready

pytestmark = [pytest.mark.slow, pytest.mark.local_model, pytest.mark.timeout(900)]

SET_UP_SECONDS = 800.0
WATCHER_SECONDS = 30.0


@pytest.fixture(scope="module")
def clone() -> Iterator[Path]:
    """The tracked files as they are now, in a folder of their own: no virtual environment, nothing built."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory(prefix="llamastack-clone-") as folder:
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                target = Path(folder) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target)
        yield Path(folder)


@contextmanager
def make_serve(clone: Path, home: Path) -> Iterator[Server]:
    port = free_port()
    env = environment(home, LLAMA_STACK_PORT=str(port))
    for inherited in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VIRTUAL_ENV"):
        env.pop(inherited, None)
    with starting(["make", "serve"], env, port, cwd=clone) as server:
        wait_until_ready(server, SET_UP_SECONDS)
        yield server


def gone(server: Server, home: Path) -> bool:
    """Whether nothing is left; the Makefile's watcher looks twice a second."""
    deadline = time.monotonic() + WATCHER_SECONDS
    while processes(home) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not listening(server.port) and not processes(home)


def test_make_serve_sets_itself_up_answers_and_leaves_nothing_running(clone: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with make_serve(clone, home) as first:
        print(f"`make serve` was ready after {first.seconds:.0f} s, set-up included")
        assert "First admin: user admin, password " in first.output
        assert f"Playground {first.url}/\n" in first.output
        client = OpenAI(base_url=f"{first.url}/v1", api_key="none", timeout=60)
        answer = client.chat.completions.create(
            model="SmolLM2-135M-Instruct",
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            temperature=0,
            max_tokens=20,
        )
        assert "Paris" in str(answer.choices[0].message.content)
        vector = client.embeddings.create(model="all-MiniLM-L6-v2", input="hello").data[0].embedding
        assert len(vector) == 384
        first.stop(signal.SIGTERM)
        assert gone(first, home)
    with make_serve(clone, home) as second:
        assert "First" not in second.output
        os.killpg(second.process.pid, signal.SIGINT)  # Ctrl-C reaches the whole group
        second.process.wait(60)
        assert gone(second, home)
