"""`llama stack list-deps`: what the providers of a distribution need, pinned."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llamastack.cli.deps import pins
from tests.servers import ROOT
from tests.unit.core.test_cli import llama

SETS = ("local", "vectors", "documents")


def pinned_in(file: str) -> set[str]:
    return set((ROOT / file).read_text().split())


def config(tmp_path: Path, *providers: dict[str, object]) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"version": 2, "image_name": "mine", "providers": {"inference": list(providers)}}))
    return str(path)


def test_deps_only_is_one_pinned_requirement_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert llama("stack", "list-deps", "starter", "--format", "deps-only") == 0
    lines = capsys.readouterr().out.splitlines()
    models = {"torch", "transformers", "tokenizers", "safetensors", "gguf", "llguidance", "numpy"}
    documents = {"charset-normalizer", "markitdown", "pypdf", "pypdfium2"}
    assert {line.partition("==")[0] for line in lines} == models | documents | {"faiss-cpu"}
    assert set(lines) <= {line for name in SETS for line in pinned_in(f"requirements/{name}.txt")}


def test_uv_is_the_line_that_installs_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert llama("stack", "list-deps", "--format", "uv") == 0
    line = capsys.readouterr().out
    assert line.startswith("uv pip install ")
    assert " torch==" in line
    assert line.count("\n") == 1


def test_the_text_names_provider_and_requirements_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)  # with PostgreSQL's there is pgvector, too
    assert llama("stack", "list-deps", "starter") == 0
    rows = {row.split()[1]: row for row in capsys.readouterr().out.splitlines()[1:]}
    assert set(rows) == {"meta-reference", "sentence-transformers", "faiss", "auto"}
    assert rows["meta-reference"].rstrip().endswith("requirements/local.txt")


def test_remote_providers_need_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = config(tmp_path, {"provider_id": "one", "provider_type": "remote::openai"})
    assert llama("stack", "list-deps", mine) == 0
    assert capsys.readouterr().out == "The providers of mine need no packages beside the server's own.\n"
    for form in ("deps-only", "uv"):
        assert llama("stack", "list-deps", mine, "--format", form) == 0
        assert capsys.readouterr().out == ""


def test_a_third_partys_packages_are_pinned_where_we_pin_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "third_party_deps.py").write_text(
        "from llamastack.providers import ProviderSpec\n"
        "PACKAGES = ('Django', 'other>=2,<3', 'psycopg[binary]')\n"
        "PROVIDERS = {'remote::theirs': ProviderSpec('third_party_deps.Theirs', pip_packages=PACKAGES)}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    theirs = {"provider_id": "theirs", "provider_type": "remote::theirs", "module": "third_party_deps"}
    mine = config(tmp_path, theirs)
    assert llama("stack", "list-deps", mine, "--format", "uv") == 0
    versions = pins()
    assert capsys.readouterr().out == (
        f"uv pip install Django=={versions['django']} 'other>=2,<3' 'psycopg[binary]=={versions['psycopg']}'\n"
    )


def test_what_is_not_built_or_not_here_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unbuilt = {"provider_id": "later", "provider_type": "remote::xai"}
    absent = {"provider_id": "theirs", "provider_type": "remote::theirs", "module": "no_such_module"}
    assert llama("stack", "list-deps", config(tmp_path, unbuilt, absent), "--format", "deps-only") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "What later needs is not known: remote::xai is not built yet" in said.err
    assert "What theirs needs is not known: Module 'no_such_module' cannot be imported" in said.err


def test_it_imports_no_django() -> None:
    code = (
        "import sys\nfrom llamastack.cli import main\ntry:\n    main(['stack', 'list-deps'])\n"
        "except SystemExit:\n    print({'django', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (("stack", "list-dep"), "list-deps"),
        (("stak",), "stack"),
        (("stack", "list-deps", "--formt", "uv"), "--format"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(
    arguments: tuple[str, ...], near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert llama(*arguments) == 2
    assert near in capsys.readouterr().err
