"""The forms of the registry's rows. What they may not become is the service's to say, before anything is saved."""

import re
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from django import forms
from django.core.validators import RegexValidator
from django.db.models import QuerySet
from django.template.loader import render_to_string
from pydantic import ValidationError

from apps.registry import service
from apps.registry.effective import MODEL_DEFAULTS, opened_config, shown_model
from apps.registry.fields import Json, Lines, form_field, secret_field, text_field
from apps.registry.home_table import PLAIN, PROVIDER, HomesField, is_plain, kept
from apps.registry.models import Model, Provider, from_environment, patch_between
from apps.registry.origins import Names, Setting, class_of, edited_section, fields_of, held_at, refuse_locked
from apps.registry.schemas import ModelType
from apps.registry.secrets import at, unmasked
from llamastack.admin import Select, Switch
from llamastack.apis import Api
from llamastack.call import SHARED_TENANT
from llamastack.config import ConfigError
from llamastack.config.homes import AFFINITY_FORM, LONGEST_AFFINITY
from llamastack.errors import StackError

if TYPE_CHECKING:
    ProviderBase = forms.ModelForm[Provider]
    ModelBase = forms.ModelForm[Model]
else:
    ProviderBase = ModelBase = forms.ModelForm

CONFIG, RESET, INSIDE = "config_", "reset_", "__"
identifier_rule = RegexValidator(
    r"^[A-Za-z0-9][A-Za-z0-9._:-]*$", "Use letters, digits and . _ : - here; models are named identifier/model."
)


