"""The tree of commands."""

from typing import Annotated

import typer

from llamastack import __version__
from llamastack.cli import chat, deps, key, listing, model, registry, run, work


def show_version(wanted: bool) -> None:
    if wanted:
        print(f"llamastack-django {__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", help="Show the version.", callback=show_version, is_eager=True)]


def versioned(version: Version = False) -> None:
    """One API for every AI capability."""


def group(help: str, *, completion: bool = False) -> typer.Typer:
    return typer.Typer(help=help, no_args_is_help=True, add_completion=completion, pretty_exceptions_enable=False)


app = group("Llama Stack on Django: one API for every AI capability.", completion=True)
app.callback()(versioned)
app.command("chat")(chat.chat)
app.command("worker")(work.worker)
app.command("beat")(work.beat)

stack = group("Run the stack, and see what it is made of.")
stack.callback()(versioned)
stack.command("run")(run.run)
stack.command("list-apis")(listing.list_apis)
stack.command("list-providers")(listing.list_providers)
stack.command("list")(listing.list_distributions)
stack.command("list-deps")(deps.list_deps)
stack.command("export")(registry.export)
stack.command("apply")(registry.apply)
app.add_typer(stack, name="stack")

models = group("The models on this machine.")
models.command("list")(model.list_models)
models.command("download")(model.download)
models.command("describe")(model.describe)
app.add_typer(models, name="model")

keys = group("The API keys of a stack.")
keys.command("create")(key.create)
keys.command("list")(key.list_keys)
keys.command("revoke")(key.revoke)
app.add_typer(keys, name="key")
