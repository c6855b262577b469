"""`llama stack run --workers 2`: two processes that are one server, also where one is killed or both are replaced."""

import http.client
import json
import os
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
import pytest

from llamastack.services import Services
from tests.live import Live, live
from tests.servers import ANSWER_SECONDS, Server, listening, new_database, processes
from tests.unit.core.test_metrics import values

pytestmark = pytest.mark.slow
CHAT = "/v1/chat/completions"
SECONDS = 90  # until a worker has started, on a machine that has much else to do
CLIENTS = 4
ENOUGH = 200  # good answers, to say that none fails
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
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One for all others, that asks for keys."""
    with live("uvicorn", tmp_path_factory.mktemp("home"), workers=2, LLAMA_STACK_AUTH="required") as running:
        yield running


def asked(model: str = "sky-1", **fields: Any) -> dict[str, Any]:
    return {"model": f"openai/{model}", "messages": [{"role": "user", "content": "Hello"}], **fields}


def figures(running: Live) -> dict[str, float]:
    return values(httpx.get(f"{running.url}/metrics", headers=running.headers, timeout=ANSWER_SECONDS).text)


def pids(running: Live) -> list[int]:
    """The processes that serve, once both do: the first that is ready serves already."""
    until(lambda: figures(running)["llama_stack_workers_ready"] == 2)
    told = figures(running)
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

    def __init__(self, running: Live) -> None:
        self.headers = {"Content-Type": "application/json"} | running.headers
        self.connection = http.client.HTTPConnection("127.0.0.1", running.server.port, timeout=SECONDS)
        opened.append(self.connection)

    def send(self, path: str, body: Any = None, method: str = "", **headers: str) -> tuple[int, str]:
        content = None if body is None else json.dumps(body)
        method = method or ("GET" if body is None else "POST")
        self.connection.request(method, path, content, self.headers | headers)
        response = self.connection.getresponse()
        return response.status, response.read().decode()


def at(running: Live, worker: int, workers: list[int]) -> Client:
    """A client on a connection to that worker, as the other could not take it."""
    client = Client(running)
    (other,) = set(workers) - {worker}
    with stopped(other):
        assert client.send("/v1/health")[0] == 200
    return client


class Load:
    """Clients that ask, now and then after a pause, until they are told to stop."""

    def __init__(self, running: Live) -> None:
        self.running = running
        self.outcomes: Counter[str] = Counter()
        self._over = threading.Event()
        self._threads = ThreadPoolExecutor(CLIENTS)
        for number in range(CLIENTS):
            self._threads.submit(self._ask, number)

    def _ask(self, number: int) -> None:
        client, asked_for = Client(self.running), 0
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


def test_each_of_two_serves_and_the_metrics_are_of_both(served: Live) -> None:
    workers = pids(served)
    assert len(workers) == 2
    assert served.server.process.pid not in workers
    before = chats(figures(served))
    for worker in workers:
        status, text = at(served, worker, workers).send(CHAT, asked())
        assert (status, "The sky is blue." in text) == (200, True)
    told = figures(served)
    assert chats(told) == before + 2
    assert told["llama_stack_workers_ready"] == told["llama_stack_workers"] == 2


def chats(told: dict[str, float]) -> float:
    """Those that were answered, in either lane."""
    names = [f"llama_stack_requests_total lane={lane} operation=chat status=200" for lane in ("django", "fast")]
    return sum(told.get(name, 0) for name in names)


def test_one_that_is_killed_under_load_comes_back_while_the_other_serves(served: Live) -> None:
    killed, other = pids(served)
    pinned = at(served, other, [killed, other])
    with Load(served) as load:
        until(lambda: load.outcomes["good"] > 20)
        os.kill(killed, signal.SIGKILL)
        for _ in range(20):
            assert pinned.send(CHAT, asked())[0] == 200
        until(lambda: killed not in pids(served))
        before = load.outcomes["good"]
        until(lambda: load.outcomes["good"] > before + 20)
    outcomes = load.outcomes
    assert sum(outcomes.values()) - outcomes["good"] <= CLIENTS  # what was under way at the one that was killed
    assert f"(process {killed}) ended with -9" in served.server.output


def test_workers_are_replaced_under_load_without_a_failed_call(served: Live) -> None:
    before = pids(served)
    with Load(served) as load:
        until(lambda: load.outcomes["good"] > 50)
        served.server.send(signal.SIGHUP)
        until(lambda: "2 workers have been replaced." in served.server.output)
        until(lambda: load.outcomes["good"] > ENOUGH)
    assert set(load.outcomes) == {"good"}, load.outcomes
    assert not set(before) & set(pids(served))
    assert "Traceback" not in served.server.output


def test_an_idle_connection_is_answered_by_the_one_that_leaves_and_told_that_it_is_the_last(served: Live) -> None:
    workers = pids(served)
    leaving = at(served, workers[0], workers)
    os.kill(workers[0], signal.SIGHUP)
    until(lambda: figures(served)["llama_stack_workers_ready"] == 1)
    leaving.connection.request("GET", "/v1/health")
    response = leaving.connection.getresponse()
    assert (response.status, response.headers["connection"]) == (200, "close")
    until(lambda: figures(served)["llama_stack_workers_ready"] == 2)


def test_what_is_changed_at_one_holds_at_the_other(served: Live) -> None:
    """(Within a second: test_two_processes.py.)"""
    workers = pids(served)
    one, other = (at(served, worker, workers) for worker in workers)
    made = json.loads(one.send("/manage/keys", {"name": "new"})[1])
    new = {"Authorization": f"Bearer {made['secret']}"}
    for client in (one, other):
        assert client.send("/v1/models", **new)[0] == 200
    body = {"model_id": "blue", "provider_id": "openai", "provider_model_id": "sky-1"}
    assert one.send("/v1/models", body)[0] == 200
    assert other.send(CHAT, asked() | {"model": "blue"}, **new)[0] == 200
    assert one.send(f"/manage/keys/{made['prefix']}/revoke", {})[0] == 200
    assert one.send("/v1/models", **new)[0] == 401
    until(lambda: other.send("/v1/models", **new)[0] == 401)


def test_both_end_once_calls_in_flight_have_ended(home: Path, services: Services) -> None:
    """On PostgreSQL, as the others are on SQLite."""
    database = new_database(services, "workers")
    with live("uvicorn", home, workers=2, DATABASE_URL=database) as running, ThreadPoolExecutor() as threads:
        server = running.server
        asking = [threads.submit(Client(running).send, CHAT, asked("held", stream=n % 2 == 0)) for n in range(6)]
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
        chat = threads.submit(Client(running).send, CHAT, asked("held"))
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
