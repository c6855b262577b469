"""What must precede Django's settings: a home, a private PostgreSQL and Redis. Loaded by `-p tests.plugin`.

LLAMA_STACK_TEST_DB=sqlite runs the tests on SQLite instead, without Redis, and with the fast lane switched off: so each
suite that runs on both databases runs in both lanes.
"""

import atexit
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from llamastack.home import models_dir
from llamastack.services import Running, start

ON_SQLITE = os.environ.get("LLAMA_STACK_TEST_DB") == "sqlite"
OURS = ("DATABASE_URL", "REDIS_URL", "INFERENCE_MODEL", "SAFETY_MODEL")


def _home() -> tempfile.TemporaryDirectory[str]:
    """A home for this run, which shares nothing with the user's own but the local models."""
    models = models_dir()
    models.mkdir(parents=True, exist_ok=True)
    folder = tempfile.TemporaryDirectory(prefix="llamastack-tests-", ignore_cleanup_errors=True)
    (Path(folder.name) / "models").symlink_to(models)
    return folder


# What whoever runs the tests has set, for suites that may run against another stack (tests/integration).
GIVEN = {name: value for name, value in os.environ.items() if name.startswith("LLAMA_STACK_")}


def _clean_environment() -> None:
    for name in [name for name in os.environ if name in OURS or name.startswith(("LLAMA_STACK_", "DJANGO_"))]:
        del os.environ[name]


def _services() -> Running | None:
    if ON_SQLITE:
        return None
    running = start(durable=False)
    os.environ["DATABASE_URL"] = running.services.database_url
    os.environ["REDIS_URL"] = running.services.redis_url
    os.environ["LLAMA_STACK_JOBS"] = "here"  # but where a test has workers
    return running


HOME = _home()
_clean_environment()
os.environ["LLAMA_STACK_HOME"] = HOME.name
os.environ["LLAMA_STACK_FAST_LANE"] = "0" if ON_SQLITE else "1"
SERVICES = _services()


def _close() -> None:
    if SERVICES:
        SERVICES.close()
    HOME.cleanup()


# After the last test, whatever else ends the run.
atexit.register(_close)


class Suites:
    """The seconds that each suite took, and a run with a skipped test is a failed run."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        folders = Path(report.nodeid.partition("::")[0]).parts[:-1]
        self.seconds["/".join(folders[:3])] += report.duration
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skipped.append(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
        yield
        database = "SQLite" if ON_SQLITE else "PostgreSQL"
        terminalreporter.section(f"seconds a suite, on {database}")
        for suite, seconds in sorted(self.seconds.items()):
            terminalreporter.write_line(f"{seconds:8.1f}  {suite}")
        for nodeid in self.skipped:
            terminalreporter.write_line(f"SKIPPED, which fails the run: {nodeid}", red=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Here rather than beside their tests, so that they are known wherever pytest is started."""
    group = parser.getgroup("tests/integration")
    group.addoption("--stack-config", help="a distribution, a run.yaml or the URL of a server, in place of stack.yaml")
    group.addoption("--text-model", help="of that stack; the first that it lists where none is given")
    group.addoption("--embedding-model", help="of that stack; the first that it lists where none is given")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Suites(), "suites")
