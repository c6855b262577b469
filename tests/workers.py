"""`llama worker` in a process of its own, beside a server of `tests.servers`."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.servers import POLL_SECONDS, READY_SECONDS, STARTS, Server, environment, starting

READY = "does the jobs of"


@contextmanager
def working(config: str | Path, *options: str, home: Path, env: Mapping[str, str]) -> Iterator[Server]:
    """Ready to take jobs; killed with all it started if it is still there. `env` has at least REDIS_URL."""
    command = [sys.executable, "-m", "llamastack.cli", "worker", "--config", str(config), *options]
    with ExitStack() as running:
        with STARTS:
            worker = running.enter_context(starting(command, environment(home, **env), 0))
            wait_for(worker, READY)
        yield worker


def wait_for(process: Server, text: str, seconds: float = READY_SECONDS) -> None:
    """Until it has printed that."""
    started = time.monotonic()
    while text not in process.output:
        if process.process.poll() is not None or time.monotonic() - started > seconds:
            raise AssertionError(f"It did not print '{text}':\n{process.output}")
        time.sleep(POLL_SECONDS)
