"""`llama worker` and `llama beat`: what they refuse, and how they end."""

import subprocess
import sys
from pathlib import Path

import pytest

from llamastack.services import Services
from tests.servers import ROOT, environment, free_port, starting
from tests.workers import wait_for, working

pytestmark = pytest.mark.slow


def failed(home: Path, *arguments: str, **variables: str) -> str:
    command = [sys.executable, "-m", "llamastack.cli", *arguments]
    done = subprocess.run(command, env=environment(home, **variables), cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, ""), done
    return " ".join(done.stderr.split())


def test_without_redis_it_says_what_to_do(tmp_path: Path) -> None:
    told = failed(tmp_path, "worker")
    assert told.startswith("`llama worker` needs Redis: start one and set REDIS_URL")
    assert "the server does its jobs itself" in told


def test_local_models_are_the_servers(tmp_path: Path) -> None:
    told = failed(tmp_path, "worker", "--config", "starter", REDIS_URL="redis://127.0.0.1:1")
    assert "meta-reference" in told
    assert "LLAMA_STACK_JOBS=here" in told


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"LLAMA_STACK_JOBS": "there"}, "LLAMA_STACK_JOBS is 'here' or 'workers'"),
        ({"LLAMA_STACK_JOBS": "workers"}, "Set REDIS_URL"),
        ({"REDIS_URL": "127.0.0.1:6379"}, "REDIS_URL must begin with redis://"),
    ],
)
def test_a_variable_that_is_wrong_is_told(tmp_path: Path, variables: dict[str, str], told: str) -> None:
    assert told in failed(tmp_path, "key", "list", "--config", "remote-only", **variables)


def test_it_says_what_it_does_and_ends_cleanly(services: Services, tmp_path: Path) -> None:
    env = {"REDIS_URL": services.redis_url}
    with working("remote-only", "--queue", "gpu", "--concurrency", "2", home=tmp_path, env=env) as worker:
        assert "does the jobs of the queue gpu, 2 at once" in worker.output
        assert worker.stop() == 0
    assert "Warning" not in worker.output
    assert "Traceback" not in worker.output


def test_it_waits_for_redis_until_it_is_told_to_stop(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llamastack.cli", "worker", "--config", "remote-only"]
    with starting(command, environment(tmp_path, REDIS_URL=f"redis://127.0.0.1:{free_port()}"), 0) as worker:
        wait_for(worker, "Redis, at REDIS_URL, is tried each second")
        assert worker.stop() == 0


def test_beat_needs_no_redis_and_ends_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llamastack.cli", "beat", "--config", "remote-only"]
    with starting(command, environment(tmp_path), 0) as beat:
        wait_for(beat, "Beat makes the jobs of the schedules")
        assert beat.stop() == 0
    assert "Traceback" not in beat.output
