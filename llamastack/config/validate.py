"""Pydantic's findings as problems with a place, and near matches for keys and values that do not exist."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, get_args

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from llamastack.config.expand import Environment, expand, references
from llamastack.config.source import ConfigError, Place, Problem
from llamastack.near import did_you_mean
from llamastack.providers import ProviderConfig

Model = TypeVar("Model", bound=BaseModel)
MISSING = object()


def validated(
    model: type[Model], declared: dict[str, Any], env: Environment, place: Place = ()
) -> tuple[Model, dict[str, Any]]:
    """`declared`, expanded, as the model and as a dict.

    A substituted value stays text where text is due, so that a key made of digits is a key. Raises ConfigError with
    every missing variable, unknown key and bad value.
    """
    expanded = expand(declared, env, place)
    try:
        return model.model_validate(expanded), expanded
    except ValidationError as error:
        text = list(_texts_made_numbers(error, declared, expanded))
        failure = error
    if text:
        expanded = expand(declared, env, place, {(*place, *where) for where in text})
        try:
            return model.model_validate(expanded), expanded
        except ValidationError as error:
            failure = error
    raise ConfigError(*problems(failure, model, expanded, place)) from None


def _texts_made_numbers(error: ValidationError, declared: Any, expanded: Any) -> Iterable[Place]:
    for details in error.errors():
        where = _place(details["loc"], expanded)
        if details["type"] == "string_type" and details["input"] is not None and references(_at(declared, where)):
            yield where


def problems(error: ValidationError, model: type[BaseModel], data: Any, place: Place = ()) -> list[Problem]:
    """What pydantic found in `data`, which stands at `place`. No value that might be secret is repeated."""
    return [
        Problem(_message(details, model), (*place, *_place(details["loc"], data, details["type"])))
        for details in error.errors(include_url=False)
    ]


def _message(details: ErrorDetails, model: type[BaseModel]) -> str:
    kind, message, context = details["type"], details["msg"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key" + did_you_mean(str(details["loc"][-1]), keys(model, details["loc"][:-1]))
    if kind == "missing":
        return "this key is required"
    if kind == "literal_error" and isinstance(details["input"], str):
        return message + did_you_mean(details["input"], re.findall(r"'([^']*)'", str(context["expected"])))
    if kind == "union_tag_invalid":
        return message + did_you_mean(str(context["tag"]), re.findall(r"'([^']*)'", str(context["expected_tags"])))
    return message.removeprefix("Value error, ")


def _place(loc: Sequence[str | int], data: Any, kind: str = "") -> Place:
    """A pydantic location without the parts that name a member of a union and no place in the data."""
    place: list[str | int] = []
    found: Any = MISSING
    for part in loc:
        found = _at(data, (part,))
        if found is not MISSING:
            place.append(part)
            data = found
    return (*place, loc[-1]) if kind == "missing" and found is MISSING else tuple(place)


def _at(data: Any, place: Sequence[str | int]) -> Any:
    for part in place:
        known = range(len(data)) if isinstance(data, list) else data if isinstance(data, dict) else ()
        if part not in known:
            return MISSING
        data = data[part]
    return data


def keys(model: type[BaseModel], loc: Sequence[str | int] = ()) -> set[str]:
    """The keys that may stand at a location inside a model."""
    models = {model}
    for part in loc:
        fields = [
            field for owner in models for name, field in owner.model_fields.items() if part in _names(name, field)
        ]
        if fields:
            models = {found for field in fields for found in _models(field.annotation)}
    own = {key for owner in models for name, field in owner.model_fields.items() for key in _names(name, field)}
    return own.union(*(owner.other_names for owner in models if issubclass(owner, ProviderConfig)))


def _names(name: str, field: FieldInfo) -> set[str]:
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias, field.alias]
    return {name, *(choice for choice in choices if isinstance(choice, str))}


def _models(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {found for part in get_args(annotation) for found in _models(part)}
