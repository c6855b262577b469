"""Where each value of a provider's config comes from: the environment, an edit, the YAML or the default."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from apps.registry.config_classes import by_own_names, config_class
from apps.registry.effective import opened
from apps.registry.models import Provider
from apps.registry.secrets import LONGEST_PLACE, MASK, at, is_model, is_secret, members, shown, unsealed
from llamastack.config import ConfigError, env_paths, references
from llamastack.encryption import UndecryptableSecret
from llamastack.errors import BadRequest
from llamastack.providers import ConfigSection, ProviderConfig

Names = tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """A field of a config as it is shown: `value` is what holds now, a mask for a secret; `locked` by the environment.

    `edited`: an edit lies over what the YAML or the class says. `locks`: the places in it that the environment sets.
    """

    name: str
    info: FieldInfo
    value: Any
    origin: str
    locks: tuple[Names, ...] = ()
    edited: bool = False
    in_yaml: bool = False

    @property
    def place(self) -> Names:
        return tuple(self.name.split("."))

    @property
    def locked(self) -> bool:
        return any(lock == self.place[: len(lock)] for lock in self.locks)

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


@dataclass(frozen=True)
class Held:
    """A row's config, by its fields' own names: what holds, what the YAML says and what was edited."""

    kind: type[ProviderConfig] | None
    merged: dict[str, Any]
    declared: dict[str, Any]
    edits: dict[str, Any]

    @classmethod
    def of(cls, row: Provider) -> "Held":
        kind = class_of(row)
        declared, edits = (by_own_names(kind, held.get("config", {})) for held in (row.declared, row.override))
        return cls(kind, row.merged.get("config", {}), declared, edits)


def settings_of(row: Provider) -> tuple[Setting, ...]:
    """Every field of the row's config class; none where the class is not here."""
    held = Held.of(row)
    return tuple(_setting(held, (name,), info) for name, info in held.kind.model_fields.items()) if held.kind else ()


def fields_of(row: Provider) -> tuple[Setting, ...]:
    """The same, with the fields of a section one by one, as `network.proxy.url`."""
    held = Held.of(row)
    return tuple(_fields(held, held.kind, ()))


def _fields(held: Held, model: type[BaseModel] | None, place: Names) -> Iterator[Setting]:
    for name, info in model.model_fields.items() if model else ():
        if section := _model_at(model, name):
            yield from _fields(held, section, (*place, name))
        else:
            yield _setting(held, (*place, name), info)


def held_at(row: Provider, place: Names) -> Any:
    """What stands at a place of the config, as written."""
    return _at_long_form(Held.of(row), place)


def _at_long_form(held: Held, place: Names) -> Any:
    """A section in a shorter form, such as one number for all that is in it, is read as its class reads it."""
    model: type[BaseModel] | None = held.kind
    value: Any = held.merged
    for part in place:
        if not isinstance(value, Mapping) and value is not None and model is not None:
            value = _long_form(model, value)
        value, model = at(value, (part,)), _model_at(model, part)
    return value


def _model_at(model: type[BaseModel] | None, name: str) -> type[BaseModel] | None:
    """The class of a section."""
    kinds = members(model.model_fields[name].annotation) if model and name in model.model_fields else ()
    return kinds[0] if len(kinds) == 1 and is_model(kinds[0], ConfigSection) else None


def _long_form(model: type[BaseModel], value: Any) -> Any:
    try:
        return model.model_validate(value).model_dump(exclude_unset=True)
    except ValidationError:
        return value


def _setting(held: Held, place: Names, info: FieldInfo) -> Setting:
    in_yaml, written = _reached(held.declared, place)
    edited, _ = _reached(held.edits, place)
    setting = Setting(
        name=".".join(place),
        info=info,
        value=None,
        origin=_origin(written, edited, in_yaml),
        locks=tuple(_locks(written, place)),
        edited=edited,
        in_yaml=in_yaml,
    )
    object.__setattr__(setting, "value", shown(info.annotation, _value(held, setting)))
    return setting


def _reached(values: Any, place: Names) -> tuple[bool, Any]:
    """Whether something is said of a place, or of all that it stands in, and what."""
    for part in place:
        if not isinstance(values, Mapping):
            break
        if part not in values:
            return False, None
        values = values[part]
    return True, values


def _locks(declared: Any, place: Names) -> Iterator[Names]:
    if isinstance(declared, dict):
        for name, value in declared.items():
            yield from _locks(value, (*place, name))
    elif env_paths(declared):
        yield place


def _origin(declared: Any, edited: bool, in_yaml: bool) -> str:
    variables = sorted(variable for variable in references(declared) if os.environ.get(variable))
    if variables:
        return f"Environment: {', '.join(variables)}"
    if edited:
        return "Admin"
    return "YAML" if in_yaml else "Default"


def _value(held: Held, setting: Setting) -> Any:
    written = _at_long_form(held, setting.place)
    if written is None:
        return setting.default
    if setting.secret:
        return MASK if written else None
    try:
        return unsealed(written) if setting.edited and not setting.locks else opened(written)
    except (ConfigError, UndecryptableSecret):
        return written


# --- edits ---


def edited_section(row: Provider, section: str, edits: Mapping[Names, Any]) -> Any:
    """A section as it would be written with these values at their places; None where nothing would be left of it."""
    value = at(row.merged.get("config", {}), (section,))
    for place, leaf in edits.items():
        value = _with(_model_at(class_of(row), section), value, place[1:], leaf)
    return value or None


def _with(model: type[BaseModel] | None, value: Any, place: Names, leaf: Any) -> Any:
    if not place:
        return leaf
    if not isinstance(value, Mapping):
        value = _long_form(model, value) if model and value is not None else {}
    rest = {name: item for name, item in value.items() if name != place[0]}
    below = _with(_model_at(model, place[0]), value.get(place[0]), place[1:], leaf)
    return rest if below in (None, {}) else rest | {place[0]: below}


def refuse_locked(setting: Setting, before: Any, after: Any) -> None:
    """Raises BadRequest where a setting would be otherwise at a place that the environment sets."""
    for lock in setting.locks:
        inside = lock[len(setting.place) :]
        if at(before, inside) != at(after, inside):
            raise read_only(".".join(lock), "config.", setting)


def read_only(name: str, place: str, setting: Setting) -> BadRequest:
    return BadRequest(
        f"'{name}' is set by the environment, and read-only ({setting.origin}).",
        param=f"{place}{name}"[:LONGEST_PLACE],
        code="read_only",
    )
