"""What the shell completes after `llama`, and what is said of a word that was mistyped."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamastack.cli import complete, main
from tests.servers import environment, free_port
from tests.upstream import serving

CODE = "import sys; sys.argv = ['llama']; from llamastack.cli import main; main()"
Completed = Callable[..., list[str]]


@pytest.fixture
def completed(tmp_path: Path) -> Completed:
    """The words that bash would offer after a line; its last word is the one that is being typed."""

    def words(line: str, before: str = "", **variables: str) -> list[str]:
        typed = line.split(" ")
        asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(typed) - 1), "_LLAMA_COMPLETE": "complete_bash"}
        command = [sys.executable, "-c", before + CODE]
        env = environment(tmp_path, **asked, **variables)
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        assert not done.stderr
        return done.stdout.split()

    return words


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("llama st", ["stack"]),
        ("llama stack li", ["list-apis", "list-providers", "list", "list-deps"]),
        ("llama stack run --po", ["--port"]),
        ("llama stack run --server u", ["uvicorn"]),
        ("llama stack run st", ["starter"]),
        ("llama stack list-deps rem", ["remote-only"]),
        ("llama stack apply st", ["starter"]),
        ("llama key list --config rem", ["remote-only"]),
        ("llama stack list-providers inf", ["inference"]),
        ("llama model describe HuggingFaceTB/Smol", ["HuggingFaceTB/SmolLM2-135M-Instruct"]),
        ("llama model download SmolLM2-135M-I", ["SmolLM2-135M-Instruct"]),
        ("llama stack run ./no-distribution", []),
        ("llama key revoke lls-", []),
        ("llama key revoke lls- --config no-such", []),
    ],
)
def test_what_is_offered(completed: Completed, line: str, offered: list[str]) -> None:
    assert completed(line) == offered


def test_distributions_of_the_home_folder_are_offered(completed: Completed, tmp_path: Path) -> None:
    folder = tmp_path / "distributions" / "starling"
    folder.mkdir(parents=True)
    (folder / "starling-run.yaml").write_text("version: 2\nimage_name: starling\n")
    assert completed("llama stack run star") == ["starling", "starter"]


def test_keys_in_force_are_offered_from_the_file(completed: Completed, tmp_path: Path) -> None:
    """The tables are made by the real command, and the names of their columns are those that the completion reads."""

    def llama(*arguments: str) -> str:
        command = [sys.executable, "-m", "llamastack.cli", *arguments, "--config", "remote-only"]
        done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=True)
        return done.stdout.strip()

    kept, ended = llama("key", "create", "app"), llama("key", "create", "old")
    llama("key", "revoke", ended)
    assert completed("llama key revoke lls", LLAMA_STACK_CONFIG="remote-only") == [kept[:10]]


async def test_the_models_of_a_running_server_are_offered(completed: Completed) -> None:
    async with serving() as server:
        assert await asyncio.to_thread(completed, f"llama chat --url {server.url} sky") == ["sky-1", "sky-2"]


def test_a_server_that_does_not_answer_offers_no_models(completed: Completed) -> None:
    assert completed(f"llama chat --url http://127.0.0.1:{free_port()} a") == []


def test_completing_imports_no_django_and_no_torch(completed: Completed) -> None:
    line = "llama stack run st"
    code = "\nimport atexit"  # the completion ends the process: look at what it had imported then
    before = "import atexit, sys; atexit.register(lambda: print({'django', 'torch', 'aiohttp'} & set(sys.modules)));"
    assert code
    asked = {"COMP_WORDS": line, "COMP_CWORD": "3", "_LLAMA_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-c", before + CODE.format("")], env=asked, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["starter", "set()"]


def test_the_script_for_the_shell_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    with pytest.raises(SystemExit) as left:
        main(["--show-completion", "bash"])
    assert (left.value.code, "complete -o default" in capsys.readouterr().out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (("stak", "run"), "'stack'"),
        (("stack", "rnu"), "'run'"),
        (("key", "craete", "app"), "'create'"),
        (("stack", "run", "--prot", "1"), "--port"),
        (("stack", "run", "--server", "uvicron"), "'uvicorn', 'daphne'"),
        (("model", "lst"), "'list'"),
    ],
)
def test_a_mistyped_word_brings_what_was_meant(
    arguments: tuple[str, ...], near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert (left.value.code, near in " ".join(capsys.readouterr().err.split())) == (2, True)


def test_names_that_fit_keep_what_is_said_of_them() -> None:
    names: Any = [("one", "1"), ("other", "2"), ("two", "3")]
    assert complete.fitting("o", names) == names[:2]
