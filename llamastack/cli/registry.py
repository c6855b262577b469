"""`llama stack export` and `apply`: the registry as a run.yaml, and a run.yaml into the registry."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from llamastack import database
from llamastack.cli import complete, environment
from llamastack.cli.console import say, table, warn
from llamastack.cli.key import Config, open_database
from llamastack.cli.run import CONFIG_VARIABLES
from llamastack.config import StackConfig, document
from llamastack.environment import EnvironmentFault

if TYPE_CHECKING:
    from apps.registry.changes import Change
    from apps.registry.export import Export

Output = Annotated[Path | None, typer.Option("--output", "-o", help="The file to write; stdout without it.")]

File = Annotated[
    str,
    typer.Argument(metavar="FILE", help="A run.yaml, or a distribution's name.", autocompletion=complete.distributions),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--config",
        help="Whose database is meant; FILE's own unless given.",
        envvar=CONFIG_VARIABLES,
        autocompletion=complete.distributions,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]


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


def apply(file: File, config: Target = None, dry_run: DryRun = False) -> None:
    """Apply the providers, models and vector stores of a run.yaml; a running server sees them within a second."""
    wanted = environment.read(file)
    database.open_tables(wanted if config is None else environment.read(config))
    show(applied(wanted, dry_run))
    say("Nothing was applied: --dry-run." if dry_run else "Applied.")


def applied(wanted: StackConfig, dry_run: bool) -> "list[Change]":
    from apps.registry import changes

    with database.usable(), database.locked():
        return changes.apply(wanted, dry_run=dry_run)


def show(changes: "list[Change]") -> None:
    if not changes:
        say("The registry says already what the file says.")
        return
    rows = [(change.verb, change.kind, change.identifier, ", ".join(change.fields)) for change in changes]
    table(["Change", "Kind", "Name", "Fields"], rows)
