"""What a row means now: declared ⊕ override, `${env.X}` expanded, secrets decrypted. Computed, never saved."""

import hashlib
import os
import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, get_args

import orjson
from pydantic import BaseModel, SecretStr, ValidationError

from apps.access.models import ApiKey
from apps.registry.config_classes import config_class
from apps.registry.models import Model, Origin, Provider, Resource
from llamastack.apis import Api
from llamastack.call import SHARED_TENANT
from llamastack.config import ConfigError, expand
from llamastack.encryption import PREFIX, decrypt, without_password
from llamastack.errors import StackError
from llamastack.providers import ProviderConfig, ProviderUnavailable, find, load
from llamastack.snapshot import KeyRecord, ModelRecord, ProviderRecord

MASK = "********"
MODEL_DEFAULTS: Mapping[str, Any] = {
    "provider_model_id": None,
    "model_type": "llm",
    "aliases": [],
    "metadata": {},
    "default": False,
    "enabled": True,
}
# Secrets of provider types whose class is not here, and so has no SecretStr to tell them by.
SECRET_NAME = re.compile(r"(api_?key|token|password|secret|credential)s?$", re.IGNORECASE)
ADDRESS_NAME = re.compile(r"(url|uri|host|endpoint|api_base)$", re.IGNORECASE)


def secret_fields(config: type[ProviderConfig] | None, values: Mapping[str, Any]) -> set[str]:
    """The names, among those of a provider's config, whose values are secrets."""
    if config is None:
        return {name for name in values if SECRET_NAME.search(name)}
    own = {name for name, field in config.model_fields.items() if is_secret(field.annotation)}
    return own | {other for other, name in config.other_names.items() if name in own}


def is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or SecretStr in get_args(annotation)


def addresses(config: Mapping[str, Any]) -> dict[str, str]:
    """The servers that a provider's config names, by setting: of a URL, what stands before its path."""
    return {name: _server(str(value)) for name, value in config.items() if ADDRESS_NAME.search(name) and value}


def _server(address: str) -> str:
    found = re.match(r"[a-z]+://[^/?#]*", address)
    return found[0] if found else address


def masked(config: Mapping[str, Any], secrets: set[str]) -> dict[str, Any]:
    """A config as it is shown: a secret that is set is a row of asterisks, and one further down is told by its name."""
    return {name: MASK if name in secrets and value else _masked(value) for name, value in config.items()}


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return masked(value, secret_fields(None, value))
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return without_password(value) if isinstance(value, str) else value


def environment(row: Resource) -> Mapping[str, str]:
    """The variables that a row may mention: the server's own are its operator's, and no tenant's or provider's."""
    trusted = row.tenant == SHARED_TENANT and row.origin in (Origin.yaml, Origin.admin)
    return os.environ if trusted else {}


def opened(config: Any, text: Collection[str] = (), env: Mapping[str, str] = os.environ) -> Any:
    """A stored config with its environment references expanded and its secrets decrypted.

    What the environment gives to the fields in `text` stays text, so that a key made of digits is a key.
    """
    return _decrypted(expand(config, env, text={(name,) for name in text}))


def text_fields(config: type[BaseModel] | None) -> set[str]:
    """The fields of a config class that take text and no number or switch."""
    kinds = {} if config is None else {name: field.annotation for name, field in config.model_fields.items()}
    return {name for name, kind in kinds.items() if set(get_args(kind) or (kind,)) <= {str, SecretStr, type(None)}}


def _decrypted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decrypted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decrypted(item) for item in value]
    return decrypt(value) if isinstance(value, str) and value.startswith(PREFIX) else value


def provider_record(row: Provider) -> ProviderRecord:
    """The provider as it shall run. What is wrong with it becomes its `unavailable`, never an exception."""
    config: dict[str, Any] = {}
    try:
        text = text_fields(config_class(row.api, row.provider_type, row.module))
        config = opened(row.merged.get("config", {}), text, environment(row))
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
        load(spec).config_class.model_validate(config)
    except ProviderUnavailable as error:
        return error.message
    except ImportError as error:
        return f"a package is missing: {error}"
    except ValidationError as error:
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
    return None


def _revision(row: Provider, config: dict[str, Any]) -> str:
    text = orjson.dumps([row.provider_type, row.module, config], option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.sha256(text).hexdigest()


def model_fields(row: Model) -> dict[str, Any]:
    """A model's fields as they hold now; as written where a variable is missing. No secret is among them."""
    try:
        fields: dict[str, Any] = expand(row.merged, environment(row))
    except ConfigError:
        fields = row.merged
    return fields


def shown_model(row: Model) -> dict[str, Any]:
    """Every field of a model that may be edited, as it holds now."""
    merged = model_fields(row)
    return {**MODEL_DEFAULTS} | {name: merged[name] for name in ("provider_id", *MODEL_DEFAULTS) if name in merged}


def model_record(row: Model) -> ModelRecord:
    merged = model_fields(row)
    return ModelRecord(
        key=row.pk,
        tenant=row.tenant,
        owner=row.owner,
        identifier=row.identifier,
        provider_id=merged.get("provider_id", ""),
        provider_model_id=merged.get("provider_model_id") or row.identifier,
        model_type=merged.get("model_type", "llm"),
        created=int(row.created_at.timestamp()),
        origin=row.origin,
        aliases=tuple(merged.get("aliases", ())),
        metadata=MappingProxyType(merged.get("metadata", {})),
        default=merged.get("default", False) is True,
    )


def key_record(row: ApiKey) -> KeyRecord:
    return KeyRecord(row.pk, row.digest, row.principal, row.expires_at)
