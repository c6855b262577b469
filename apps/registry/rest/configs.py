"""A provider's config as it is shown and sent back: secrets masked, and what the environment sets read-only."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from apps.registry.config_classes import by_own_names
from apps.registry.effective import MASK, environment, masked, opened, secret_fields, text_fields
from apps.registry.models import Provider, patch_between
from apps.registry.origins import Setting, class_of, settings_of
from llamastack.config import ConfigError
from llamastack.errors import BadRequest
from llamastack.near import did_you_mean

SHOWN = 200


def shown_config(row: Provider) -> dict[str, Any]:
    """Every setting as it holds now; of a type that is not here, what is written."""
    settings = settings_of(row)
    if not settings:
        written = row.merged.get("config", {})
        return masked(written, secret_fields(None, written))
    return masked({s.name: s.value for s in settings}, {s.name for s in settings if s.secret})


def config_changes(row: Provider, given: Mapping[str, Any]) -> dict[str, Any]:
    """What of `given` is otherwise than shown, as `edit_provider` takes it; a mask that comes back changes nothing."""
    given = by_own_names(class_of(row), given)
    shown = shown_config(row)
    settings = {setting.name: setting for setting in settings_of(row)}
    differs = {name: value for name, value in given.items() if name not in shown or value != shown[name]}
    changes = {}
    for name, value in differs.items():
        setting = known(row, settings, name, "config.")
        before = unmasked(value, shown[name], None if setting.secret else setting.value, f"config.{name}")
        changes[name] = patch_between(row.declared.get("config", {}).get(name), before)
    return changes


def known(row: Provider, settings: Mapping[str, Setting], name: str, place: str) -> Setting:
    """The setting of that name, which may be edited. Raises BadRequest."""
    if name not in settings:
        near = did_you_mean(name, settings) or "."
        raise BadRequest(
            f"Providers of type '{row.provider_type}' have no setting '{name[:SHOWN]}' here{near}",
            param=(place + name)[:SHOWN],
        )
    if settings[name].locked:
        raise BadRequest(
            f"'{name}' is set by the environment, and read-only ({settings[name].origin}).",
            param=place + name,
            code="read_only",
        )
    return settings[name]


def unmasked(value: Any, shown: Any, actual: Any, place: str) -> Any:
    """`value` with what is behind the masks that were shown, and stand where they stood."""
    if value == shown and actual is not None:
        return actual
    if value == MASK:
        place = place[:SHOWN]
        raise BadRequest(f"'{place}': this is a mask. Send the secret, or leave the field out.", param=place)
    if isinstance(value, dict):
        return {
            key: unmasked(item, _item(shown, key), _item(actual, key), f"{place}.{key}") for key, item in value.items()
        }
    if isinstance(value, list):
        same = isinstance(shown, list) and len(shown) == len(value)
        return [
            unmasked(item, shown[i] if same else None, actual[i] if same and actual else None, f"{place}.{i}")
            for i, item in enumerate(value)
        ]
    return value


def _item(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def refuse_invalid(row: Provider) -> None:
    """What its class says against the config that would hold. Raises BadRequest, naming the field."""
    kind = class_of(row)
    try:
        if kind is not None:
            config = opened(row.merged.get("config", {}), text_fields(kind), environment(row))
            kind.model_validate(config)
    except ConfigError as error:
        raise BadRequest(str(error), param="config") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(["config", *map(str, first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        raise BadRequest(f"'{place}': {message}.", param=place, code="invalid_value") from error
