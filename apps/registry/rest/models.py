"""/manage/models."""

from functools import cached_property
from typing import Any, get_args

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from apps.registry import homes, service
from apps.registry.effective import MODEL_DEFAULTS, shown_model
from apps.registry.facts import facts_of_row, provider_types
from apps.registry.fields import YES_OR_NO
from apps.registry.models import Model, Origin, Provider, from_environment, merged_is
from apps.registry.rest.access import MayManage
from apps.registry.rest.base import SHOWN, Managed, Strict, Switch, bounded
from apps.registry.rest.description import as_openapi
from apps.registry.schemas import AFFINITY, MOST_ALIASES, ModelType
from llamastack.apis import Api
from llamastack.call import SHARED_TENANT
from llamastack.config.homes import AFFINITY_FORM, LONGEST_AFFINITY, MOST_HOMES, ModelHome
from llamastack.errors import BadRequest
from llamastack.near import did_you_mean

TYPES = get_args(ModelType)


def name(**options: Any) -> serializers.RegexField:
    return serializers.RegexField(r"^[^\x00-\x1f]+\Z", max_length=255, **options)


HOMES = {
    "type": "array",
    "items": as_openapi(ModelHome),
    "minItems": 1,
    "maxItems": MOST_HOMES,
    "nullable": True,
    "description": "The places that serve it; null: the one that `provider_id` names.",
}


@extend_schema_field(HOMES)
class HomesField(serializers.Field[Any, Any, Any, Any]):
    """What the registry's service reads and refuses, whichever door it comes by."""

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class ModelSerializer(Strict):
    """A model. `metadata`, `aliases` and `homes` are replaced whole; `locked` fields are set by the environment."""

    model_id = name(help_text="The name that callers send as `model`; it may hold slashes, and stays as it is.")
    provider_id = name(required=False, allow_blank=True, help_text="With `homes`, that of the first of them.")
    provider_model_id = name(
        allow_null=True, default=None, help_text="The provider's own name; null: the same as ours."
    )
    homes = HomesField(allow_null=True, default=None)
    affinity = serializers.RegexField(
        AFFINITY_FORM, allow_null=True, default=None, max_length=LONGEST_AFFINITY, help_text=AFFINITY
    )
    model_type = serializers.ChoiceField(TYPES, default="llm")
    metadata = serializers.DictField(
        default=dict, help_text="An embedding model needs its dimension: `embedding_dimension`."
    )
    aliases = serializers.ListField(child=name(), default=list, max_length=MOST_ALIASES)
    default = serializers.BooleanField(default=False, help_text="Listed first of its type, in place of the one before.")
    enabled = serializers.BooleanField(default=True)
    version = serializers.IntegerField(required=False, help_text="Sent back, it refuses a row changed since: 409.")
    locked = serializers.ListField(child=serializers.CharField(), read_only=True)
    context_length = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="The longest input, in tokens."
    )
    max_output_tokens = serializers.IntegerField(read_only=True, allow_null=True)
    prices = serializers.DictField(read_only=True, allow_null=True, help_text="US dollars for a million tokens.")
    sources = serializers.DictField(
        read_only=True, help_text="Who says so: `operator` (in metadata), `provider`, or where it is published."
    )
    origin = serializers.ChoiceField(Origin.choices, read_only=True)
    gone = serializers.BooleanField(read_only=True)
    tenant = serializers.CharField(read_only=True)
    owner = serializers.CharField(read_only=True)
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)

    def to_representation(self, row: Model) -> dict[str, Any]:
        return {
            "model_id": row.identifier,
            "provider_id": "",
            **shown_model(row),
            **self._facts(row),
            "version": row.version,
            "locked": sorted(from_environment(row.declared)),
            "origin": row.origin,
            "gone": row.gone,
            "tenant": row.tenant,
            "owner": row.owner,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
        }

    def _facts(self, row: Model) -> dict[str, Any]:
        facts = facts_of_row(row, self.context["view"].provider_types)
        return {
            "context_length": facts.context_length,
            "max_output_tokens": facts.max_output_tokens,
            "prices": facts.prices and facts.prices.model_dump(),
            "sources": dict(facts.sources),
        }

    def validate_metadata(self, metadata: dict[str, Any]) -> dict[str, Any]:
        return bounded(metadata)

    def create(self, given: dict[str, Any]) -> Model:
        row = Model(identifier=given["model_id"])
        self.operator.take(row)
        return self._edited(row, {field: value for field, value in given.items() if value is not None})

    def update(self, row: Model, given: dict[str, Any]) -> Model:
        self.keeps(row, given, model_id=row.identifier)
        return self._edited(row, given)

    def _edited(self, row: Model, given: dict[str, Any]) -> Model:
        wanted = {field: given[field] for field in ("provider_id", *MODEL_DEFAULTS) if field in given}
        if "aliases" in wanted:
            wanted["aliases"] = list(dict.fromkeys(wanted["aliases"]))
        changes = service.model_changes(row, wanted)
        if "provider_id" in changes:
            refuse_unknown(row, changes["provider_id"])
        return service.edit_model(row, changes) if changes else row


def refuse_unknown(row: Model, provider_id: str) -> None:
    """A model is served by a provider of its tenant, or by one that all share."""
    providers = Provider.objects.filter(api=Api.inference, tenant__in=(row.tenant, SHARED_TENANT))
    names = list(providers.values_list("identifier", flat=True))
    if provider_id not in names:
        near = did_you_mean(provider_id, names) or ". GET /manage/providers lists them."
        raise BadRequest(f"There is no provider '{provider_id[:SHOWN]}' of inference{near}", param="provider_id")


class ModelFilter(filters.FilterSet):
    model_type = filters.ChoiceFilter(choices=[(kind, kind) for kind in TYPES], method="merged", label="Model type")
    provider_id = filters.CharFilter(method="merged", label="Provider id")
    default = Switch(method="merged", label="Default")
    enabled = Switch(method="merged", label="Enabled")
    origin = filters.ChoiceFilter(choices=Origin.choices)
    tenant = filters.CharFilter()
    gone = Switch()

    def merged(self, rows: QuerySet[Model], name: str, value: str) -> QuerySet[Model]:
        if name == "provider_id":
            there: QuerySet[Model] = homes.at(rows, value)
            return there
        wanted = YES_OR_NO[value] if name in ("default", "enabled") else value
        return rows.filter(merged_is(name, wanted, MODEL_DEFAULTS.get(name)))


class ModelViewSet(Managed):
    """Models, as the admin has them: what is registered, and what providers were found to serve."""

    table = Model
    identifier = "model_id"
    queryset = Model.objects.none()
    serializer_class = ModelSerializer
    permission_classes: tuple[type[BasePermission], ...] = (MayManage,)
    filterset_class = ModelFilter
    search_fields = ("identifier", "declared", "override")
    ordering_fields = ("identifier", "origin", "created_at", "updated_at")
    ordering = ("identifier", "id")

    def list(self, request: Request) -> Response:
        """Every model that the caller may see, the disabled ones too."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, model_id: str) -> Response:
        """One model, by its identifier."""
        return Response(self.get_serializer(self.get_object()).data)

    @cached_property
    def provider_types(self) -> dict[tuple[str, str], str]:
        """Those of this request, asked for once for all its rows."""
        return provider_types()

    def get_object(self) -> Model:
        row: Model = self.row(identifier=self.kwargs["model_id"])
        return row

    def address(self, row: Model) -> str:
        return f"/manage/models/{row.identifier}"

    def remove(self, row: Model) -> None:
        service.delete_model(row)
