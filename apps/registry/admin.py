"""The admin of the registry: providers and models, written through the registry's service alone."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_POST

from apps.access.admin import TenantAdmin
from apps.access.service import unserved
from apps.registry import homes, service
from apps.registry.effective import provider_record, shown_model
from apps.registry.facts import facts_of_row, provider_types
from apps.registry.filters import EnabledFilter, ProviderFilter, TypeFilter
from apps.registry.forms import CONFIG, ModelForm, ProviderForm, model_form, named, provider_form
from apps.registry.home_table import PLAIN
from apps.registry.models import Model, Provider, Resource
from apps.registry.origins import Setting, class_of, fields_of, settings_of
from apps.registry.shown import (
    as_code,
    built_types,
    checked,
    docstring,
    dollars,
    origin_badge,
    shown_facts,
    state_of,
)
from llamastack import stack
from llamastack.admin import badge, follow
from llamastack.errors import StackError, Unavailable
from llamastack.model_facts import Prices

DISCOVERY_SECONDS = 30
NO_PRICES = Prices()
GONE = "Its YAML entry, or its place in the provider's list, has vanished."


class ResourceAdmin(TenantAdmin):
    """What the pages of all resources share."""

    @admin.display(description="Origin", ordering="origin")
    def origin_badge(self, row: Resource) -> SafeString:
        return origin_badge(row)

    @admin.display(description="Enabled", boolean=True)
    def is_enabled(self, row: Resource) -> bool:
        return row.enabled

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset:
            self.delete_model(request, row)


@admin.register(Provider)
class ProviderAdmin(ResourceAdmin):
    list_display = (
        "identifier",
        "api_name",
        "provider_type",
        "is_enabled",
        "origin_badge",
        "health_badge",
        "last_check",
        "models",
    )
    list_filter = (("api", admin.AllValuesFieldListFilter), "origin")
    search_fields = ("identifier", "provider_type")
    change_form_outer_before_template = "admin/registry/provider/status.html"

    @admin.display(description="API", ordering="api")
    def api_name(self, row: Provider) -> str:
        return row.api

    @admin.display(description="Health")
    def health_badge(self, row: Provider) -> SafeString:
        return state_of(row).badge

    @admin.display(description="Last check")
    def last_check(self, row: Provider) -> str:
        """With the reason, where there is something to look at."""
        state = state_of(row)
        return ", ".join(text for text in (state.reason if state.mood != "good" else "", checked(row)) if text)

    @admin.display(description="Models")
    def models(self, row: Provider) -> int:
        return int(service.models_on(row).count())

    # --- the form, which depends on the type ---

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> type[ProviderForm]:
        return provider_form(obj or asked(request))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        row = obj or asked(request)
        about = ["identifier", *self.get_readonly_fields(request, obj), "enabled"]
        return [(None, {"fields": list(dict.fromkeys(about))}), *self._configuration(row)]

    def _configuration(self, row: Provider) -> list[tuple[str, dict[str, Any]]]:
        """The settings of its type, and each section of them by itself: folded where nothing in it is set."""
        sections: dict[str, list[Setting]] = {}
        for setting in fields_of(row):
            sections.setdefault(setting.place[0] if len(setting.place) > 1 else "configuration", []).append(setting)
        texts = {s.name: as_code(s.info.description or "") for s in settings_of(row)}
        texts["configuration"] = docstring(class_of(row))
        return [
            (
                name.capitalize(),
                {"fields": [named(CONFIG, s) for s in settings], "description": texts[name], **folded(settings)},
            )
            for name, settings in sections.items()
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("identifier", "api_name", "provider_type", "origin_badge") if obj else ("api_name", "provider_type")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The type is asked first."""
        types = built_types()
        row = asked(request)
        if any((kind.api, kind.provider_type, kind.unavailable) == (row.api, row.provider_type, "") for kind in types):
            shown: HttpResponse = self.changeform_view(request, None, form_url, extra_context)
            return shown
        if not self.has_add_permission(request):
            raise PermissionDenied
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": "Add provider", "types": types}
        return TemplateResponse(request, "admin/registry/provider/choose_type.html", context)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        row = kwargs.get("obj")
        if row is not None:
            context |= {"state": state_of(row), "checked": checked(row), "models": service.models_on(row).count()}
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response

    def save_model(self, request: HttpRequest, obj: Provider, form: ProviderForm, change: bool) -> None:
        if not change:
            self.take(request, obj)
        service.edit_provider(obj, form.changes, form.cleaned_data["enabled"], form.resets)
        if not obj.enabled and (told := homes.stranded(obj, service.discovered_on(obj))):
            messages.warning(request, f"{told}.")

    def delete_model(self, request: HttpRequest, obj: Provider) -> None:
        service.delete_provider(obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Names the models that go with their provider."""
        deleted, counts, forbidden, protected = super().get_deleted_objects(objs, request)
        names = [str(model) for row in objs for model in service.discovered_on(row)]
        if names:
            deleted, counts = [*deleted, [f"Model: {name}" for name in names]], {**counts, "models": len(names)}
        return deleted, counts, forbidden, protected

    # --- the buttons ---

    def get_urls(self) -> list[URLPattern]:
        views = {"test": self.test_connection, "discover": self.discover_models}
        buttons = [
            path(
                f"<path:object_id>/{name}/",
                self.admin_site.admin_view(require_POST(view)),
                name=f"registry_provider_{name}",
            )
            for name, view in views.items()
        ]
        return [*buttons, *super().get_urls()]

    def test_connection(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._pressed(request, object_id, self._test)

    def discover_models(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._pressed(request, object_id, self._discover)

    def _pressed(self, request: HttpRequest, object_id: str, work: Any) -> HttpResponse:
        """Do what a button says, and tell how it went."""
        row = self.get_object(request, object_id)
        if row is None or not self.has_change_permission(request, row):
            raise PermissionDenied
        try:
            if unavailable := provider_record(row).unavailable:
                raise Unavailable(f"Provider '{row}' is unavailable: {unavailable}")
            follow()
            work(request, row)
        except StackError as error:
            messages.error(request, error.message)
        return HttpResponseRedirect(reverse("admin:registry_provider_change", args=[row.pk]))

    def _test(self, request: HttpRequest, row: Provider) -> None:
        health = stack.run(lambda running: running.live.check_health(row.pk))
        tell, verdict = (messages.success, "answers") if health.ok else (messages.error, "does not answer")
        tell(request, f"Provider '{row}' {verdict}" + (f": {health.message}" if health.message else "."))

    def _discover(self, request: HttpRequest, row: Provider) -> None:
        new = stack.run(lambda running: running.live.discover(row.pk), DISCOVERY_SECONDS)
        messages.success(request, f"Provider '{row}' has {service.models_on(row).count()} models, {new} of them new.")


@admin.register(Model)
class ModelAdminPage(ResourceAdmin):
    list_display = (
        "identifier", "model_type", "provider", "provider_model", "context", "price", "origin_badge", "remarks",
    )  # fmt: skip
    list_filter = (TypeFilter, ProviderFilter, EnabledFilter, "origin", "gone")
    search_fields = ("identifier", "declared", "override")
    actions = ("enable", "disable", "make_default")

    @admin.display(description="Type")
    def model_type(self, row: Model) -> str:
        return str(shown_model(row)["model_type"])

    @admin.display(description="Provider")
    def provider(self, row: Model) -> str:
        """Of several homes the first, and how many more there are."""
        shown = shown_model(row)
        several = sorted(shown["homes"] or (), key=lambda home: home["order"])
        named = shown.get("provider_id") or (several[0]["model"] if several else "")
        return f"{named} + {len(several) - 1}" if len(several) > 1 else str(named)

    @admin.display(description="Provider's name")
    def provider_model(self, row: Model) -> str:
        return str(shown_model(row)["provider_model_id"] or row.identifier)

    @admin.display(description="Homes")
    def homes(self, row: Model) -> SafeString:
        """For who may look at a model and not change it."""
        only = {"provider_id": self.provider(row), "provider_model_id": self.provider_model(row), **PLAIN}
        lines = [
            (home.get("provider_id", "another model here"), home.get("model") or home.get("provider_model_id", row),
             home["weight"], home["order"])
            for home in shown_model(row)["homes"] or [only]
        ]  # fmt: skip
        return format_html_join(mark_safe("<br>"), "{}: {}, weight {}, order {}", lines)

    @admin.display(description="Affinity")
    def affinity(self, row: Model) -> str:
        return str(shown_model(row)["affinity"] or "")

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """With the types of the providers, asked for once for all rows."""
        changes: ChangeList = super().get_changelist_instance(request)
        types = provider_types()
        for row in changes.result_list:
            row.facts = facts_of_row(row, types)
        return changes

    @admin.display(description="Context")
    def context(self, row: Any) -> str:
        return f"{row.facts.context_length:,}" if row.facts.context_length else ""

    @admin.display(description="$ a million")
    def price(self, row: Any) -> str:
        prices: Prices = row.facts.prices or NO_PRICES
        named = ((prices.input, "in"), (prices.output, "out"))
        return ", ".join(f"{dollars(price)} {way}" for price, way in named if price is not None)

    @admin.display(description="Context and prices")
    def known_facts(self, row: Model) -> SafeString:
        """With who says so."""
        return shown_facts(facts_of_row(row, provider_types()))

    @admin.display(description="Notes")
    def remarks(self, row: Model) -> SafeString:
        """In the list, where columns of what is so of few would leave too little room for names."""
        aliases = shown_model(row)["aliases"]
        disabled = "" if row.enabled else badge("Disabled", "bad")
        return format_html("{} {} {}", disabled, self.notes(row), f"Also {', '.join(aliases)}" if aliases else "")

    @admin.display(description="Notes")
    def notes(self, row: Model) -> SafeString:
        """What is so of few models."""
        default = badge("Default", "note") if shown_model(row)["default"] else ""
        gone = badge("Gone", "doubtful", GONE) if row.gone else ""
        return format_html("{} {}", default, gone)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> type[ModelForm]:
        row = obj or Model()
        if obj is None:
            self.take(request, row)
        return model_form(admin.site.get_model_admin(Provider).get_queryset(request), row.tenant)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        about = ["identifier", *(["origin_badge", "notes"] if obj else [])]
        served = ["homes", "affinity", "model_type", *(["known_facts"] if obj else []), "metadata"]
        return [
            (None, {"fields": [*about, "aliases", "default", "enabled"]}),
            ("Where it is served", {"fields": served}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("identifier", "origin_badge", "notes", "known_facts") if obj else ()

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if (row := kwargs.get("obj")) is not None and (told := not_served(row)):
            messages.warning(request, told)
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response

    def save_model(self, request: HttpRequest, obj: Model, form: ModelForm, change: bool) -> None:
        if not change:
            self.take(request, obj)
        service.edit_model(obj, form.changes)
        if not obj.enabled and (told := homes.stranded(None, [obj])):
            messages.warning(request, f"{told}.")

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        service.delete_model(obj)

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Model]) -> None:
        self._edit(request, queryset, "enabled", enabled=True)

    @admin.action(description="Disable", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Model]) -> None:
        self._edit(request, queryset, "disabled", enabled=False)

    @admin.action(description="Make default", permissions=["change"])
    def make_default(self, request: HttpRequest, queryset: QuerySet[Model]) -> None:
        self._edit(request, queryset, "made default of its type", default=True)

    @transaction.atomic
    def _edit(self, request: HttpRequest, queryset: QuerySet[Model], done: str, **changes: bool) -> None:
        rows = self.chosen(request, queryset)
        for row in rows:
            service.edit_model(row, changes)
        names = ", ".join(row.identifier for row in rows[:5]) + ("…" if len(rows) > 5 else "")
        messages.success(request, f"{names}: {done}.")


def not_served(row: Model) -> str:
    """Why nobody would answer for a model now that is not disabled itself, as this process knows it."""
    follow()
    try:
        snapshot = stack.current().live.snapshot
    except StackError:  # a page of a process that serves nothing
        return ""
    model = snapshot.models.get(row.pk)
    options = snapshot.options(model) if model is not None else ()
    return unserved(row.identifier, options) if options and not any(option.usable for option in options) else ""


def asked(request: HttpRequest) -> Provider:
    """The provider that is being added, of the type in the URL."""
    return Provider(api=request.GET.get("api", ""), provider_type=request.GET.get("provider_type", ""))


def folded(settings: list[Setting]) -> dict[str, Any]:
    in_use = any(setting.edited or setting.in_yaml or len(setting.place) == 1 for setting in settings)
    return {} if in_use else {"classes": ("collapse",)}
