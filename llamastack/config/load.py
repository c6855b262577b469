"""`load_config`: from what the user typed to a StackConfig, or to every error in the file at once."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llamastack.apis import SERVED
from llamastack.config import vector_stores
from llamastack.config.aliases import ALIASES, RESOURCES, normalise
from llamastack.config.entries import Reader, Specs
from llamastack.config.expand import Environment, strays
from llamastack.config.known import KNOWN_APIS
from llamastack.config.lookup import find
from llamastack.config.sections import ModelEntry, ProviderEntry, RegisteredResources, StackConfig
from llamastack.config.source import ConfigError, Problem, Source, spell
from llamastack.config.storage import check_storage, storage_notes
from llamastack.config.validate import keys, validated
from llamastack.near import did_you_mean
from llamastack.providers import specs as built_specs

OLD_STORES = ("metadata_store", "inference_store", "conversations_store")
REGISTERED = ("models", "vector_stores")
UNREAD = ("safety", "connectors", "external_providers_dir", "external_apis_dir")


def load_config(source: str | Path, *, env: Environment | None = None, specs: Specs = built_specs) -> StackConfig:
    """The configuration that `source` names: a file or a distribution.

    Raises ConfigError that holds every problem found, with file and line; nothing has been started by then.
    """
    path = find(source)
    document = Source.read(path)
    env = vector_stores.with_database(os.environ if env is None else env)
    return _resolve(document, _default_name(path), env, specs)


def document(source: str | Path) -> dict[str, Any]:
    """The run.yaml that `source` names, unexpanded, its keys where version 2 has them; faults are for `load_config`."""
    read = Source.read(find(source))
    normalise(read, [])
    return read.data


def _resolve(document: Source, default_name: str, env: Environment, specs: Specs) -> StackConfig:
    reader = Reader(document, env, specs)
    reader.problems += normalise(document, reader.notes)
    head = _head(document, reader)
    providers = reader.providers(document.data.get("providers"))
    resources = document.data.get(RESOURCES) or {}
    models = _models(resources, providers, reader)
    parsed = reader.attempt(_sections, {"image_name": default_name, **head}, resources, models, env)
    if parsed is not None:
        reader.problems += check_storage(parsed.storage)
        reader.problems += vector_stores.check_default(parsed, providers)
    reader.problems += _check_apis(parsed.apis if parsed else head.get("apis"))
    if reader.problems:
        raise document.error(reader.problems)
    config: StackConfig = parsed
    notes = [*reader.notes, *_notes(config), *_stray_notes(document)]
    return config.model_copy(update={"providers": providers, "notes": notes})


def _default_name(path: Path) -> str:
    stem = path.name.split(".")[0].removesuffix("-run")
    return re.sub(r"[^A-Za-z0-9_-]", "-", stem).lstrip("-_")[:100] or "stack"


def _head(document: Source, reader: Reader) -> dict[str, Any]:
    """The sections that are written by value; unknown keys at the top become problems."""
    allowed = keys(StackConfig) - {"notes"}
    for key in document.data:
        if key not in allowed:
            reader.problem("unknown key" + did_you_mean(key, allowed | set(ALIASES)), (key,))
    apart = {"providers", RESOURCES}
    return {key: value for key, value in document.data.items() if key in allowed - apart and value is not None}


def _models(resources: Any, providers: dict[str, list[ProviderEntry]], reader: Reader) -> list[ModelEntry]:
    if not isinstance(resources, dict):
        return []
    return reader.models(resources.get("models"), providers.get("inference", []))


def _sections(head: dict[str, Any], resources: Any, models: list[ModelEntry], env: Environment) -> StackConfig:
    """Every section but the providers, with the problems of all of them together."""
    problems: list[Problem] = []
    config, registered = None, RegisteredResources()
    try:
        config, _ = validated(StackConfig, head, env)
    except ConfigError as error:
        problems += error.problems
    try:
        registered = _other_resources(resources, env)
    except ConfigError as error:
        problems += error.problems
    if config is None or problems:
        raise ConfigError(*problems)
    return config.model_copy(update={RESOURCES: registered.model_copy(update={"models": models})})


def _other_resources(resources: Any, env: Environment) -> RegisteredResources:
    """The lists that are kept for APIs that are not served yet; entries without a provider are dropped."""
    if not isinstance(resources, dict):
        raise ConfigError(Problem("expected a mapping of lists", (RESOURCES,)))
    others = {key: value for key, value in resources.items() if key != "models" and value is not None}
    registered, expanded = validated(RegisteredResources, others, env, (RESOURCES,))
    kept = {
        name: [entry for entry, raw in zip(getattr(registered, name), raws, strict=True) if _enabled(raw)]
        for name, raws in expanded.items()
        if raws is not None
    }
    return registered.model_copy(update=kept)


def _enabled(raw: dict[str, Any]) -> bool:
    return bool(raw.get("provider_id", True))


def _check_apis(apis: Any) -> Iterator[Problem]:
    for index, api in enumerate(apis if isinstance(apis, list) else ()):
        if isinstance(api, str) and api not in KNOWN_APIS:
            yield Problem(f"unknown API '{api}'{did_you_mean(api, KNOWN_APIS)}", ("apis", index))


def _notes(config: StackConfig) -> Iterator[str]:
    absent = [api for api in config.apis if api not in SERVED]
    if absent:
        yield f"apis: not built yet and answered with 404: {', '.join(absent)}"
    for name in RegisteredResources.model_fields:
        if name not in REGISTERED and getattr(config.registered_resources, name):
            yield f"{RESOURCES}.{name}: kept, but its API is not built yet"
    for name in OLD_STORES:
        if getattr(config, name) is not None:
            yield f"{name}: an older form that has no effect; stores are described under storage"
    yield from vector_stores.notes(config)
    yield from _unread(config)
    yield from storage_notes(config.storage)


def _unread(config: StackConfig) -> Iterator[str]:
    sections: dict[str, object] = {name: getattr(config, name) for name in UNREAD}
    sections["telemetry"] = config.telemetry.enabled
    sections["logging"] = config.logging.category_levels
    for name, section in sections.items():
        if section:
            yield f"{name}: has no effect yet: not built"


def _stray_notes(document: Source) -> Iterator[str]:
    for place, written in strays(document.data):
        where = f"{document.file}:{document.line(place)}: {spell(place)}"
        yield f"{where}: {written} is no reference and stays as it is: a name is of A-Z, 0-9 and _, then := or :+"
