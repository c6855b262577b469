"""What is installed is said twice, for pip and for uv: both must say the same, and the pins must be portable."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
REQUIREMENTS = ROOT / "requirements"
OPTIONAL = ("aws", "google", "oci", "chroma", "milvus", "qdrant")


def wanted(name: str) -> list[str]:
    lines = (REQUIREMENTS / f"{name}.in").read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def pinned(name: str) -> dict[str, str]:
    lines = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines)


@pytest.mark.parametrize("name", [*OPTIONAL, "local", "vectors", "documents", "dev"])
def test_uv_and_pip_are_told_the_same(name: str) -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert groups[name] == wanted(name)


@pytest.mark.parametrize("name", [*OPTIONAL, "base", "local", "vectors", "documents", "dev"])
def test_everything_wanted_is_pinned(name: str) -> None:
    names = {re.split(r"[\[=]", line)[0].lower() for line in wanted(name)}
    assert names <= pinned(name).keys()


def test_no_two_files_pin_different_versions() -> None:
    files = [pinned(name) for name in (*OPTIONAL, "base", "local", "vectors", "documents", "dev")]
    together = {name: pin for file in files for name, pin in file.items()}
    assert all(together | pins == together for pins in files)


def test_torch_is_pinned_without_a_local_tag() -> None:
    assert pinned("local")["torch"] == pinned("dev")["torch"] == "2.13.0"
