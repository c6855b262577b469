"""`llama stack list-deps`: the packages that the providers of a distribution need. Needs no Django."""

import re
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llamastack.apis import Api
from llamastack.cli import environment
from llamastack.cli.console import say, table, warn
from llamastack.cli.run import Config
from llamastack.config import ProviderEntry, StackConfig
from llamastack.errors import StackError
from llamastack.providers import ProviderSpec, find

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
PIN = re.compile(r"([\w.-]+)==([^\s;]+)")
BARE = re.compile(r"([\w.-]+)(\[[\w.,-]+\])?")


class Format(StrEnum):
    text = "text"
    deps_only = "deps-only"
    uv = "uv"


FormatOption = Annotated[Format, typer.Option("--format", help="For people; one a line; or the line that installs.")]


def list_deps(config: Config = "starter", format: FormatOption = Format.text) -> None:
    """The packages that the enabled providers need beside the server's own, pinned as in our requirements files."""
    stack = environment.read(config)
    needing = [(entry, spec) for entry, spec in found(stack) if spec.pip_packages]
    packages = list(dict.fromkeys(package for _, spec in needing for package in pinned(spec)))
    if format is Format.text:
        show(stack, needing)
    elif format is Format.deps_only:
        print("\n".join(packages), end="\n" * bool(packages))
    elif packages:
        print(shlex.join(["uv", "pip", "install", *packages]))


def found(config: StackConfig) -> list[tuple[ProviderEntry, ProviderSpec]]:
    """The enabled providers with their specs; one that is not built, or whose module is not here, is a warning."""
    pairs = []
    for entry in (entry for entries in config.providers.values() for entry in entries):
        try:
            spec = find(Api(entry.api), entry.provider_type, entry.module)
        except StackError as error:
            warn(f"What {entry.provider_id} needs is not known: {error.message}")
            continue
        if spec is None:
            warn(f"What {entry.provider_id} needs is not known: {entry.provider_type} is not built yet")
        else:
            pairs.append((entry, spec))
    return pairs


def show(config: StackConfig, needing: list[tuple[ProviderEntry, ProviderSpec]]) -> None:
    if not needing:
        say(f"The providers of {config.image_name} need no packages beside the server's own.")
        return
    rows = [(entry.api, entry.provider_id, ", ".join(pinned(spec)), spec.requirements) for entry, spec in needing]
    table(["API", "Provider", "Packages", "Installed by: pip install -r"], rows)


def pinned(spec: ProviderSpec) -> list[str]:
    """The spec's packages as pip takes them, each with the version that our requirements files pin, if they do."""
    versions = pins()
    return [_pinned(package, versions) for package in spec.pip_packages]


def _pinned(package: str, versions: dict[str, str]) -> str:
    bare = BARE.fullmatch(package)
    version = versions.get(_normal(bare[1])) if bare else None
    return f"{package}=={version}" if version else package


def pins() -> dict[str, str]:
    """Every version that the requirements files pin; none where the server was installed without them."""
    lines = [line for file in REQUIREMENTS.glob("*.txt") for line in file.read_text().splitlines()]
    return {_normal(match[1]): match[2] for line in lines if (match := PIN.match(line))}


def _normal(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
