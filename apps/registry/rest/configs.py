"""A provider's config as it is shown and sent back: secrets masked, and what the environment sets read-only."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from apps.registry.config_classes import by_own_names
from apps.registry.effective import opened_config
from apps.registry.models import Provider, patch_between
from apps.registry.origins import Setting, class_of, read_only, refuse_locked, settings_of
from apps.registry.secrets import masked, unmasked
from llamastack.config import ConfigError
from llamastack.config.source import spell
from llamastack.config.validate import problems
from llamastack.errors import BadRequest
from llamastack.near import did_you_mean

SHOWN = 200


def shown_config(row: Provider) -> dict[str, Any]:
    """Every setting as it holds now; of a type that is not here, what is written."""
    settings = settings_of(row)
    return masked(class_of(row), {s.name: s.value for s in settings} if settings else row.merged.get("config", {}))


def config_changes(row: Provider, given: Mapping[str, Any]) -> dict[str, Any]:
    """What of `given` is otherwise than shown, as `edit_provider` takes it; a mask that comes back changes nothing."""
    given = by_own_names(class_of(row), given)
    shown, held = shown_config(row), row.merged.get("config", {})
    settings = {setting.name: setting for setting in settings_of(row)}
    differs = {name: value for name, value in given.items() if name not in shown or value != shown[name]}
    changes = {}
    for name, value in differs.items():
        setting = known(row, settings, name, "config.")
        after = unmasked(value, shown[name], held.get(name), f"config.{name}")
        refuse_locked(setting, held.get(name), after)
        changes[name] = patch_between(row.declared.get("config", {}).get(name), after)
    return changes


def known(row: Provider, settings: Mapping[str, Setting], name: str, place: str) -> Setting:
    """The setting of that name, which may be edited. Raises BadRequest."""
    if name not in settings:
        kind = class_of(row)
        if kind and (own := kind.other_names.get(name)) in settings:
            message = f"'{name}' is another name of '{own}': give that one alone."
        else:
            near = did_you_mean(name, settings) or "."
            message = f"Providers of type '{row.provider_type}' have no setting '{name[:SHOWN]}' here{near}"
        raise BadRequest(message, param=(place + name)[:SHOWN])
    if settings[name].locked:
        raise read_only(name, place, settings[name])
    return settings[name]


def refuse_invalid(row: Provider) -> None:
    """What its class says against the config that would hold. Raises BadRequest, naming the field."""
    kind = class_of(row)
    if kind is None:
        return
    config: dict[str, Any] = {}
    try:
        config = opened_config(row)
        kind.model_validate(config)
    except ConfigError as error:
        raise BadRequest(str(error), param="config") from error
    except ValidationError as error:
        first = problems(error, kind, config, ("config",))[0]
        place, stop = spell(first.place), "" if first.message.endswith("?") else "."
        raise BadRequest(f"'{place}': {first.message}{stop}", param=place, code="invalid_value") from error