class ProviderForm(ProviderBase):
    """One field for each field of the config class (`provider_form`). Only what was changed is saved."""

    settings: ClassVar[tuple[Setting, ...]] = ()
    row: ClassVar[Provider]

    identifier = text_field(True, max_length=255, validators=[identifier_rule])
    enabled = forms.BooleanField(required=False, initial=True, widget=Switch)

    class Meta:
        model = Provider
        fields = ("identifier",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance._state.adding:
            self.instance.api, self.instance.provider_type = self.row.api, self.row.provider_type
        else:
            del self.fields["identifier"]  # models and API calls know it by this name
            self.initial["enabled"] = self.instance.merged.get("enabled", True)
        for setting in self.settings:
            self.initial[named(CONFIG, setting)] = setting.value
            self.fields[named(CONFIG, setting)].help_text = self._beside(setting)

    def _beside(self, setting: Setting) -> str:
        """What stands under a field: its description, its default, its origin, and a box to forget an edit."""
        reset = self[named(RESET, setting)] if setting.edited else None
        return render_to_string("admin/registry/provider/setting.html", {"setting": setting, "reset": reset})

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            self._check(cleaned)
        return cleaned

    def _check(self, cleaned: dict[str, Any]) -> None:
        """A provider that was not changed may be saved as it is: so that a broken one can be disabled."""
        self.instance.identifier = cleaned.get("identifier", self.instance.identifier)
        try:
            row = service.changed_provider(copy(self.instance), self.changes, cleaned["enabled"], self.resets)
            kind = class_of(row)
            if kind and (self.changes or self.resets or row.pk is None):
                kind.model_validate(opened_config(row))
        except ValidationError as error:
            self._complain(error)
        except ConfigError as error:
            self.add_error(None, str(error))
        except StackError as error:
            self.add_error(self._field_of((error.param or "").split(".")[1:])[0], error.message)

    def _complain(self, error: ValidationError) -> None:
        for problem in error.errors(include_input=False, include_url=False, include_context=False):
            field, rest = self._field_of([str(part) for part in problem["loc"]])
            inside = ".".join(rest)
            message = problem["msg"].removeprefix("Value error, ")
            self.add_error(field, f"{inside}: {message}" if inside else message)

    def _field_of(self, place: list[str]) -> tuple[str | None, list[str]]:
        """The form's field of a place in the config, or the first of its section's, and what of the place is left."""
        for length in range(len(place), 0, -1):
            name = CONFIG + INSIDE.join(place[:length])
            found = next((field for field in self.fields if field == name or field.startswith(name + INSIDE)), None)
            if found:
                return found, place[length:]
        return None, place

    @property
    def resets(self) -> set[str]:
        """The settings whose edits are to be forgotten: of a section, where it is as without any."""
        alone = {s.name for s in self.settings if len(s.place) == 1 and self._is_reset(s)}
        return alone | {name for name, patch in self._sections.items() if patch == {}}

    @property
    def changes(self) -> dict[str, Any]:
        """The settings with another value than before; None takes one back to its default."""
        declared = self.instance.declared.get("config", {})
        alone = {
            s.name: patch_between(declared.get(s.name), self._value(s))
            for s in self.settings
            if len(s.place) == 1 and self._is_changed(s)
        }
        return alone | {name: patch for name, patch in self._sections.items() if patch != {}}

    @property
    def _sections(self) -> dict[str, Any]:
        """Each section of which something is said otherwise, as the patch that is laid over the YAML's."""
        edits: dict[str, dict[Names, Any]] = {}
        declared = self.instance.declared.get("config", {})
        for setting in self.settings:
            if len(setting.place) > 1 and (self._is_reset(setting) or self._is_changed(setting)):
                value = at(declared, setting.place) if self._is_reset(setting) else self._value(setting)
                edits.setdefault(setting.place[0], {})[setting.place] = value
        return {
            name: patch_between(declared.get(name, {}), edited_section(self.instance, name, edited) or {})
            for name, edited in edits.items()
        }

    def _is_reset(self, setting: Setting) -> bool:
        return setting.edited and not setting.locked and bool(self.cleaned_data.get(named(RESET, setting)))

    def _is_changed(self, setting: Setting) -> bool:
        value = self.cleaned_data.get(named(CONFIG, setting))
        other = value != setting.value and not (value is None and held_at(self.instance, setting.place) is None)
        return other and not setting.locked and not self._is_reset(setting)

    def _value(self, setting: Setting) -> Any:
        """What was typed, with what is behind the masks that were left in it."""
        held, typed = held_at(self.instance, setting.place), self.cleaned_data.get(named(CONFIG, setting))
        value = unmasked(typed, setting.value, None if setting.secret else held, f"config.{setting.name}")
        refuse_locked(setting, held, value)
        return value


def named(prefix: str, setting: Setting) -> str:
    """The name of a setting's field in the form."""
    return prefix + INSIDE.join(setting.place)


def provider_form(row: Provider) -> type[ProviderForm]:
    """The form of a row: its type's config class gives the fields."""
    settings = fields_of(row)
    fields: dict[str, forms.Field] = {named(CONFIG, setting): _config_field(setting) for setting in settings}
    resets = {named(RESET, setting): forms.BooleanField(required=False) for setting in settings if setting.edited}
    return type("ProviderForm", (ProviderForm,), {"settings": settings, "row": row, **fields, **resets})


def _config_field(setting: Setting) -> forms.Field:
    if setting.locked:
        field = secret_field() if setting.secret else text_field()
        field.disabled = True
    else:
        field = form_field(setting.info)
    if not isinstance(field, forms.BooleanField) and setting.default not in (None, [], {}):
        field.widget.attrs["placeholder"] = str(setting.default)
    field.label = ".".join(setting.place[1:] or setting.place)
    return field


HOMES = (
    "Who serves it. Lines of the lowest order are asked first, among equals one by weight; where it fails, another. "
    "Its name there, empty, is the same as ours; of another model here, it is that model's identifier."
)


class ModelForm(ModelBase):
    """A model's names, where it is served, and what is known of it. Only what was changed is saved."""

    providers: ClassVar[QuerySet[Provider]]
    tenant: ClassVar[str]

    identifier = text_field(True, max_length=255, help_text="The name that callers send as `model`. It stays as it is.")
    homes = HomesField()
    affinity = text_field(
        validators=[RegexValidator(AFFINITY_FORM, "Name one field of a request, such as user or metadata.session.")],
        max_length=LONGEST_AFFINITY,
        help_text=(
            "The field of a request whose value keeps its calls at one home, so that prompts cached there are found: "
            "user, safety_identifier or metadata.… (empty: prompt_cache_key)."
        ),
    )
    model_type = forms.ChoiceField(
        label="Type", choices=[(kind, kind) for kind in get_args(ModelType)], widget=Select, initial="llm"
    )
    aliases = Lines(required=False, help_text="Other names it answers to, one a line.")
    metadata = Json(
        required=False,
        help_text=(
            'A JSON object. An embedding model needs its dimension: {"embedding_dimension": 384}. These come before '
            'what is known: {"context_length": 8192, "max_output_tokens": 4096, "prices": {"input": 0.5, "output": 1}}'
        ),
    )
    default = forms.BooleanField(
        required=False,
        widget=Switch,
        help_text="Comes first in the list of models of its type, in place of the one before.",
    )
    enabled = forms.BooleanField(required=False, initial=True, widget=Switch)

    class Meta:
        model = Model
        fields = ("identifier",)

    class Media:
        js = (forms.Script("registry/homes.js", defer=True),)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.before = shown_model(self.instance) if self.instance.pk else {}
        self.initial.update(self.before)
        if self.instance.pk:
            del self.fields["identifier"]
        self.fields["homes"] = self._homes()
        self.initial["homes"] = self._listed()

    def _homes(self) -> HomesField:
        served = self._known()
        named = {home["provider_id"] for home in self._listed() if "provider_id" in home}
        gone = dict.fromkeys(sorted(named - served.keys()), "not registered")
        places = [(f"{PROVIDER}{name}", f"{name} ({kind})") for name, kind in (served | gone).items()]
        locked = {"homes", "provider_id", "provider_model_id"} & from_environment(self.instance.declared).keys()
        told = "Set by the environment: change it there. " if locked else ""
        return HomesField(places, disabled=bool(locked), help_text=told + HOMES)

    def _known(self) -> dict[str, str]:
        """The types of the providers that its homes may name: of its tenant's own before those that all share."""
        named = self.providers.filter(api=Api.inference, tenant__in={self.tenant, SHARED_TENANT})
        rows = named.values_list("identifier", "provider_type", "tenant")
        return {name: kind for name, kind, _ in sorted(rows, key=lambda row: row[2] != SHARED_TENANT)}

    def _listed(self) -> list[dict[str, Any]]:
        """The homes as they are; a new model has the only provider there is."""
        if self.before:
            name = self.before["provider_model_id"]
            named = {"provider_model_id": name} if name else {}
            only = {"provider_id": self.before.get("provider_id", ""), **named, **PLAIN}
            return list(self.before["homes"] or ([only] if only["provider_id"] else []))
        providers = list(self._known())
        return [{"provider_id": providers[0], **PLAIN}] if len(providers) == 1 else []

    def clean_aliases(self) -> list[str]:
        return list(dict.fromkeys(self.cleaned_data["aliases"] or []))

    def clean_metadata(self) -> dict[str, Any]:
        metadata = self.cleaned_data["metadata"] or {}
        if not isinstance(metadata, dict):
            raise forms.ValidationError("This is not a JSON object: begin with { and end with }.")
        return metadata

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            self.instance.identifier = cleaned.get("identifier", self.instance.identifier)
            try:
                service.changed_model(copy(self.instance), self.changes)
            except StackError as error:
                self._complain(error)
        return cleaned

    def _complain(self, error: StackError) -> None:
        """At its field; of a home with the number of its line."""
        place, message = error.param or "", error.message
        named = "homes" if place in ("provider_id", "provider_model_id") else re.split(r"[.\[]", place)[0]
        if index := re.match(r"homes\[(\d+)\]", place):
            number, _ = kept(self["homes"].data)[int(index[1])]
            message = f"Home {number}: " + message.removeprefix(f"'{place}': ")
        self.add_error(named if named in self.fields else None, message)

    @property
    def changes(self) -> dict[str, Any]:
        """What differs from before, as a patch. One home without a weight is the provider that serves a model."""
        wanted = dict(self.cleaned_data)
        if not self.before.get("homes") and is_plain(wanted["homes"]):
            wanted |= {"provider_model_id": None, **wanted["homes"][0], "homes": None}
        fields = ("provider_id", *MODEL_DEFAULTS)
        return service.model_changes(self.instance, {name: wanted[name] for name in fields if name in wanted})


def model_form(providers: QuerySet[Provider], tenant: str) -> type[ModelForm]:
    """The form of a model of a tenant that one of `providers` shall serve."""
    return type("ModelForm", (ModelForm,), {"providers": providers, "tenant": tenant})
