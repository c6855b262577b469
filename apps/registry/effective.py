"""What a row means now: declared ⊕ override, `${env.X}` expanded, secrets decrypted. Computed, never saved."""

import hashlib
import json
import logging
import math
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from apps.access.models import ApiKey
from apps.registry.config_classes import config_class
from apps.registry.models import Model, Origin, Provider, Resource
from apps.registry.secrets import leaves, unsealed
from llamastack.apis import Api
from llamastack.call import SHARED_TENANT
from llamastack.config import ConfigError, expand
from llamastack.config.homes import ModelHome, first_home
from llamastack.config.source import Place
from llamastack.errors import StackError
from llamastack.model_facts import facts_in
from llamastack.providers import ProviderUnavailable, find, load
from llamastack.snapshot import Home, KeyRecord, ModelRecord, ProviderRecord

logger = logging.getLogger(__name__)
MODEL_DEFAULTS: Mapping[str, Any] = {
    "provider_model_id": None,
    "homes": None,
    "affinity": None,
    "model_type": "llm",
    "aliases": [],
    "metadata": {},
    "default": False,
    "enabled": True,
}


def is_operators(row: Resource) -> bool:
    """Whether it may use what is the server's own: its environment, files and credentials."""
    return row.tenant == SHARED_TENANT and row.origin in (Origin.yaml, Origin.admin)


def environment(row: Resource) -> Mapping[str, str]:
    """The variables that a row may mention: the server's own are its operator's, and no tenant's or provider's."""
    return os.environ if is_operators(row) else {}


def of_the_server(row: Provider) -> Mapping[str, Any]:
    """The settings by which a provider would use credentials or files of the server's; none of what cannot be read."""
    kind = config_class(row.api, row.provider_type, row.module)
    try:
        return kind.model_validate(opened_config(row)).of_the_server if kind else {}
    except (StackError, ConfigError, ValidationError):
        return {}


def not_theirs(settings: Mapping[str, Any]) -> tuple[str, str]:
    """The setting that a provider of a tenant's may not have so, and what it is told."""
    name = next((name for name, value in settings.items() if value), min(settings))
    why = "names what is the server's own" if settings[name] else "is empty, so that the server's own credentials serve"
    theirs = "Only a provider of the run.yaml, or one that a superuser adds in the admin, may use those"
    return name, f"'{name}' {why}. {theirs}"


def opened(value: Any, text: Collection[Place] = (), env: Mapping[str, str] = os.environ) -> Any:
    """What a config holds, with its environment references expanded and its secrets decrypted.

    What the environment gives to the places in `text` stays text, so that a key made of digits is a key.
    """
    return unsealed(expand(value, env, text=text))


def opened_config(row: Provider) -> dict[str, Any]:
    """The config of a provider as its class takes it. Raises ConfigError and UndecryptableSecret."""
    written = row.merged.get("config", {})
    kind = config_class(row.api, row.provider_type, row.module)
    text = {leaf.place for leaf in leaves(kind, written) if leaf.text}
    config: dict[str, Any] = opened(written, text, environment(row))
    return config


def provider_record(row: Provider) -> ProviderRecord:
    """The provider as it shall run. What is wrong with it becomes its `unavailable`, never an exception."""
    config: dict[str, Any] = {}
    try:
        config = opened_config(row)
        problem = _problem(row, config)
    except (StackError, ConfigError) as error:
        problem = str(error)
    except Exception as error:  # a third party's module or config class may raise anything
        problem = f"its configuration cannot be read: {type(error).__name__}: {error}"
    return ProviderRecord(
        key=row.pk,
        tenant=row.tenant,
        provider_id=row.identifier,
        api=Api(row.api),
        provider_type=row.provider_type,
        module=row.module,
        config=MappingProxyType(config),
        revision=_revision(row, config),
        unavailable=problem,
    )


def _problem(row: Provider, config: dict[str, Any]) -> str | None:
    """Why this row cannot run, or None."""
    try:
        spec = find(Api(row.api), row.provider_type, row.module)
        if spec is None:
            return f"provider type '{row.provider_type}' is not built yet"
        used = load(spec).config_class.model_validate(config).of_the_server
        if used and not is_operators(row):
            return not_theirs(used)[1]
    except ProviderUnavailable as error:
        return error.message
    except ImportError as error:
        return f"a package is missing: {error}"
    except ValidationError as error:
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
    return None


