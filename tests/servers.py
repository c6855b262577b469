"""The real server in a process of its own, for tests that need one: on a free port, ready, stopped, its output kept."""

import atexit
import http.client
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from pathlib import Path

import psycopg

from llamastack.home import models_dir
from llamastack.services import Services

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 90.0
STOP_SECONDS = 60.0  # of which it grants 30 to calls in flight
ANSWER_SECONDS = 60.0  # an HTTP client's patience with a server that shares its machine: httpx has 5
POLL_SECONDS = 0.02
STARTS = threading.BoundedSemaphore(2)  # at once: of ten, each would take as long as all of them
EACH_HAS_PORTS = 250
OURS = ("DATABASE_URL", "REDIS_URL", "INFERENCE_MODEL", "SAFETY_MODEL", "CONFIG")


@dataclass
class Server:
    """A server under test. `url` has no path; `seconds` is what it took from its start until it was ready."""

    url: str
    port: int
    process: "subprocess.Popen[bytes]"
    log: Path
    seconds: float = 0.0
    kept: str = ""

    @property
    def output(self) -> str:
        """What it has printed so far, stdout and stderr together; all of it once it has ended."""
        return self.log.read_text(errors="replace") if self.log.exists() else self.kept

    @property
    def first_key(self) -> str:
        """The admin's API key that it has made at its first start, where keys are asked for."""
        return self.told(r"First API key: (\S+)")

    @property
    def first_password(self) -> str:
        """The first superuser's."""
        return self.told(r"password (\S+)")

    def told(self, pattern: str) -> str:
        """What it has printed in the place of the pattern's group."""
        found = re.search(pattern, self.output)
        assert found, self.output
        return found[1]

    def send(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop and wait; returns its exit code. One that does not stop is killed and fails the test."""
        if self.process.poll() is None:
            self.send(number)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f"The server did not stop within {STOP_SECONDS:g} s:\n{self.output}") from None


@cache
def _ports() -> Iterator[int]:
    """Those of this process alone: it holds a socket that has the name of the first of them, and no file."""
    held = socket.socket(socket.AF_UNIX)
    atexit.register(held.close)
    while True:
        first = random.randrange(20_000, 31_000, EACH_HAS_PORTS)
        with suppress(OSError):
            held.bind(f"\0llamastack-tests-{first}")
            return cycle(range(first, first + EACH_HAS_PORTS))


def free_port() -> int:
    """One that nobody else takes before it is used: the kernel itself gives out none of these."""
    while True:
        port = next(_ports())
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def new_database(services: Services, name: str) -> str:
    """The URL of an empty database of that name, beside the one of the tests; a former one is dropped."""
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    return services.database_url.rpartition("/")[0] + f"/{name}"


def environment(home: Path, **variables: str) -> dict[str, str]:
    """A clean environment for a server whose state is in `home`: nothing of this test run but its lane and its models.

    SQLite in `home` unless DATABASE_URL is among `variables`.
    """
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "models").exists():
        (home / "models").symlink_to(models_dir().resolve())
    kept = {name: value for name, value in os.environ.items() if not _ours(name)}
    lane = os.environ.get("LLAMA_STACK_FAST_LANE", "1")
    return kept | {"LLAMA_STACK_HOME": str(home), "LLAMA_STACK_FAST_LANE": lane, "PYTHONUNBUFFERED": "1", **variables}


def _ours(name: str) -> bool:
    return name in OURS or name.startswith(("LLAMA_STACK_", "DJANGO_"))


@contextmanager
def starting(command: Sequence[str], env: Mapping[str, str], port: int, cwd: Path = ROOT) -> Iterator[Server]:
    """Any command that starts the server, in a session of its own; killed with all it started if it is still there."""
    with tempfile.TemporaryDirectory(prefix="llamastack-server-") as folder:
        log = Path(folder) / "output"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        server = Server(f"http://127.0.0.1:{port}", port, process, log)
        try:
            yield server
        finally:
            if process.poll() is None:
                server.stop()
            server.kept = server.output


@contextmanager
def serving(
    config: str | Path = "remote-only", *options: str, home: Path, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """`llama stack run CONFIG` with options, ready to answer. The port is a free one; `env` adds variables."""
    with ExitStack() as running:
        with STARTS:
            port = free_port()
            command = [sys.executable, "-m", "llamastack.cli", "stack", "run", str(config), "--port", str(port)]
            started = starting([*command, *options], environment(home, **(env or {})), port)
            server = running.enter_context(started)
            wait_until_ready(server)
        yield server


def wait_until_ready(server: Server, seconds: float = READY_SECONDS) -> None:
    """Until GET /v1/health answers 200. Fails the test with the output where the server ends before, or never is."""
    started = time.monotonic()
    while not healthy(server.port):
        if server.process.poll() is not None:
            raise AssertionError(f"The server ended with {server.process.returncode}:\n{server.output}")
        if time.monotonic() - started > seconds:
            raise AssertionError(f"The server was not ready within {seconds:g} s:\n{server.output}")
        time.sleep(POLL_SECONDS)
    server.seconds = time.monotonic() - started


def healthy(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/v1/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def processes(home: Path) -> list[int]:
    """The processes whose state is in `home`: what a server started, wherever it went."""
    wanted = f"LLAMA_STACK_HOME={home}".encode()
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if wanted in _variables(folder)]


def _variables(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended since, or is somebody else's
        return []


def listening(port: int) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
