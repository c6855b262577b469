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


HANGS = """
import asyncio, threading, time
import django
django.setup()
from llamastack.cli.on_celery import watch

loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
loop.call_soon_threadsafe(time.sleep, 600)
watch(loop, 0.2)
"""


def test_a_worker_whose_loop_hangs_ends_and_tells_where_it_was(tmp_path: Path) -> None:
    env = environment(tmp_path, DJANGO_SETTINGS_MODULE="llamastack.settings")
    ended = subprocess.run([sys.executable, "-c", HANGS], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "Nothing has gone on for 0.2 s: this worker ends" in ended.stderr
    assert "most recent call first" in ended.stderr
