"""`llama stack run --workers 2`: two processes that are one server, also where one is killed or both are replaced."""

import http.client
import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from llamastack.services import Services
from tests.live import Live, live
from tests.servers import Server, listening, processes, serving
from tests.unit.core.test_metrics import values
from tests.upstream import in_thread

pytestmark = pytest.mark.slow
CHAT = "/v1/chat/completions"
SECONDS = 90  # until a worker has started, on a machine that has much else to do
ENOUGH = 400


opened: list[http.client.HTTPConnection] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """The connections of all clients, at the end."""
    yield
    while opened:
        opened.pop().close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def running(home: Path) -> Iterator[Live]:
    """A server for tests that end it."""
    with live("uvicorn", home, workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with live("uvicorn", tmp_path_factory.mktemp("home"), workers=2) as running:
        yield running.server


def asked(model: str = "sky-1", **fields: Any) -> dict[str, Any]:
    return {"model": f"openai/{model}", "messages": [{"role": "user", "content": "Hello"}], **fields}


def figures(server: Server, **headers: str) -> dict[str, float]:
    return values(httpx.get(f"{server.url}/metrics", headers=headers).text)


def pids(server: Server, **headers: str) -> list[int]:
    """The processes that serve, once both do: the first that is ready serves already."""
    until(lambda: figures(server, **headers)["llama_stack_workers_ready"] == 2)
    told = figures(server, **headers)
    found = [int(value) for name, value in told.items() if name.startswith("llama_stack_worker_pid")]
    assert all(found)
    return found


def until(holds: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < SECONDS
        time.sleep(0.02)


@contextmanager
def stopped(process: int) -> Iterator[None]:
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


class Client:
    """A client that keeps its connection, as the official ones do, and never asks twice."""

    def __init__(self, server: Server) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
        opened.append(self.connection)

    def send(self, path: str, body: Any = None, method: str = "", **headers: str) -> tuple[int, str]:
        content = None if body is None else json.dumps(body)
        method = method or ("GET" if body is None else "POST")
        self.connection.request(method, path, content, {"Content-Type": "application/json", **headers})
        response = self.connection.getresponse()
        return response.status, response.read().decode()


def at(server: Server, worker: int, workers: list[int]) -> Client:
    """A client on a connection to that worker, as the other could not take it."""
    client = Client(server)
    (other,) = set(workers) - {worker}
    with stopped(other):
        assert client.send("/v1/health")[0] == 200
    return client


class Load:
    """Clients that ask, now and then after a pause, until they are told to stop."""

    def __init__(self, server: Server, clients: int = 8) -> None:
        self.server = server
        self.outcomes: Counter[str] = Counter()
        self._over = threading.Event()
        self._threads = ThreadPoolExecutor(clients)
        for number in range(clients):
            self._threads.submit(self._ask, number)

    def _ask(self, number: int) -> None:
        client, asked_for = Client(self.server), 0
        while not self._over.is_set():
            asked_for += 1
            streamed = (number + asked_for) % 4 == 0
            try:
                status, text = client.send(CHAT, asked(stream=streamed))
                whole = text.endswith("data: [DONE]\n\n") if streamed else "The sky is blue." in text
                self.outcomes["good" if status == 200 and whole else f"{status} {text}"] += 1
            except (OSError, http.client.HTTPException) as error:
                self.outcomes[repr(error)] += 1
                client.connection.close()
            self._over.wait(0.01 * (asked_for % 5))

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        self._threads.shutdown()


def test_each_of_two_serves_and_the_metrics_are_of_both(server: Server) -> None:
    workers = pids(server)
    assert len(workers) == 2
    assert server.process.pid not in workers
    before = chats(figures(server))
    for worker in workers:
        status, text = at(server, worker, workers).send(CHAT, asked())
        assert (status, "The sky is blue." in text) == (200, True)
    told = figures(server)
    assert chats(told) == before + 2
    assert told["llama_stack_workers_ready"] == told["llama_stack_workers"] == 2


def chats(told: dict[str, float]) -> float:
    """Those that were answered, in either lane."""
    names = [f"llama_stack_requests_total lane={lane} operation=chat status=200" for lane in ("django", "fast")]
    return sum(told.get(name, 0) for name in names)


def test_one_that_is_killed_under_load_comes_back_while_the_other_serves(server: Server) -> None:
    killed, other = pids(server)
    pinned = at(server, other, [killed, other])
    with Load(server) as load:
        until(lambda: load.outcomes["good"] > 20)
        os.kill(killed, signal.SIGKILL)
        for _ in range(20):
            assert pinned.send(CHAT, asked())[0] == 200
        until(lambda: killed not in pids(server))
        before = load.outcomes["good"]
        until(lambda: load.outcomes["good"] > before + 20)
    outcomes = load.outcomes
    assert sum(outcomes.values()) - outcomes["good"] <= 8  # what was under way at the one that was killed
    assert f"(process {killed}) ended with -9" in server.output


def test_workers_are_replaced_under_load_without_a_failed_call(server: Server) -> None:
    before = pids(server)
    with Load(server) as load:
        until(lambda: load.outcomes["good"] > 50)
        server.send(signal.SIGHUP)
        until(lambda: "2 workers have been replaced." in server.output)
        until(lambda: load.outcomes["good"] > ENOUGH)
    assert set(load.outcomes) == {"good"}, load.outcomes
    assert not set(before) & set(pids(server))
    assert "Traceback" not in server.output


def test_an_idle_connection_is_answered_by_the_one_that_leaves_and_told_that_it_is_the_last(server: Server) -> None:
    workers = pids(server)
    leaving = at(server, workers[0], workers)
    os.kill(workers[0], signal.SIGHUP)
    until(lambda: figures(server)["llama_stack_workers_ready"] == 1)
    leaving.connection.request("GET", "/v1/health")
    response = leaving.connection.getresponse()
    assert (response.status, response.headers["connection"]) == (200, "close")
    until(lambda: figures(server)["llama_stack_workers_ready"] == 2)


def test_both_end_once_calls_in_flight_have_ended(running: Live, home: Path) -> None:
    server = running.server
    with ThreadPoolExecutor() as threads:
        asking = [threads.submit(Client(server).send, CHAT, asked("held", stream=n % 2 == 0)) for n in range(6)]
        running.upstream_is_asked("held", times=6)
        server.send(signal.SIGTERM)
        until(lambda: not listening(server.port))
        running.release()
        assert [whole(chat) for chat in asking] == [True] * 6
        assert server.process.wait(SECONDS) == 0
    assert processes(home) == []
    assert list((home / "workers").iterdir()) == []
    assert "Traceback" not in server.output


def whole(chat: Future[tuple[int, str]]) -> bool:
    status, text = chat.result()
    return status == 200 and "blue" in text and (text[0] == "{" or text.endswith("data: [DONE]\n\n"))


def test_whose_parent_is_killed_ends_too(running: Live, home: Path) -> None:
    assert len(processes(home)) == 3
    running.server.send(signal.SIGKILL)
    until(lambda: not processes(home))


def test_a_second_signal_ends_all_at_once(running: Live, home: Path) -> None:
    server = running.server
    with ThreadPoolExecutor() as threads:
        chat = threads.submit(Client(server).send, CHAT, asked("held"))
        running.upstream_is_asked("held", times=1)
        server.send(signal.SIGTERM)
        until(lambda: not listening(server.port))
        until(lambda: ended_at_signal(server, signal.SIGTERM))
        assert isinstance(chat.exception(SECONDS), OSError | http.client.HTTPException)
    assert server.process.wait(SECONDS) == 128 + signal.SIGTERM
    until(lambda: not processes(home))


def ended_at_signal(server: Server, number: int) -> bool:
    server.send(number)
    time.sleep(0.2)
    return server.process.poll() is not None


def test_what_is_changed_at_one_holds_at_the_other(home: Path, database: str) -> None:
    """On PostgreSQL, where keys are asked for. (Within a second: test_two_processes.py.)"""
    with asking_for_keys(home, database) as (server, key):
        workers = pids(server, **key)
        one, other = (at(server, worker, workers) for worker in workers)
        made = json.loads(one.send("/manage/keys", {"name": "new"}, **key)[1])
        new = {"Authorization": f"Bearer {made['secret']}"}
        for client in (one, other):
            assert client.send("/v1/models", **new)[0] == 200
        body = {"model_id": "blue", "provider_id": "openai", "provider_model_id": "sky-1"}
        assert one.send("/v1/models", body, **key)[0] == 200
        assert other.send(CHAT, asked() | {"model": "blue"}, **new)[0] == 200
        assert one.send(f"/manage/keys/{made['prefix']}/revoke", {}, **key)[0] == 200
        assert one.send("/v1/models", **new)[0] == 401
        until(lambda: other.send("/v1/models", **new)[0] == 401)


@contextmanager
def asking_for_keys(home: Path, database: str) -> Iterator[tuple[Server, dict[str, str]]]:
    """A server of two workers, and the header of an admin."""
    with in_thread() as upstream:
        env = {"OPENAI_API_KEY": "sk-upstream", "OPENAI_BASE_URL": upstream.url, "DATABASE_URL": database}
        env["LLAMA_STACK_AUTH"] = "required"
        with serving("remote-only", "--workers", "2", home=home, env=env) as server:
            told = re.search(r"First API key: (\S+)", server.output)
            assert told
            yield server, {"Authorization": f"Bearer {told[1]}"}


@pytest.fixture
def database(services: Services) -> str:
    """A database of its own beside that of the tests."""
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS two_workers WITH (FORCE)")
        connection.execute("CREATE DATABASE two_workers")
    return services.database_url.rpartition("/")[0] + "/two_workers"
