"""The homes of a model as a table in its form: a line for each, and an empty one to add another."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from llamastack.admin import Checkbox, Select, TextInput

PROVIDER, MODEL = "provider:", "model:"
PARTS = ("place", "name", "weight", "order")
PLAIN = {"weight": 1, "order": 0}
Line = dict[str, str]


class HomeTable(forms.Widget):
    """Shows lines and reads them again: texts by `PARTS`, and `remove` where that is ticked."""

    template_name = "admin/registry/model/homes.html"
    places: Sequence[tuple[str, str]] = ()

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[Line]:
        form = re.compile(rf"{re.escape(name)}-(\d{{1,4}})-place")
        numbers = sorted({int(found[1]) for key in data if (found := form.fullmatch(key))})
        return [
            {part: str(data.get(f"{name}-{number}-{part}", "")).strip() for part in (*PARTS, "remove")}
            for number in numbers
        ]

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return False

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        lines = [line for line in value or () if not is_blank(line)]
        if not context["widget"]["attrs"].get("disabled"):
            lines.append(line_of({}))
        disabled = {"disabled": True} if context["widget"]["attrs"].get("disabled") else {}
        context["lines"] = [self._shown(name, number, line, disabled) for number, line in enumerate(lines, 1)]
        return context

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """By our own templates, which the renderer of forms does not look for."""
        context = self.get_context(name, value, attrs)
        return mark_safe(render_to_string(self.template_name, context))  # noqa: S308 (escaped there)

    def _shown(self, name: str, number: int, line: Line, attrs: dict[str, Any]) -> dict[str, Any]:
        widgets = {
            "place": Select(choices=[("", "–"), *self._with(line["place"])]),
            "name": TextInput(attrs={"spellcheck": "false", "maxlength": 1024}),
            "weight": TextInput(attrs={"inputmode": "numeric"}),
            "order": TextInput(attrs={"inputmode": "numeric"}),
        }
        shown: dict[str, Any] = {
            part: widget.render(
                f"{name}-{number}-{part}", line[part], {**attrs, "aria-label": f"{part.capitalize()} of home {number}"}
            )
            for part, widget in widgets.items()
        }
        ticked, attrs = bool(line.get("remove")), {**attrs, "aria-label": f"Remove home {number}"}
        return shown | {"remove": Checkbox().render(f"{name}-{number}-remove", ticked, attrs)}

    def _with(self, place: str) -> list[tuple[str, str]]:
        """The places there are, and the one that a line names even if it is gone."""
        known = not place or place in dict(self.places)
        return list(self.places) if known else [*self.places, (place, f"{place.partition(':')[2]} (not registered)")]


class HomesField(forms.Field):
    """A list of homes as the registry's service takes it. It may hold what the service refuses."""

    widget = HomeTable

    def __init__(self, places: Sequence[tuple[str, str]] = (), **options: Any) -> None:
        super().__init__(required=False, **options)
        self.widget.places = [*places, (MODEL, "another model here")]

    def prepare_value(self, value: Any) -> list[Line]:
        return [home if "place" in home else line_of(home) for home in value or ()]

    def clean(self, value: Any) -> list[dict[str, Any]]:
        if self.disabled:
            return list(value or ())
        homes = [self._home(number, line) for number, line in kept(value)]
        if not homes:
            raise forms.ValidationError("A model needs at least one home: choose a provider, or another model.")
        return homes

    def _home(self, number: int, line: Line) -> dict[str, Any]:
        place, name = line["place"], line["name"]
        if not place:
            raise forms.ValidationError(f"Home {number}: choose a provider, or 'another model here'.")
        if place != MODEL and place not in dict(self.widget.places):
            raise forms.ValidationError(f"Home {number}: Select a valid choice. This provider is not registered.")
        named = {"model": name} if place == MODEL else {"provider_id": place.removeprefix(PROVIDER)}
        if place != MODEL and name:
            named["provider_model_id"] = name
        return named | {part: _number(number, part, line[part]) for part in PLAIN}

    def has_changed(self, initial: Any, data: Any) -> bool:
        before = [line for _, line in kept(self.prepare_value(initial))]
        return [_told(line) for line in before] != [_told(line) for _, line in kept(data or ())]


def line_of(home: Mapping[str, Any]) -> Line:
    place = MODEL if home.get("model") else f"{PROVIDER}{home['provider_id']}" if home.get("provider_id") else ""
    name = home.get("model") or home.get("provider_model_id") or ""
    return {"place": place, "name": name, **{part: str(home.get(part, usual)) for part, usual in PLAIN.items()}}


def kept(lines: Sequence[Line]) -> list[tuple[int, Line]]:
    """The lines that say something and are not to be removed, by the numbers that a person sees."""
    written = [line for line in lines if not is_blank(line)]
    return [(number, line) for number, line in enumerate(written, 1) if not line.get("remove")]


def is_blank(line: Line) -> bool:
    return not line["place"] and not line["name"]


def is_plain(homes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a provider alone says as much."""
    return len(homes) == 1 and "model" not in homes[0] and PLAIN.items() <= homes[0].items()


def _told(line: Line) -> tuple[str, ...]:
    return tuple(line[part] for part in PARTS)


def _number(number: int, part: str, text: str) -> int:
    if not text:
        return PLAIN[part]
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise forms.ValidationError(f"Home {number}: its {part} is a whole number.")
    return int(text)
