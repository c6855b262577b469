"""The registry as a run.yaml: declared ⊕ override, unexpanded, and without literal secrets."""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from apps.registry.config_classes import as_written, config_class
from apps.registry.effective import model_record
from apps.registry.models import Model, Origin, Provider, Resource
from apps.registry.secrets import Leaf, leaves, replaced
from llamastack.apis import Api
from llamastack.call import SHARED_TENANT
from llamastack.config import StackConfig, expand
from llamastack.config.sections import WrittenModel
from llamastack.config.source import Place
from llamastack.config.vector_stores import with_database
from llamastack.encryption import PREFIX
from llamastack.providers import ProviderConfig

REFERENCE = re.compile(r"\$\{env\.[^}]*\}")
# A user or a password before the host of a URL, where it is more than a user whose password was a reference.
CREDENTIALS = re.compile(r"://(?:[^/?#@\s:]+|[^/?#@\s:]*:[^/?#@\s]+)@")
DISABLED = "disabled, and left out"


@dataclass
class Export:
    """`run` is the run.yaml; `variables` say whose place, a secret's, they take; `notes` say what is left out."""

    run: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def without_secrets(self, value: Any, place: Place, kind: type[ProviderConfig] | None = None) -> Any:
        """`value` with a reference in the place of every literal secret; `kind` is its config class, if it has one."""
        literal = (leaf for leaf in leaves(kind, value) if isinstance(leaf.value, str) and _is_literal(leaf))
        return replaced(value, {leaf.place: self._reference((*place, *leaf.place)) for leaf in literal})

    def _reference(self, place: tuple[Any, ...]) -> str:
        """A reference to a variable that is named after the place: `${env.OPENAI_API_KEY}`."""
        parts = place[2:] if place[0] == "providers" else place
        base = re.sub(r"[^A-Z0-9]+", "_", "_".join(map(str, parts)).upper()).strip("_")
        name = base = f"SECRET_{base}" if base[:1].isdigit() else base
        while name in self.variables:
            name = f"{base}_{int(name[len(base) + 1 :] or 1) + 1}"
        self.variables[name] = ".".join(map(str, place))
        return f"${{env.{name}}}"

    def note(self, what: str, identifiers: list[str], why: str) -> None:
        if identifiers:
            self.notes.append(f"{what} {', '.join(identifiers)}: {why}")


def _is_literal(leaf: Leaf) -> bool:
    hidden = leaf.secret and leaf.value != "" and "${env." not in leaf.value
    return hidden or leaf.value.startswith(PREFIX) or CREDENTIALS.search(REFERENCE.sub("", leaf.value)) is not None


def export(config: StackConfig, written: Mapping[str, Any]) -> Export:
    """The run.yaml `written`, read as `config`, with the registry's providers and models in the place of its own.

    An entry that the environment switches off is in no registry, and stays as written. What is discovered comes back
    by itself, and what is disabled or of one tenant has no place in a run.yaml: all of that is left out.
    """
    made = Export()
    head = {key: value for key, value in written.items() if key not in ("providers", "registered_resources")}
    made.run = {"version": 2, "image_name": config.image_name} | made.without_secrets(head, ())
    resources = written.get("registered_resources") or {}
    made.run["providers"] = _providers(made, config, written.get("providers") or {})
    if made.run.get("apis"):
        made.run["apis"] = list(dict.fromkeys([*made.run["apis"], *made.run["providers"]]))
    models = _models(made, config, resources.get("models") or [])
    made.run["registered_resources"] = made.without_secrets(resources, ("registered_resources",)) | {"models": models}
    return made


def _rows(made: Export, table: type[Resource], what: str) -> list[Any]:
    """The rows that a run.yaml can hold; the others are noted."""
    private = table.objects.exclude(tenant=SHARED_TENANT).exclude(origin=Origin.discovered)
    made.note(what, [row.identifier for row in private], "of one tenant, and left out: a run.yaml is for all tenants")
    shared = list(table.objects.filter(tenant=SHARED_TENANT).order_by("id"))
    found = [row for row in shared if row.origin == Origin.discovered and row.override]
    made.note(what, [row.identifier for row in found], "discovered, and left out with the edits made to it")
    kept = [row for row in shared if row.origin != Origin.discovered]
    made.note(what, [row.identifier for row in kept if not row.enabled], DISABLED)
    return kept


