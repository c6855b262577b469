"""Filters of the list of models by what is merged from two JSON columns."""

from collections.abc import Iterable
from typing import Any, get_args

from django.contrib.admin import SimpleListFilter
from django.db.models import Q

from apps.registry import homes
from apps.registry.models import merged_is
from apps.registry.schemas import ModelType


class MergedFilter(SimpleListFilter):
    """Rows whose merged value of `parameter_name` is the chosen one."""

    default = ""

    def queryset(self, request: Any, queryset: Any) -> Any:
        name, value = str(self.parameter_name), self.value()
        return queryset if value is None else queryset.filter(merged_is(name, value, self.default))


class TypeFilter(MergedFilter):
    title = "type"
    parameter_name = "model_type"
    default = "llm"

    def lookups(self, request: Any, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(kind, kind) for kind in get_args(ModelType)]


class ProviderFilter(MergedFilter):
    """By every home that a model has."""

    title = "provider"
    parameter_name = "provider_id"

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset if self.value() is None else homes.at(queryset, str(self.value()))

    def lookups(self, request: Any, model_admin: Any) -> Iterable[tuple[str, str]]:
        names = {name for row in model_admin.get_queryset(request) for name in homes.providers_of(row)}
        return [(name, name) for name in sorted(names)]


class EnabledFilter(SimpleListFilter):
    title = "enabled"
    parameter_name = "enabled"

    def lookups(self, request: Any, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: Any, queryset: Any) -> Any:
        match self.value():
            case "yes":
                return queryset.filter(merged_is("enabled", True, default=True), gone=False)
            case "no":
                return queryset.filter(merged_is("enabled", False) | Q(gone=True))
        return queryset
