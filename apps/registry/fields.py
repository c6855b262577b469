"""A field of a provider's config class as a field of a form."""

import enum
import json
import types
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from django import forms
from pydantic import AnyUrl, SecretStr
from pydantic.fields import FieldInfo

from llamastack.admin import PasswordInput, Select, Switch, Textarea, TextInput

YES_OR_NO = {"true": True, "false": False}


class Lines(forms.CharField):
    """A list of strings, one a line; None where there is none."""

    widget = Textarea(attrs={"rows": 4})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list | tuple) else value

    def clean(self, value: Any) -> Any:
        lines = [line.strip() for line in str(super().clean(value) or "").splitlines()]
        return [line for line in lines if line] or None


class Pairs(forms.CharField):
    """Texts by name, one a line as `Name: text`; None where there is none."""

    widget = Textarea(attrs={"rows": 4, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(f"{name}: {text}" for name, text in value.items()) if isinstance(value, dict) else value

    def clean(self, value: Any) -> Any:
        pairs: dict[str, str] = {}
        for line in str(super().clean(value) or "").splitlines():
            name, colon, text = (part.strip() for part in line.partition(":"))
            if line.strip() and (not name or not colon or name in pairs):
                raise forms.ValidationError("Write each name once, with a colon after it: X-Team: blue")
            if line.strip():
                pairs[name] = text
        return pairs or None


class Json(forms.CharField):
    """Any value as JSON; None where it is empty. `words`: what is no JSON is text."""

    widget = Textarea(attrs={"rows": 4, "spellcheck": "false"})

    def __init__(self, *, words: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.words = words

    def prepare_value(self, value: Any) -> Any:
        """What a person typed comes back as typed."""
        if value is None or (isinstance(value, str) and (self.words or not value)):
            return value
        return value if isinstance(value, Typed) else json.dumps(value, indent=2, ensure_ascii=False, default=str)

    def bound_data(self, data: Any, initial: Any) -> Any:
        return Typed(data or "")

    def clean(self, value: Any) -> Any:
        text = str(super().clean(value) or "").strip()
        if not text:
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            if self.words:
                return text
            raise forms.ValidationError(f"This is not JSON: {error}") from error


class Typed(str):
    """Text from a person, to tell it from a value."""

    __slots__ = ()


def form_field(info: FieldInfo) -> forms.Field:
    """The form field of a config field. An empty one cleans to None."""
    kinds = [kind for kind in _kinds(info.annotation) if kind is not types.NoneType]
    optional = len(kinds) < len(_kinds(info.annotation))
    needed = info.is_required() and not optional
    if len(kinds) > 1:
        return Json(
            required=needed, words=any(isinstance(kind, type) and issubclass(kind, str | PurePath) for kind in kinds)
        )
    return _field(kinds[0], optional, needed)


def _kinds(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    union = get_origin(annotation) in (Union, types.UnionType)
    return tuple(kind for part in get_args(annotation) for kind in _kinds(part)) if union else (annotation,)


def _field(kind: Any, optional: bool, needed: bool) -> forms.Field:
    if kind is bool and not optional:
        return forms.BooleanField(required=False, widget=Switch)
    if choices := _choices(kind):
        return _select(choices, optional, needed)
    if get_origin(kind) in (list, dict):
        return _several(kind, needed)
    if kind is int:
        return forms.IntegerField(required=needed, widget=TextInput(attrs={"inputmode": "numeric"}))
    if kind is float:
        return forms.FloatField(required=needed, widget=TextInput(attrs={"inputmode": "decimal"}))
    if kind is SecretStr:
        return secret_field(needed)
    if isinstance(kind, type) and issubclass(kind, str | PurePath | AnyUrl):
        return text_field(needed)
    return Json(required=needed)


def _several(kind: Any, needed: bool) -> forms.Field:
    if get_args(kind) == (str,):
        return Lines(required=needed)
    return Pairs(required=needed) if get_args(kind)[1:] == (SecretStr,) else Json(required=needed)


def secret_field(needed: bool = False) -> forms.Field:
    """Shows what it is given as initial value, which is a mask and never the secret."""
    widget = PasswordInput(attrs={"autocomplete": "new-password"}, render_value=True)
    return forms.CharField(required=needed, empty_value=None, strip=True, widget=widget)


def text_field(needed: bool = False, **options: Any) -> forms.Field:
    return forms.CharField(
        required=needed, empty_value=None, widget=TextInput(attrs={"spellcheck": "false"}), **options
    )


def _choices(kind: Any) -> dict[str, Any]:
    """What a value may be, by its text."""
    if kind is bool:
        return YES_OR_NO
    if get_origin(kind) is Literal:
        return {str(value): value for value in get_args(kind)}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {str(member.value): member.value for member in kind}
    return {}


def _select(choices: dict[str, Any], optional: bool, needed: bool) -> forms.Field:
    shown = [("", "–")] if optional else []
    shown += [(text, text) for text in choices]
    return Choice(choices=shown, coerce=choices.__getitem__, empty_value=None, required=needed, widget=Select)


class Choice(forms.TypedChoiceField):
    def prepare_value(self, value: Any) -> Any:
        return str(value).lower() if isinstance(value, bool) else value
