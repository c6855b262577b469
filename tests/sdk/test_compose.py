"""docker-compose.yml and the Dockerfile: read, and their own services' commands started by hand, without containers."""

import asyncio
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml
from openai.types import Batch

from llamastack.config import load_config
from llamastack.services import Services
from tests.chaos.test_batches_killed import request, upstream
from tests.sdk.test_batches import ended
from tests.servers import ROOT, Server, environment, free_port, new_database, starting
from tests.upstream import on_loopback
from tests.workers import wait_for

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
READY = {"worker": "does the jobs of", "cpu-worker": "does the jobs of", "beat": "makes the jobs of the schedules"}
PASSWORDS = {"POSTGRES_PASSWORD": "one", "REDIS_PASSWORD": "two"}
LINES = 20
WAIT_SECONDS = 60.0


class Unset(Exception):
    """A variable that has to be set is not."""


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """As Compose has it: `${NAME:-else}`, `${NAME:?why}`, and `$$` for a dollar."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        found = variables.get(match["name"]) or (match["rest"] if match["mark"] == ":-" else "")
        if not found and match["mark"] == ":?":
            raise Unset(match["name"])
        return found

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(?P<mark>:[-?])?(?P<rest>[^}]*)\}", value, text)


def environment_of(name: str) -> dict[str, str]:
    given = SERVICES[name]["environment"]
    return {key: interpolated(str(value), PASSWORDS) for key, value in given.items()}


def command_of(name: str) -> list[str]:
    return [interpolated(part, PASSWORDS) for part in SERVICES[name]["command"]]


def test_every_service_is_pinned_looked_after_and_keeps_its_state_in_a_volume() -> None:
    assert {"web", "worker", "gpu-worker", "cpu-worker", "beat", "postgres", "redis"} == set(SERVICES)
    for name, service in SERVICES.items():
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        assert service["restart"] == "unless-stopped"
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}  # without them a log grows for ever
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= set(COMPOSE["volumes"])
    for name in ("postgres", "redis"):
        assert re.search(r":\d+\.\d+(\.\d+)?(-\w+)*$", SERVICES[name]["image"])
        assert "ports" not in SERVICES[name]
    assert "yes" in SERVICES["redis"]["command"][SERVICES["redis"]["command"].index("--appendonly") + 1]
    device = SERVICES["gpu-worker"]["deploy"]["resources"]["reservations"]["devices"][0]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert command_of("gpu-worker") == command_of("cpu-worker")


def test_our_services_have_no_rights_that_they_do_not_need() -> None:
    assert OURS == ["web", "worker", "gpu-worker", "cpu-worker", "beat"]
    for name in OURS:
        service = SERVICES[name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert "no-new-privileges:true" in service["security_opt"]
        assert environment_of(name)["LLAMA_STACK_AUTH"] == "required"
    assert [port.startswith("${LLAMA_STACK_ADDRESS:-127.0.0.1}:") for port in SERVICES["web"]["ports"]] == [True]


def test_the_container_listens_where_its_port_is_taken_from_whatever_port_the_env_file_names() -> None:
    assert SERVICES["web"]["env_file"] == [{"path": ".env", "required": False}]
    ours = environment_of("web")["LLAMA_STACK_PORT"]
    assert [port.rpartition(":")[2] for port in SERVICES["web"]["ports"]] == [ours]
    assert f"//127.0.0.1:{ours}/" in SERVICES["web"]["healthcheck"]["test"][-1]


@pytest.mark.parametrize("missing", PASSWORDS)
def test_a_password_that_is_not_set_is_refused(missing: str) -> None:
    values = " ".join(str(value) for service in SERVICES.values() for value in service["environment"].values())
    with pytest.raises(Unset, match=missing):
        interpolated(values, {**PASSWORDS, missing: ""})


def test_the_example_of_a_env_file_names_what_compose_asks_for() -> None:
    named = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    asked = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert set(PASSWORDS) <= set(named)
    assert load_config("remote-only", env={}).image_name == environment_of("web")["CONFIG"]
    assert set(named) - asked <= {"OPENAI_API_KEY", "VLLM_URL"}  # the distribution's own


def test_the_image_takes_what_is_there_as_a_user_without_rights() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    images = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-\w+", image) for image in images)
    taken = [part for line in lines if line.startswith("COPY ") and "--from" not in line for part in line.split()[1:-1]]
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert ignored[1] == "*"
    for name in taken:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == set(taken)
    sets = next(line for line in lines if line.startswith("ARG SETS")).partition('"')[2].rstrip('"').split()
    assert all((ROOT / "requirements" / f"{name}.txt").exists() for name in sets)
    assert any("groupadd --gid 10001 llama" in line for line in lines)
    assert any("useradd" in line and "--uid 10001 --gid llama" in line for line in lines)
    assert any("LLAMA_STACK_AUTH=required" in line.split() for line in lines if line.startswith("ENV "))
    assert lines.index("USER llama") < next(i for i, line in enumerate(lines) if line.startswith("ENTRYPOINT"))


@contextmanager
def started(name: str, home: Path, port: int, **variables: str) -> Iterator[Server]:
    """A service's own command, with what the private services and this test have in place of the containers'."""
    command = [sys.executable, "-m", "llamastack.cli", *command_of(name)]
    alive = {"LLAMA_STACK_ALIVE_FILE": str(home / f"{name}.alive")} if name != "web" else {}
    given = {**environment_of(name), **alive, **variables, "LLAMA_STACK_PORT": str(port)}
    with starting(command, environment(home, **given), port) as service:
        yield service


def healthy(name: str, service: Server, home: Path) -> bool:
    """Whether the service's own health check passes, by hand."""
    kind, *test = SERVICES[name]["healthcheck"]["test"]
    here = {":8321": f":{service.port}", "/tmp/alive": str(home / f"{name}.alive")}
    command = [interpolated(part, {}) for part in test]
    for there, place in here.items():
        command = [part.replace(there, place) for part in command]
    command = [sys.executable, *command[1:]] if command[0] == "python" else command
    done = subprocess.run(["sh", "-c", *command] if kind == "CMD-SHELL" else command, capture_output=True, check=False)
    return done.returncode == 0


