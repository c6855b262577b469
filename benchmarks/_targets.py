"""The servers of benchmarks/gateway.py, each a process of its own: the fast upstream, the raw floor and ours."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from benchmarks import _echo, _upstream
from benchmarks._calls import Calls
from benchmarks._load import cpu_seconds, pss_megabytes
from tests.servers import ROOT, Server, environment, free_port, listening, serving, starting

ALONE, FLOOR, OURS, FILLED = "upstream alone", "raw floor", "server", "server, 10,000 models and keys"
MODELS = (_echo.MODEL, _upstream.PACED, _upstream.SLOW)
QUIET, QUIET_SECONDS, MOST_QUIET_SECONDS = 0.05, 1.0, 60.0


@dataclass
class Target:
    """One that is measured, what it was asked and what it has answered. `home`: its state, where it is ours."""

    name: str
    port: int
    pid: int
    key: str = "any"
    prefix: str = ""
    headers: str = ""
    home: Path | None = None
    ready: float = 0.0  # seconds from its start
    idle: float = 0.0  # MB before its first call
    said: dict[str, str] = field(default_factory=dict)  # by the completion's id
    asked: Counter[str] = field(default_factory=Counter)  # by the operation
    lanes: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    errors: int = 0

    def calls(self, kind: type[Calls], numbers: Iterator[int]) -> Calls:
        return kind(self.port, self.key, numbers, self.prefix, self.headers)


def cores() -> tuple[set[int], set[int]]:
    """Those of the servers that are measured, and those of everybody else."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


@contextmanager
def on(places: set[int]) -> Iterator[None]:
    """What is started meanwhile stays on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, places)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def upstream() -> Iterator[Target]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks._upstream", str(port)]
    with starting(command, os.environ.copy(), port) as server:
        yield Target(ALONE, port, until_listening(server))


@contextmanager
def floor(url: str) -> Iterator[Target]:
    port, key = free_port(), "floor"
    command = [sys.executable, "-m", "uvicorn", "benchmarks._floor:application", "--port", str(port)]
    quiet = ["--no-access-log", "--log-level", "warning", "--lifespan", "off"]
    with starting([*command, *quiet], os.environ | {"BENCH_UPSTREAM": url, "BENCH_KEY": key}, port) as server:
        yield Target(FLOOR, port, until_listening(server), key)


def until_listening(server: Server) -> int:
    while not listening(server.port):
        if server.process.poll() is not None:
            raise RuntimeError(server.output)
        time.sleep(0.05)
    return server.process.pid


@contextmanager
def ours(url: str, folder: Path, rows: int = 0, *, fast: bool = True) -> Iterator[Target]:
    """The server with a key; with so many `rows` of other models, and as many of other keys, in its database."""
    config, home = folder / "run.yaml", folder / "home"
    folder.mkdir(exist_ok=True)
    config.write_text(run_of(url))
    required = {"LLAMA_STACK_AUTH": "required", "LLAMA_STACK_FAST_LANE": str(int(fast))}
    variables = environment(home, **required)
    key = printed(["llamastack.cli", "key", "create", "bench", "--config", str(config)], variables).split()[-1]
    if rows:
        printed(["benchmarks._fill", str(config), str(rows), url], variables)
    with serving(config, home=home, env=required) as server:
        name = FILLED if rows else OURS
        target = Target(name, server.port, server.process.pid, key, home=home, ready=server.seconds)
        until_quiet(target.pid)
        target.idle = pss_megabytes(target.pid)
        until_answered(target)
        yield target


def until_quiet(pid: int) -> None:
    """Until a server that is ready has also listed its providers' models, and uses hardly any of its core."""
    until = time.monotonic() + MOST_QUIET_SECONDS
    used, before = 1.0, cpu_seconds(pid)
    while used > QUIET * QUIET_SECONDS and time.monotonic() < until:
        time.sleep(QUIET_SECONDS)
        now = cpu_seconds(pid)
        used, before = now - before, now


def printed(module: list[str], variables: dict[str, str]) -> str:
    command = [sys.executable, "-m", *module]
    return subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True, check=True).stdout


def run_of(url: str) -> str:
    """One remote provider, and its models under their own names."""
    provider = {"provider_id": "sky", "provider_type": "remote::openai", "config": {"base_url": url, "api_key": "any"}}
    models: list[dict[str, Any]] = [
        {"model_id": name, "provider_id": "sky", "provider_model_id": name} for name in MODELS
    ]
    vectors = {"model_type": "embedding", "metadata": {"embedding_dimension": _upstream.DIMENSION}}
    models.append({"model_id": _upstream.VECTORS, "provider_id": "sky", **vectors})
    head = {"version": 2, "image_name": "gateway", "apis": ["inference"], "providers": {"inference": [provider]}}
    return json.dumps(head | {"registered_resources": {"models": models}})


def until_answered(target: Target) -> None:
    """Without the key nobody is served; with it, once the provider has started."""
    asked = orjson.dumps({"model": _echo.MODEL, "messages": [{"role": "user", "content": "Hi"}], "store": False})
    url = f"http://127.0.0.1:{target.port}/v1/chat/completions"
    kind = {"Content-Type": "application/json"}
    assert status(urllib.request.Request(url, asked, kind)) == 401
    while status(urllib.request.Request(url, asked, kind | {"Authorization": f"Bearer {target.key}"})) != 200:
        time.sleep(0.1)
    target.asked["chat"] += 1


def status(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