def _revision(row: Provider, config: dict[str, Any]) -> str:
    # Not orjson, which has no number of more than 64 bits.
    text = json.dumps([row.provider_type, row.module, config], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def model_fields(row: Model) -> dict[str, Any]:
    """A model's fields as they hold now; as written where a variable is missing. No secret is among them."""
    try:
        fields: dict[str, Any] = expand(row.merged, environment(row))
    except ConfigError:
        fields = row.merged
    return fields


def shown_model(row: Model) -> dict[str, Any]:
    """Every field of a model that may be edited, as it holds now; with homes, the provider is that of the first."""
    merged = model_fields(row)
    shown = {**MODEL_DEFAULTS} | {name: merged[name] for name in ("provider_id", *MODEL_DEFAULTS) if name in merged}
    homes = homes_of(merged)
    if homes is None:
        return shown
    first = first_home(homes) or ModelHome()
    of_first = {"provider_id": first.provider_id or "", "provider_model_id": first.provider_model_id}
    return shown | of_first | {"homes": [home.model_dump() for home in homes]}


def homes_of(merged: Mapping[str, Any]) -> list[ModelHome] | None:
    """The homes a model's fields list, but for those that are off or cannot be read; None where there is no list."""
    if merged.get("homes") is None:
        return None
    homes = []
    for written in merged["homes"]:
        with suppress(AttributeError, ValidationError):  # no mapping; a variable that is missing
            homes.append(ModelHome(**{name: value for name, value in written.items() if value is not None}))
    return [home for home in homes if home.provider_id or home.model]


def model_record(row: Model) -> ModelRecord:
    """A model with several homes is shown as on the first of them."""
    merged = model_fields(row)
    homes = homes_in(merged, row.identifier)
    first = min((home for home in homes if not home.model), key=lambda home: home.order, default=Home())
    return ModelRecord(
        key=row.pk,
        tenant=row.tenant,
        owner=row.owner,
        identifier=row.identifier,
        provider_id=first.provider_id if homes else merged.get("provider_id", ""),
        provider_model_id=(first.provider_model_id if homes else merged.get("provider_model_id")) or row.identifier,
        model_type=merged.get("model_type", "llm"),
        created=int(row.created_at.timestamp()),
        origin=row.origin,
        aliases=tuple(merged.get("aliases", ())),
        metadata=MappingProxyType(merged.get("metadata", {})),
        default=merged.get("default", False) is True,
        homes=homes,
        affinity=merged.get("affinity") or "",
        stated=facts_in(stated_metadata(row, merged)),
        listed=facts_in(listed_metadata(row)),
    )


def homes_in(merged: Mapping[str, Any], identifier: str) -> tuple[Home, ...]:
    """The homes a model's fields list; those that cannot be read are left out, and the log tells."""
    homes = []
    for place, written in enumerate(merged.get("homes") or ()):
        if _is_off(written):
            continue
        try:
            homes.append(_home(written, identifier))
        except (AttributeError, TypeError, ValueError) as error:  # such as a variable that is missing now
            logger.warning("Home %d of model %s cannot be read: %s", place, identifier, error)
    return tuple(homes)


def _is_off(written: Any) -> bool:
    """Whether a variable that is not set takes the home out."""
    named = [written[name] for name in ("provider_id", "model") if name in written] if isinstance(written, dict) else []
    return bool(named) and not any(named)


def _home(written: Mapping[str, Any], identifier: str) -> Home:
    model, provider_id = written.get("model") or "", written.get("provider_id") or ""
    weight, order = float(written.get("weight", 1)), int(written.get("order", 0))
    if not (model or provider_id) or not 0 < weight < math.inf:
        raise ValueError("it needs a provider_id or a model, and a weight above 0")
    if model:
        return Home(model=model, weight=weight, order=order)
    return Home(provider_id, written.get("provider_model_id") or identifier, weight=weight, order=order)


def listed_metadata(row: Model) -> dict[str, Any]:
    """What the model's provider says of it."""
    listed: dict[str, Any] = row.declared.get("metadata", {}) if row.origin == Origin.discovered else row.listed
    return listed


def stated_metadata(row: Model, merged: Mapping[str, Any]) -> dict[str, Any]:
    """What an operator says of it: of a discovered model, what is not as its provider has it."""
    metadata: dict[str, Any] = merged.get("metadata", {})
    listed = listed_metadata(row) if row.origin == Origin.discovered else {}
    return {name: value for name, value in metadata.items() if name not in listed or value != listed[name]}


def key_record(row: ApiKey) -> KeyRecord:
    return KeyRecord(row.pk, row.digest, row.principal, row.expires_at)
