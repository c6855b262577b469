"""`llama stack run` in a process of its own: what it starts, what it refuses, and how it ends."""

import fcntl
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import psycopg
import pytest

from llamastack.services import Services
from tests.servers import (
    ROOT,
    environment,
    free_port,
    listening,
    new_database,
    processes,
    serving,
    starting,
    wait_until_ready,
)

pytestmark = pytest.mark.slow
DATABASE = "distributions/remote-only/llamastack.db"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A start that is to fail."""
    command = [sys.executable, "-m", "llamastack.cli", "stack", "run", *arguments]
    env = environment(home, **variables)
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_it_serves_prints_where_and_ends_cleanly(home: Path) -> None:
    with serving(home=home) as server:
        for path in ("/", "/admin/", "/docs", "/v1"):
            assert f"{server.url}{path}\n" in server.output
        assert f"curl {server.url}/v1/models" in server.output
        assert "server" not in httpx.get(f"{server.url}/v1/models").headers
        assert server.stop(signal.SIGINT) == 0
        assert not listening(server.port)
    assert processes(home) == []
    assert "Traceback" not in server.output


def test_the_first_start_makes_an_admin_and_a_key_and_the_second_makes_none(home: Path) -> None:
    with serving(home=home) as server:
        first = server.output
    with serving(home=home) as server:
        second = server.output
    assert "First admin: user admin, password " in first
    assert "First API key: lls-" in first
    assert "First" not in second
    with closing(sqlite3.connect(home / DATABASE)) as database:
        assert database.execute("SELECT username FROM access_user").fetchall() == [("admin",)]
        assert database.execute("SELECT count(*) FROM access_apikey").fetchone() == (1,)


def test_daphne_serves_too(home: Path) -> None:
    with serving("remote-only", "--server", "daphne", home=home) as server:
        assert httpx.get(f"{server.url}/v1/models").json()["data"] == []
        assert f"{server.url}/admin/" in server.output
        assert server.stop() == 0
    assert "Traceback" not in server.output


def test_a_busy_port_is_told_before_anything_is_done(home: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = str(other.getsockname()[1])
        done = run(home, "remote-only", LLAMA_STACK_PORT=port)
    assert done.returncode == 1
    assert f"Port {port} on 127.0.0.1 is in use by another program. Choose another with --port" in done.stderr
    assert not (home / DATABASE).exists()


def opened(process: int, file: Path) -> bool:
    return any(target(link) == str(file) for link in Path(f"/proc/{process}/fd").iterdir())


def target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # closed since
        return ""


@pytest.mark.parametrize("server_name", ["uvicorn", "daphne"])
def test_a_port_that_another_takes_meanwhile_is_told_too(home: Path, server_name: str) -> None:
    lock = home / f"{DATABASE.removesuffix('.db')}.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held, closing(socket.socket()) as other:
        fcntl.flock(held, fcntl.LOCK_EX)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        arguments = ["remote-only", "--port", str(port), "--server", server_name]
        command = [sys.executable, "-m", "llamastack.cli", "stack", "run", *arguments]
        with starting(command, environment(home), port) as server:
            while not opened(server.process.pid, lock):
                assert server.process.poll() is None, server.output
                time.sleep(0.02)
            other.listen()
            fcntl.flock(held, fcntl.LOCK_UN)
            assert server.process.wait(30) == 1
    assert f"Port {port} on 127.0.0.1 is in use by another program." in server.output
    assert "Ctrl-C" not in server.output


def test_an_error_in_the_yaml_names_file_and_line_and_starts_nothing(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("version: 2\nimage_name: x\nproviders:\n  inference:\n  - provider_id: a\n    provider_typ: b\n")
    port = free_port()
    done = run(home, str(file), "--port", str(port))
    assert done.returncode == 1
    assert f"{file}:6: providers.inference[0].provider_typ: unknown key; did you mean 'provider_type'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "distributions").exists()
    assert not listening(port)


def test_what_is_not_built_of_cors_is_refused_with_its_line(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("version: 2\nimage_name: x\nserver:\n  port: 9000\n  cors: true\n")
    done = run(home, str(file))
    assert done.returncode == 1
    assert f"{file}:5: server.cors.allow_origin_regex: allow_origin_regex is not built yet" in done.stderr


def test_a_migration_that_fails_serves_nothing_and_says_why(home: Path) -> None:
    (home / DATABASE).parent.mkdir(parents=True)
    with closing(sqlite3.connect(home / DATABASE)) as database:
        database.execute("CREATE TABLE access_user (id integer)")
    done = run(home, "remote-only", "--port", "0")
    assert done.returncode == 1
    assert 'cannot be migrated: table "access_user" already exists' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"DATABASE_URL": "postgresql://nobody:secret@127.0.0.1:9/none"}, "cannot be reached"),
        ({"DATABASE_URL": "mysql://localhost/x"}, "must begin with sqlite:/// or postgresql://"),
        ({"LLAMA_STACK_AUTH": "yes"}, "LLAMA_STACK_AUTH is 'required', or it is not set."),
        ({"LLAMA_STACK_TEST_INFERENCE_MODE": "rewind"}, "is 'rewind', and can be live, record, replay"),
        ({"LLAMA_STACK_TEST_INFERENCE_MODE": "replay"}, "needs LLAMA_STACK_TEST_RECORDING_DIR"),
    ],
)
def test_an_environment_that_cannot_be_is_one_sentence(home: Path, variables: dict[str, str], said: str) -> None:
    done = run(home, "remote-only", "--port", "0", **variables)
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_all_addresses_need_keys_and_advise_on_names(home: Path) -> None:
    with serving("remote-only", "--host", "0.0.0.0", home=home, env={"LLAMA_STACK_AUTH": "required"}) as server:
        assert "set LLAMA_STACK_ALLOWED_HOSTS" in server.output
        assert httpx.get(f"{server.url}/v1/models").status_code == 401
        answer = httpx.get(f"{server.url}/v1/models", headers={"Authorization": f"Bearer {server.first_key}"})
        assert answer.status_code == 200


def test_two_processes_that_start_at_once_on_one_postgresql_database_take_turns(home: Path, services: Services) -> None:
    database_url = new_database(services, "two_starts")
    with ExitStack() as stack:
        servers = []
        for _ in range(2):
            port = free_port()
            command = [sys.executable, "-m", "llamastack.cli", "stack", "run", "remote-only", "--port", str(port)]
            env = environment(home, DATABASE_URL=database_url)
            servers.append(stack.enter_context(starting(command, env, port)))
        with ThreadPoolExecutor() as threads:
            list(threads.map(wait_until_ready, servers))
        outputs = [server.output for server in servers]
        with psycopg.connect(database_url) as connection:
            assert connection.execute("SELECT count(*) FROM access_user").fetchone() == (1,)
            assert connection.execute("SELECT count(*) FROM access_apikey").fetchone() == (1,)
        assert [server.stop() for server in servers] == [0, 0]
    assert sorted("First admin" in output for output in outputs) == [False, True]


NO_INDEX = {"PIP_CONFIG_FILE": "/dev/null", "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "", "PIP_RETRIES": "0"}


def bare(home: Path) -> Path:
    """A home without local models."""
    (home / "models").mkdir(parents=True)
    return home


def test_local_models_that_cannot_be_fetched_are_a_warning(home: Path) -> None:
    with serving("starter", home=bare(home), env=NO_INDEX | {"PIP_NO_INDEX": "1"}) as server:
        assert "llama model download HuggingFaceTB/SmolLM2-135M-Instruct" in server.output
        body = {"model": "SmolLM2-135M-Instruct", "messages": [{"role": "user", "content": "Hello"}]}
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
        assert (answer.status_code, "is not on this machine" in answer.text) == (503, True)


def test_a_signal_while_models_are_fetched_leaves_nothing_running(home: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        env = environment(bare(home), **NO_INDEX, PIP_INDEX_URL=f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        command = [sys.executable, "-m", "llamastack.cli", "stack", "run", "starter", "--port", "0"]
        with starting(command, env, 0) as server:
            connection, _ = silent.accept()  # pip asks, and gets no answer
            with closing(connection):
                assert server.stop() in (0, 143)
    assert processes(home) == []
    assert [path.name for path in (home / "models").rglob("*")] in ([], ["HuggingFaceTB"])  # nothing half fetched


FRAGILE = """
import signal
import time

class Fragile:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

Fragile()
time.sleep(50)
"""
RUN_FRAGILE = """
version: 2
image_name: fragile
apis: [inference]
providers:
  inference:
  - {provider_id: fragile, provider_type: "remote::fragile", module: fragile_provider}
"""


def test_a_signal_that_arrives_in_a_destructor_ends_the_start_all_the_same(home: Path, tmp_path: Path) -> None:
    """Python ignores what is raised there."""
    (tmp_path / "fragile_provider.py").write_text(FRAGILE)
    (tmp_path / "run.yaml").write_text(RUN_FRAGILE)
    done = run(home, str(tmp_path / "run.yaml"), "--port", "0", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert (done.returncode, done.stdout) == (143, ""), done.stderr
    assert "Traceback" not in done.stderr


def test_a_request_under_way_is_waited_for_until_a_second_signal(home: Path) -> None:
    with serving(home=home) as server, closing(socket.create_connection(("127.0.0.1", server.port))) as client:
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: 10\r\nExpect: 100-continue\r\n\r\n".encode())  # the body never comes
        assert client.recv(100).startswith(b"HTTP/1.1 100")  # so the request is under way
        server.send()
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(1.5)
        assert server.stop() == 143
