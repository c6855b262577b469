"""`llama stack export` and `apply` in processes of its own, on a database that a server uses."""

import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from llamastack.config import load_config
from tests.servers import ROOT, Server, environment, serving

pytestmark = pytest.mark.slow
SECONDS_UNTIL_SEEN = 30.0


def stack(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llamastack.cli", "stack", *arguments]
    env = environment(home, **variables)
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60)


def written(file: Path, **config: str) -> str:
    provider = {"provider_id": "one", "provider_type": "remote::openai", "config": config}
    models = [
        {"model_id": "sky", "provider_id": "one", "provider_model_id": "sky-1", "model_type": "llm", "metadata": {}}
    ]
    run = {"version": 2, "image_name": "mine", "providers": {"inference": [provider]}}
    file.write_text(yaml.safe_dump(run | {"registered_resources": {"models": models}}))
    return str(file)


def test_export_writes_a_run_yaml_that_serves_again(tmp_path: Path) -> None:
    home, target = tmp_path / "home", tmp_path / "exported.yaml"
    source = written(tmp_path / "run.yaml", base_url="http://127.0.0.1:9/v1", api_key="sk-literal")
    with serving(source, home=home):
        done = stack(home, "export", "--config", source, "-o", str(target))
    assert (done.returncode, done.stdout) == (0, f"Written to {target}\n")
    assert "set ONE_API_KEY before this file is read" in done.stderr
    text = target.read_text()
    assert text.startswith("# Set ONE_API_KEY, the secret of providers.inference.one.api_key.\n")
    assert "sk-literal" not in text
    with serving(target, home=home, env={"ONE_API_KEY": "sk-literal"}):
        again = stack(home, "export", "--config", str(target), ONE_API_KEY="sk-literal")
    assert yaml.safe_load(again.stdout) == yaml.safe_load(text)


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    done = stack(tmp_path / "home", "export", "--config", "remote-only", "-o", str(tmp_path / "no" / "such.yaml"))
    assert done.returncode == 1
    assert "such.yaml cannot be written: No such file or directory." in done.stderr
    assert "Traceback" not in done.stderr


def listed(server: Server) -> set[str]:
    return {model["id"] for model in httpx.get(f"{server.url}/v1/models").json()["data"]}


def becomes(server: Server, wanted: set[str]) -> bool:
    deadline = time.monotonic() + SECONDS_UNTIL_SEEN
    while listed(server) != wanted:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_running_server_sees_what_is_applied(tmp_path: Path) -> None:
    home = tmp_path / "home"
    source = written(tmp_path / "run.yaml", base_url="http://127.0.0.1:9/v1")
    with serving("remote-only", home=home) as server:
        dry = stack(home, "apply", source, "--config", "remote-only", "--dry-run")
        assert dry.stdout.splitlines()[-1] == "Nothing was applied: --dry-run."
        assert listed(server) == set()
        done = stack(home, "apply", source, "--config", "remote-only")
        assert done.stdout.splitlines()[:-1] == dry.stdout.splitlines()[:-1]
        assert done.stdout.splitlines()[-1] == "Applied."
        assert becomes(server, {"sky"})
        back = stack(home, "apply", "remote-only")
        own = sum(len(entries) for entries in load_config("remote-only", env={}).providers.values())
        assert [line.split()[0] for line in back.stdout.splitlines()[1:-1]] == ["enabled"] * own + ["disabled"] * 2
        assert becomes(server, set())


def test_a_file_with_an_error_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("version: 2\nimage_name: mine\nprovders: {}\n")
    done = stack(tmp_path / "home", "apply", str(file))
    assert (done.returncode, "run.yaml:3: provders: unknown key; did you mean 'providers'?" in done.stderr) == (1, True)
    assert not (tmp_path / "home" / "distributions").exists()