def _providers(made: Export, config: StackConfig, written: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    rows = {(row.api, row.identifier): row for row in _rows(made, Provider, "provider")}
    on = {(api, entry.provider_id) for api, entries in config.providers.items() for entry in entries}
    made.note("provider", sorted(name for api, name in on - rows.keys()), "not applied yet, and left out")
    run: dict[str, list[dict[str, Any]]] = {}
    for api, entries in written.items():
        run[api] = []
        for item in entries or []:
            key = (api, _expanded(item["provider_id"]))
            row = rows.pop(key, None)
            if row is not None and row.enabled:
                run[api].append(_provider(made, row, item))
            elif key not in on:
                place = ("providers", api, item["provider_type"].partition("::")[2])
                run[api].append(made.without_secrets(item, place))
    for row in rows.values():
        if row.enabled:
            run.setdefault(row.api, []).append(_provider(made, row, {}))
    return run


def _provider(made: Export, row: Provider, item: Mapping[str, Any]) -> dict[str, Any]:
    columns = {"provider_id": row.identifier, "provider_type": row.provider_type, "module": row.module}
    entry = {name: _as_written(item, name, value) for name, value in columns.items() if value}
    kind = config_class(row.api, row.provider_type, row.module)
    config = as_written(kind, row.merged.get("config", {}), row.declared.get("config", {}))
    cleaned = made.without_secrets(config, ("providers", row.api, row.identifier), kind)
    return entry | ({"config": cleaned} if config or "config" in item else {})


def _models(made: Export, config: StackConfig, written: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = {row.identifier: row for row in _rows(made, Model, "model")}
    on = {entry.model_id for entry in config.registered_resources.models}
    made.note("model", sorted(on - rows.keys()), "not applied yet, and left out")
    inference = made.run["providers"].get(Api.inference, [])
    provided = {_expanded(item["provider_id"]) for item in inference}
    homes = _homes({name: row for name, row in rows.items() if row.enabled}, provided)
    usable = homes.keys()
    stranded = [name for name, row in rows.items() if row.enabled and name not in usable]
    made.note("model", stranded, "its provider is left out, and so is it")
    short = [name for name, kept in homes.items() if len(kept) < len(rows[name].merged.get("homes") or ())]
    made.note("model", short, "a home of it is left out")
    run = []
    for item in written:
        name = _expanded(item.get("model_id", item.get("identifier")))
        row = rows.pop(name, None)
        if row is not None and name in usable:
            run.append(_model(row, item, homes[name]))
        elif name not in on:
            run.append(dict(item))
    return run + [_model(row, {}, homes[name]) for name, row in rows.items() if name in usable]


def _homes(rows: Mapping[str, Model], providers: Collection[str]) -> dict[str, list[Any]]:
    """The models that can be served by what is exported, each with those of its listed homes that can be."""
    models: set[str] = set()
    served: set[str] = set()
    while more := {name: row for name, row in rows.items() if name not in served and _served(row, providers, models)}:
        served |= more.keys()
        models |= {alias for name, row in more.items() for alias in (name, *model_record(row).aliases)}
    return {name: _served_homes(row, providers, models) for name, row in rows.items() if name in served}


def _served(row: Model, providers: Collection[str], models: Collection[str]) -> bool:
    if row.merged.get("homes") is None:
        return model_record(row).provider_id in providers
    return any(_named(home) for home in _served_homes(row, providers, models))


def _served_homes(row: Model, providers: Collection[str], models: Collection[str]) -> list[Any]:
    """The homes that a model lists, as written, but for those on what is left out. One that is switched off stays."""
    homes = row.merged.get("homes") or ()
    return [home for home in homes if not _named(home) or _is_served(home, providers, models)]


def _is_served(home: Mapping[str, Any], providers: Collection[str], models: Collection[str]) -> bool:
    """A model that a provider has yet to list counts as there."""
    if not home.get("model"):
        return _named(home) in providers
    return _named(home) in models or _named(home).partition("/")[0] in providers


def _named(home: Mapping[str, Any]) -> str:
    return _expanded(home.get("model") or home.get("provider_id"))


def _model(row: Model, item: Mapping[str, Any], homes: list[Any]) -> dict[str, Any]:
    merged = row.merged | ({"homes": homes, "provider_id": None, "provider_model_id": None} if homes else {})
    fields = {name: merged[name] for name in WrittenModel.model_fields if name in merged}
    optional = ("aliases", "default", "affinity", "provider_id", "provider_model_id")
    kept = {name: value for name, value in fields.items() if value or name not in optional}
    return {"model_id": _as_written(item, "model_id", row.identifier), **kept}


def _as_written(item: Mapping[str, Any], name: str, value: str) -> Any:
    """How the file writes a value, where that still means the same."""
    return item[name] if _expanded(item.get(name)) == value else value


def _expanded(value: Any) -> str:
    return str(expand(value, with_database(os.environ), text={()}) or "")
