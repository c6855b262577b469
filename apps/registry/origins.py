"""Where each value of a provider's config comes from: the environment, an edit, the YAML or the default."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from apps.registry.config_classes import by_own_names, config_class
from apps.registry.effective import MASK, is_secret, opened
from apps.registry.models import Provider
from llamastack.config import ConfigError, env_paths, references
from llamastack.encryption import UndecryptableSecret
from llamastack.providers import ProviderConfig


@dataclass(frozen=True)
class Setting:
    """A field of a config as it is shown: `value` is what holds now, a mask for a secret; `locked` by the environment.

    `edited`: an edit lies over what the YAML or the class says.
    """

    name: str
    info: FieldInfo
    value: Any
    origin: str
    locked: bool = False
    edited: bool = False
    in_yaml: bool = False

    @property
    def secret(self) -> bool:
        return is_secret(self.info.annotation)

    @property
    def default(self) -> Any:
        """The class's own value, as JSON has it; None for a field that has none."""
        default = self.info.get_default(call_default_factory=False)
        return None if default is PydanticUndefined else to_jsonable_python(default)


def class_of(row: Provider) -> type[ProviderConfig] | None:
    return config_class(row.api, row.provider_type, row.module)


def settings_of(row: Provider) -> tuple[Setting, ...]:
    """Every field of the row's config class; none where the class is not here."""
    kind = class_of(row)
    declared, edits = (by_own_names(kind, held.get("config", {})) for held in (row.declared, row.override))
    return tuple(_setting(row, name, info, declared, edits) for name, info in kind.model_fields.items()) if kind else ()


def _setting(
    row: Provider, name: str, info: FieldInfo, declared: Mapping[str, Any], edits: Mapping[str, Any]
) -> Setting:
    setting = Setting(
        name=name,
        info=info,
        value=None,
        origin=_origin(name, declared, edits),
        locked=bool(env_paths(declared.get(name))),
        edited=name in edits,
        in_yaml=name in declared,
    )
    object.__setattr__(setting, "value", _value(setting, row.merged.get("config", {})))
    return setting


def _origin(name: str, declared: Mapping[str, Any], edits: Mapping[str, Any]) -> str:
    variables = sorted(variable for variable in references(declared.get(name)) if os.environ.get(variable))
    if variables:
        return f"Environment: {', '.join(variables)}"
    if name in edits:
        return "Admin"
    return "YAML" if name in declared else "Default"


def _value(setting: Setting, config: Mapping[str, Any]) -> Any:
    if setting.name not in config:
        return setting.default
    written = config[setting.name]
    if setting.secret:
        return MASK if written else None
    if setting.edited and not setting.locked:
        return written
    try:
        return opened(written)
    except (ConfigError, UndecryptableSecret):
        return written
