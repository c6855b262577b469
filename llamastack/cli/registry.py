"""`llama stack export` and `apply`: the registry as a run.yaml, and a run.yaml into the registry."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from llamastack.cli import database
from llamastack.cli.console import say, warn
from llamastack.cli.environment import EnvironmentFault
from llamastack.cli.key import Config, open_database
from llamastack.config import document

if TYPE_CHECKING:
    from apps.registry.export import Export

Output = Annotated[Path | None, typer.Option("--output", "-o", help="The file to write; stdout without it.")]


def export(config: Config = "starter", output: Output = None) -> None:
    """Write the registry as a run.yaml: edits merged in, `${env.X}` as written, secrets left out."""
    stack = open_database(config)
    from apps.registry.export import export as from_registry

    with database.usable():
        made = from_registry(stack, document(config))
    write(text(made), output)
    for note in made.notes:
        warn(note)
    for variable, place in made.variables.items():
        warn(f"{place} is a secret: set {variable} before this file is read")
    if output is not None:
        say(f"Written to {output}")


def text(made: "Export") -> str:
    """The YAML, with a comment on every variable that it needs now."""
    heads = [f"# Set {name}, the secret of {place}.\n" for name, place in made.variables.items()]
    return "".join(heads) + yaml.safe_dump(made.run, sort_keys=False, allow_unicode=True, width=120)


def write(written: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(written)
        return
    try:
        output.write_text(written)
    except OSError as error:
        raise EnvironmentFault(f"{output} cannot be written: {error.strerror}.") from None
