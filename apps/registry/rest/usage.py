"""/manage/usage: what was asked of models, and how many tokens it took."""

from typing import Any, get_args

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from apps.access.models import Usage
from apps.registry.rest.access import MayManage
from apps.registry.rest.base import Managed, Paged, Switch
from llamastack.call import Lane, Operation
from llamastack.watch import losses

GROUPS = ("model", "owner", "api_key", "provider_id", "tenant")
UNRECORDED = {
    "type": "object",
    "description": "Of all tenants since the server started: records that were lost, and calls that waited for room.",
    "properties": {"lost": {"type": "integer"}, "waits": {"type": "integer"}},
}
UNTOLD = "Null: nobody has told it."


class UsageSerializer(serializers.ModelSerializer[Usage]):
    """One call that was admitted. Tokens are null where nobody has told them."""

    class Meta:
        model = Usage
        exclude = ("id",)


class SummarySerializer(serializers.Serializer[Any]):
    """The calls of one day, of one model, owner or the like."""

    day = serializers.DateField(help_text="Of UTC.")
    of = serializers.CharField(help_text="The model, owner or the like: see `by`.")
    calls = serializers.IntegerField()
    broken = serializers.IntegerField(help_text="Calls that failed, broke off, or whose client left.")
    estimated = serializers.IntegerField(source="guessed", help_text="Calls whose tokens were counted here.")
    input_tokens = serializers.IntegerField(source="input", allow_null=True, help_text=UNTOLD)
    output_tokens = serializers.IntegerField(source="output", allow_null=True, help_text=UNTOLD)
    cached_tokens = serializers.IntegerField(source="cached", allow_null=True, help_text=UNTOLD)
    reasoning_tokens = serializers.IntegerField(source="reasoning", allow_null=True, help_text=UNTOLD)


class SummaryPages(Paged):
    """With what is missing in the sums."""

    def get_paginated_response(self, data: Any) -> Response:
        answer = super().get_paginated_response(data)
        answer.data["unrecorded"] = losses()
        return answer

    def get_paginated_response_schema(self, schema: Any) -> Any:
        described = super().get_paginated_response_schema(schema)
        described["properties"]["unrecorded"] = UNRECORDED
        return described


class UsageFilter(filters.FilterSet):
    since = filters.IsoDateTimeFilter("created_at", "gte", help_text="Calls that ended then or later.")
    until = filters.IsoDateTimeFilter("created_at", "lt", help_text="Calls that ended before.")
    day = filters.DateFilter("created_at", "date", help_text="Of UTC.")
    model = filters.CharFilter()
    provider_id = filters.CharFilter()
    owner = filters.CharFilter()
    api_key = filters.CharFilter(help_text="What the key begins with.")
    request_id = filters.CharFilter()
    operation = filters.ChoiceFilter(choices=[(name, name) for name in get_args(Operation)])
    lane = filters.ChoiceFilter(choices=[(name, name) for name in get_args(Lane)])
    status = filters.NumberFilter()
    whole = Switch()
    streamed = Switch()
    estimated = Switch()
    tenant = filters.CharFilter()


class SummaryFilter(UsageFilter):
    by = filters.ChoiceFilter(
        choices=[(name, name) for name in GROUPS],
        method="grouped",
        help_text="What is summed up: `model`, if not told.",
    )

    def grouped(self, rows: QuerySet[Usage], name: str, value: str) -> QuerySet[Usage]:
        """Done once all filters have been."""
        return rows


class UsageViewSet(Managed):
    """Usage, a row a call."""

    table = Usage
    queryset = Usage.objects.none()
    serializer_class: Any = UsageSerializer
    permission_classes: tuple[type[BasePermission], ...] = (MayManage,)
    filterset_class = UsageFilter
    search_fields = ("model", "owner", "request_id")
    ordering_fields = ("created_at", "seconds", "input_tokens", "output_tokens")
    ordering = ("-id",)

    def list(self, request: Request) -> Response:
        """The calls that the caller may see, the latest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


class SummaryViewSet(UsageViewSet):
    """Usage, summed up by day."""

    serializer_class = SummarySerializer
    filterset_class = SummaryFilter
    filter_backends = (DjangoFilterBackend,)
    pagination_class = SummaryPages
    of_lists = ("page", "page_size")

    def list(self, request: Request) -> Response:
        """The calls, broken ones and tokens of each day and of each model, or what `by` says."""
        rows: Any = self.filter_queryset(self.get_queryset())
        page = self.paginate_queryset(rows.summed_by_day(request.query_params.get("by") or "model"))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)