def wait_until_healthy(name: str, service: Server, home: Path) -> None:
    over = time.monotonic() + WAIT_SECONDS
    while not healthy(name, service, home):
        assert service.process.poll() is None, service.output
        assert time.monotonic() < over, service.output
        time.sleep(0.2)


@pytest.mark.slow
async def test_its_commands_serve_and_do_the_work(services: Services, tmp_path: Path) -> None:
    async with on_loopback(upstream(Counter())) as sky:
        given = {
            "DATABASE_URL": new_database(services, "compose"),
            "REDIS_URL": services.redis_url,
            "OPENAI_API_KEY": "sk-1",
            "OPENAI_BASE_URL": f"{sky}/v1",
        }
        batch = await asyncio.to_thread(done_by_services, tmp_path, given)
    assert batch.request_counts is not None
    assert (batch.status, batch.request_counts.completed) == ("completed", LINES)


def done_by_services(home: Path, given: Mapping[str, str]) -> Batch:
    """What becomes of a batch, with a process of each service."""
    with ExitStack() as running:
        web = running.enter_context(started("web", home, free_port(), **given))
        wait_until_healthy("web", web, home)
        for name, told in READY.items():
            service = running.enter_context(started(name, home, 0, **given))
            wait_for(service, told)
            wait_until_healthy(name, service, home)
        with openai.OpenAI(base_url=f"{web.url}/v1", api_key=web.first_key, max_retries=0) as client:
            lines = b"".join(request(number).replace(b"sky/", b"openai/") for number in range(LINES))
            file = client.files.create(file=("lines.jsonl", lines), purpose="batch")
            made = client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            return ended(lambda: client.batches.retrieve(made.id))
