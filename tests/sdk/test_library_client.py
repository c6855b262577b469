"""The library client in programs of its own: the local model, what a host program keeps, what it is refused."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ROOT, environment, serving
from tests.upstream import Upstream, in_thread

TIMEOUT_SECONDS = 100
DATABASE = "distributions/remote-only/llamastack.db"
CHAT = 'dict(model="openai/sky-1", messages=[{"role": "user", "content": "What colour is the sky?"}])'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with in_thread() as running:
        yield running


def program(home: Path, code: str, upstream: Upstream | None = None, **variables: str) -> "subprocess.Popen[str]":
    """A Python program in a process of its own, in a folder that holds nothing of ours."""
    remote = {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": upstream.url} if upstream else {}
    env = environment(home, PYTHONPATH=str(ROOT), **({"PYTHONWARNINGS": "error"} | remote | variables))
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.Popen(command, cwd=home, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ran(home: Path, code: str, upstream: Upstream | None = None, **variables: str) -> tuple[Any, str]:
    """What the program printed as JSON, and what stands on stderr."""
    process = program(home, code, upstream, **variables)
    out, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    return json.loads(out), errors


@pytest.mark.local_model
@pytest.mark.slow
def test_the_example(home: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "04_library_client.py")]
    env = environment(home)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    assert done.returncode == 0, done.stderr
    assert "'all-MiniLM-L6-v2'" in done.stdout
    assert done.stdout.count("Paris") == 2


@pytest.mark.local_model
@pytest.mark.slow
@pytest.mark.parametrize(
    ("document", "said"), [("README.md", "all-MiniLM-L6-v2"), ("docs/concepts.md", "Paris")], ids=["README", "concepts"]
)
def test_the_lines_of_a_document(home: Path, document: str, said: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    code = next(block for block in blocks if "from llamastack import" in block)
    process = program(home, code, PYTHONWARNINGS="default")
    out, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, errors
    assert said in out


def test_a_host_program_keeps_what_is_its_own(home: Path) -> None:
    """Its logging, environment, signals and threads; no port is opened, and nothing is printed."""
    kept, errors = ran(
        home,
        """
        import llama_stack_client  # its import sets logging up
        import json, logging, os, signal, threading
        from pathlib import Path

        def state():
            root = logging.getLogger()
            handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
            return dict(os.environ), root.handlers[:], root.level, handlers, threading.active_count()

        before = state()
        from llamastack import LlamaStackAsLibraryClient
        with LlamaStackAsLibraryClient("remote-only") as client:
            inside = state()[:-1]
            models = client.models.list()
            listening = [line for name in ("tcp", "tcp6") if Path(f"/proc/net/{name}").exists()
                         for line in Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]
                         if line.split()[3] == "0A"]
            sockets = {os.stat(f"/proc/self/fd/{fd}").st_ino for fd in os.listdir("/proc/self/fd")
                       if os.path.exists(f"/proc/self/fd/{fd}")}
            ours = [line for line in listening if int(line.split()[9]) in sockets]
        print(json.dumps([models, inside == before[:-1], state() == before, ours]))
        """,
    )
    assert kept == [[], True, True, []]
    assert "First" not in errors


def test_no_admin_and_no_key_are_made_where_nobody_would_be_told_them(home: Path) -> None:
    ran(home, "from llamastack import LlamaStackAsLibraryClient as C; C('remote-only').close(); print(0)")
    with closing(sqlite3.connect(home / DATABASE)) as database:
        assert database.execute("SELECT count(*) FROM access_user").fetchone() == (0,)
        assert database.execute("SELECT count(*) FROM access_apikey").fetchone() == (0,)
    with serving(home=home) as server:
        assert "First admin: user admin, password " in server.output


def test_keys_and_hosts_hold_inside_a_program_too(home: Path) -> None:
    said, _ = ran(
        home,
        """
        import json
        from llamastack import LlamaStackAsLibraryClient
        from llama_stack_client import AuthenticationError
        with LlamaStackAsLibraryClient("remote-only") as client:
            try:
                client.models.list()
                refused = False
            except AuthenticationError:
                refused = True
        from apps.access.models import ApiKey
        _, key = ApiKey.issue("program", owner="ada", admin=True)
        with LlamaStackAsLibraryClient("remote-only", api_key=key) as client:
            print(json.dumps([refused, client.models.list(), [model.id for model in client.as_openai().models.list()]]))
        """,
        LLAMA_STACK_AUTH="required",
        LLAMA_STACK_ALLOWED_HOSTS=".example.com",
    )
    assert said == [True, [], []]


@pytest.mark.parametrize(
    ("before", "variables"),
    [
        ("from django.conf import settings; settings.configure(); import django; django.setup()", {}),
        ("", {"DJANGO_SETTINGS_MODULE": "shop.settings"}),
    ],
)
def test_a_program_with_other_django_settings_is_refused(home: Path, before: str, variables: dict[str, str]) -> None:
    said, _ = ran(
        home,
        f"""
        import json
        {before}
        from llamastack import LlamaStackAsLibraryClient
        from llamastack.environment import EnvironmentFault
        try:
            LlamaStackAsLibraryClient("remote-only")
        except EnvironmentFault as error:
            print(json.dumps(error.message))
        """,
        **variables,
    )
    assert "a process has one set-up" in said
    assert "`llama stack run`" in said
    assert not (home / DATABASE).exists()


def test_a_program_with_our_settings_is_welcome(home: Path) -> None:
    home.mkdir()
    said, _ = ran(
        home,
        """
        import json, django
        django.setup()
        from llamastack import LlamaStackAsLibraryClient
        with LlamaStackAsLibraryClient("remote-only") as client:
            print(json.dumps(client.models.list()))
        """,
        DJANGO_SETTINGS_MODULE="llamastack.settings",
        DATABASE_URL=f"sqlite:///{home / 'own.db'}",
    )
    assert said == []


def test_a_fork_is_refused_with_advice(home: Path) -> None:
    said, _ = ran(
        home,
        """
        import json, os, sys
        from llamastack import LlamaStackAsLibraryClient
        client = LlamaStackAsLibraryClient("remote-only", max_retries=0)
        child = os.fork()
        if not child:
            said = []
            try:
                client.models.list()
            except Exception as error:
                said.append(str(error.__cause__))
            try:
                LlamaStackAsLibraryClient("remote-only")
            except Exception as error:
                said.append(str(error))
            print(json.dumps(said), flush=True)
            client.close()
            sys.exit()
        os.waitpid(child, 0)
        client.models.list()
        client.close()
        """,
    )
    assert len(said) == 2
    assert all("start processes by 'spawn'" in message for message in said)


LEFT_OPEN = f"""
import json, signal, time
signal.alarm(60)
from llamastack import LlamaStackAsLibraryClient
client = LlamaStackAsLibraryClient("remote-only")
while not client.models.list():
    time.sleep(0.1)
chat = {CHAT} | dict(model="openai/endless")
"""


def test_a_program_that_closes_nothing_ends_cleanly(home: Path, upstream: Upstream) -> None:
    upstream.models = ["endless"]
    said, errors = ran(
        home,
        LEFT_OPEN + "chunks = client.chat.completions.create(stream=True, **chat)\nnext(iter(chunks))\nprint(1)",
        upstream,
    )
    assert said == 1
    upstream.wait_until_closed()
    assert "ERROR" not in errors


def test_ctrl_c_ends_a_program_that_waits_for_an_answer(home: Path, upstream: Upstream) -> None:
    upstream.models = ["held"]
    process = program(home, LEFT_OPEN + "client.chat.completions.create(**chat | dict(model='openai/held'))", upstream)
    while not upstream.requests:
        assert process.poll() is None, process.stderr
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
    upstream.wait_until_closed()
