"""The forms of the registry's rows. What they may not become is the service's to say, before anything is saved."""

from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from django import forms
from django.core.validators import RegexValidator
from django.db.models import QuerySet
from django.template.loader import render_to_string
from pydantic import ValidationError

from apps.registry import service
from apps.registry.effective import MODEL_DEFAULTS, environment, opened, shown_model
from apps.registry.fields import Json, Lines, form_field, secret_field, text_field
from apps.registry.models import Model, Provider, patch_between
from apps.registry.origins import Setting, class_of, settings_of
from apps.registry.schemas import ModelType
from llamastack.admin import Select, Switch
from llamastack.apis import Api
from llamastack.config import ConfigError
from llamastack.errors import StackError

if TYPE_CHECKING:
    ProviderBase = forms.ModelForm[Provider]
    ModelBase = forms.ModelForm[Model]
else:
    ProviderBase = ModelBase = forms.ModelForm

CONFIG, RESET = "config_", "reset_"
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
            self.initial[CONFIG + setting.name] = setting.value
            self.fields[CONFIG + setting.name].help_text = self._beside(setting)

    def _beside(self, setting: Setting) -> str:
        """What stands under a field: its description, its default, its origin, and a box to forget an edit."""
        reset = self[RESET + setting.name] if setting.edited else None
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
                kind.model_validate(opened(row.merged.get("config", {}), env=environment(row)))
        except ValidationError as error:
            self._complain(error)
        except ConfigError as error:
            self.add_error(None, str(error))
        except StackError as error:
            field = (error.param or "").replace("config.", CONFIG)
            self.add_error(field if field in self.fields else None, error.message)

    def _complain(self, error: ValidationError) -> None:
        for problem in error.errors(include_input=False, include_url=False, include_context=False):
            place = [str(part) for part in problem["loc"]]
            field = CONFIG + place[0] if place and CONFIG + place[0] in self.fields else None
            inside = ".".join(place[1:] if field else place)
            message = problem["msg"].removeprefix("Value error, ")
            self.add_error(field, f"{inside}: {message}" if inside else message)

    @property
    def resets(self) -> set[str]:
        """The fields whose edits are to be forgotten."""
        return {s.name for s in self.settings if s.edited and self.cleaned_data.get(RESET + s.name)}

    @property
    def changes(self) -> dict[str, Any]:
        """The fields with another value than before; None takes one back to its default."""
        config = self.instance.merged.get("config", {})
        declared = self.instance.declared.get("config", {})
        changes = {}
        for setting in self.settings:
            value = self.cleaned_data.get(CONFIG + setting.name)
            changed = value != setting.value and not (value is None and setting.name not in config)
            if changed and not setting.locked and setting.name not in self.resets:
                changes[setting.name] = patch_between(declared.get(setting.name), value)
        return changes


def provider_form(row: Provider) -> type[ProviderForm]:
    """The form of a row: its type's config class gives the fields."""
    settings = settings_of(row)
    fields: dict[str, forms.Field] = {CONFIG + setting.name: _config_field(setting) for setting in settings}
    resets = {RESET + setting.name: forms.BooleanField(required=False) for setting in settings if setting.edited}
    return type("ProviderForm", (ProviderForm,), {"settings": settings, "row": row, **fields, **resets})


def _config_field(setting: Setting) -> forms.Field:
    if setting.locked:
        field = secret_field() if setting.secret else text_field()
        field.disabled = True
    else:
        field = form_field(setting.info)
    if not isinstance(field, forms.BooleanField) and setting.default not in (None, [], {}):
        field.widget.attrs["placeholder"] = str(setting.default)
    field.label = setting.name
    return field


class ModelForm(ModelBase):
    """A model's names, where it is served, and what is known of it. Only what was changed is saved."""

    providers: ClassVar[QuerySet[Provider]]

    identifier = text_field(True, max_length=255, help_text="The name that callers send as `model`. It stays as it is.")
    provider_id = forms.ChoiceField(label="Provider", widget=Select)
    provider_model_id = text_field(max_length=1024, help_text="The provider's own name; empty: the same as ours.")
    model_type = forms.ChoiceField(
        label="Type", choices=[(kind, kind) for kind in get_args(ModelType)], widget=Select, initial="llm"
    )
    aliases = Lines(required=False, help_text="Other names it answers to, one a line.")
    metadata = Json(
        required=False, help_text='A JSON object. An embedding model needs its dimension: {"embedding_dimension": 384}'
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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.before = shown_model(self.instance) if self.instance.pk else {}
        self.initial.update(self.before)
        if self.instance.pk:
            del self.fields["identifier"]
        self.fields["provider_id"] = forms.ChoiceField(label="Provider", choices=self._providers(), widget=Select)

    def _providers(self) -> list[tuple[str, str]]:
        """The providers there are, and the one that this model names even if it is gone."""
        served = dict(self.providers.filter(api=Api.inference).values_list("identifier", "provider_type"))
        present = {name: f"{name} ({kind})" for name, kind in served.items()}
        named = self.before.get("provider_id")
        missing = {named: f"{named} (not registered)"} if named and named not in present else {}
        return [*missing.items(), *present.items()]

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
                self.add_error(error.param if error.param in self.fields else None, error.message)
        return cleaned

    @property
    def changes(self) -> dict[str, Any]:
        """What differs from before, as a patch."""
        fields = ("provider_id", *MODEL_DEFAULTS)
        wanted = {name: self.cleaned_data[name] for name in fields if name in self.cleaned_data}
        return service.model_changes(self.instance, wanted)


def model_form(providers: QuerySet[Provider]) -> type[ModelForm]:
    """The form of a model that one of `providers` shall serve."""
    return type("ModelForm", (ModelForm,), {"providers": providers})
