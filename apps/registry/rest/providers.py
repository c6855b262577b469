"""/manage/providers."""

from copy import copy
from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from apps.registry import service
from apps.registry.effective import provider_record
from apps.registry.fields import YES_OR_NO
from apps.registry.forms import identifier_rule
from apps.registry.models import Origin, Provider, merged_is
from apps.registry.origins import class_of, settings_of
from apps.registry.rest.access import MayManage
from apps.registry.rest.base import SHOWN, Managed, Nothing, Strict, Switch, bounded
from apps.registry.rest.configs import config_changes, known, refuse_invalid, shown_config
from apps.registry.shown import state_of
from llamastack import stack
from llamastack.admin import follow
from llamastack.apis import SERVED, Api
from llamastack.config import references
from llamastack.errors import BadRequest, PermissionDenied, Unavailable
from llamastack.near import did_you_mean
from llamastack.providers import specs

DISCOVERY_SECONDS = 30
APIS = [api.value for api, info in SERVED.items() if info.has_providers]
STATES = ["healthy", "failing", "unavailable", "not checked", "disabled", "gone"]


class ProviderSerializer(Strict):
    """A provider. `origins` says where each value comes from; those in `locked` the environment sets: read-only."""

    api = serializers.ChoiceField(APIS, default=Api.inference.value)
    provider_id = serializers.CharField(max_length=255, validators=[identifier_rule])
    provider_type = serializers.CharField(max_length=255, help_text="As `llama stack list-providers` shows it.")
    enabled = serializers.BooleanField(default=True)
    config = serializers.DictField(
        default=dict,
        help_text="The settings of its type. Secrets are shown as a mask; the mask sent back keeps the secret.",
    )
    reset = serializers.ListField(
        child=serializers.CharField(max_length=255),
        write_only=True,
        required=False,
        help_text="Settings whose edits are forgotten: what the YAML says, or the default, holds again.",
    )
    version = serializers.IntegerField(required=False, help_text="Sent back, it refuses a row changed since: 409.")
    origins = serializers.DictField(child=serializers.CharField(), read_only=True)
    locked = serializers.ListField(child=serializers.CharField(), read_only=True)
    state = serializers.ChoiceField(STATES, read_only=True)
    reason = serializers.CharField(read_only=True)
    models = serializers.IntegerField(read_only=True)
    origin = serializers.ChoiceField(Origin.choices, read_only=True)
    module = serializers.CharField(read_only=True, allow_null=True)
    tenant = serializers.CharField(read_only=True)
    owner = serializers.CharField(read_only=True)
    checked_at = serializers.DateTimeField(read_only=True, allow_null=True)
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)

    def to_representation(self, row: Provider) -> dict[str, Any]:
        settings, state = settings_of(row), state_of(row)
        return {
            "api": row.api,
            "provider_id": row.identifier,
            "provider_type": row.provider_type,
            "enabled": row.merged.get("enabled", True) is True,
            "config": shown_config(row),
            "version": row.version,
            "origins": {setting.name: setting.origin for setting in settings},
            "locked": [".".join(lock) for setting in settings for lock in setting.locks],
            "state": state.word.lower(),
            "reason": state.reason,
            "models": int(service.models_on(row).count()),
            "origin": row.origin,
            "module": row.module,
            "tenant": row.tenant,
            "owner": row.owner,
            "checked_at": row.checked_at,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
        }

    def validate_config(self, config: dict[str, Any]) -> dict[str, Any]:
        return bounded(config)

    def create(self, given: dict[str, Any]) -> Provider:
        kind = given["provider_type"]
        types = specs(Api(given["api"]))
        if kind not in types:
            near = did_you_mean(kind, types) or "; `llama stack list-providers` shows them."
            raise BadRequest(f"There is no provider type '{kind[:SHOWN]}' here{near}", param="provider_type")
        row = Provider(api=given["api"], identifier=given["provider_id"], provider_type=kind)
        if class_of(row) is None:
            raise Unavailable(f"Providers of type '{kind}' cannot be loaded here: {provider_record(row).unavailable}")
        self.operator.take(row)
        return self._edited(row, config_changes(row, given["config"]), given["enabled"])

    def update(self, row: Provider, given: dict[str, Any]) -> Provider:
        self.keeps(row, given, api=row.api, provider_id=row.identifier, provider_type=row.provider_type)
        enabled = row.merged.get("enabled", True) is True
        changes, reset = config_changes(row, given.get("config", {})), self._reset(row, given)
        if not changes and not reset and given.get("enabled", enabled) == enabled:
            return row
        return self._edited(row, changes, given.get("enabled", enabled), reset)

    def _reset(self, row: Provider, given: dict[str, Any]) -> set[str]:
        """The edits to forget: those named, and where all of the config is given, those of settings it lacks."""
        settings = {setting.name: setting for setting in settings_of(row)}
        asked = {known(row, settings, name, "reset.").name for name in given.get("reset", ())}
        if both := asked & given.get("config", {}).keys():
            raise BadRequest(f"'{min(both)}' is both given and reset.", param="reset")
        left_out = () if self.partial else settings.keys() - given["config"].keys()
        return {name for name in (*asked, *left_out) if settings[name].edited}

    def _edited(self, row: Provider, changes: dict[str, Any], enabled: bool, reset: Any = ()) -> Provider:
        given = [leaf.value for leaf in service.given_anew(row, changes)]
        if references(given) and not self.operator.is_superuser:
            raise PermissionDenied("Only a superuser, in person, may have a provider read the server's environment.")
        was, before = copy(row), row.merged
        row = service.edit_provider(row, changes, enabled, reset)
        if not self.operator.is_superuser and (own := service.lent(was, row)):
            raise PermissionDenied(
                f"'{own}': only a superuser, in person, may say which of the server's own credentials a provider uses, "
                "and where they are sent."
            )
        if not self.operator.is_superuser and (moved := service.moved_secrets(before, row, changes)):
            raise PermissionDenied(
                f"'{min(moved)}' comes from the server's environment: only a superuser, in person, may have it sent to "
                "another address."
            )
        if changes or reset:
            refuse_invalid(row)
        return row


class HealthSerializer(serializers.Serializer[Any]):
    """What a provider said when it was asked just now."""

    ok = serializers.BooleanField()
    message = serializers.CharField()


class DiscoverySerializer(serializers.Serializer[Any]):
    """How many models it has, and how many of them are new."""

    models = serializers.IntegerField()
    new = serializers.IntegerField()


class ProviderFilter(filters.FilterSet):
    api = filters.ChoiceFilter(choices=[(name, name) for name in APIS])
    provider_type = filters.CharFilter()
    origin = filters.ChoiceFilter(choices=Origin.choices)
    tenant = filters.CharFilter()
    healthy = Switch()
    gone = Switch()
    enabled = Switch(method="merged", label="Enabled")

    def merged(self, rows: QuerySet[Provider], name: str, value: str) -> QuerySet[Provider]:
        return rows.filter(merged_is(name, YES_OR_NO[value], default=True))


class ProviderViewSet(Managed):
    """Providers, as the admin has them. A running server follows each change at once."""

    table = Provider
    identifier = "provider_id"
    buttons = ("test", "discover", "enable", "disable")
    queryset = Provider.objects.none()
    serializer_class = ProviderSerializer
    permission_classes: tuple[type[BasePermission], ...] = (MayManage,)
    filterset_class = ProviderFilter
    search_fields = ("identifier", "provider_type")
    ordering_fields = ("identifier", "api", "provider_type", "origin", "created_at", "updated_at", "checked_at")
    ordering = ("api", "identifier", "id")

    def list(self, request: Request) -> Response:
        """Every provider that the caller may see."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, api: str, provider_id: str) -> Response:
        """One provider, with its settings and where each comes from."""
        return Response(self.get_serializer(self.get_object()).data)

    def get_object(self) -> Provider:
        row: Provider = self.row(api=self.kwargs["api"], identifier=self.kwargs["provider_id"])
        return row

    def address(self, row: Provider) -> str:
        return f"/manage/providers/{row.api}/{row.identifier}"

    def remove(self, row: Provider) -> None:
        service.delete_provider(row)

    @extend_schema(request=None, responses=HealthSerializer)
    def test(self, request: Request, api: str, provider_id: str) -> Response:
        """Ask the provider how it is, now."""
        row = self._running()
        health = stack.run(lambda running: running.live.check_health(row.pk))
        return Response({"ok": health.ok, "message": health.message})

    @extend_schema(request=None, responses=DiscoverySerializer)
    def discover(self, request: Request, api: str, provider_id: str) -> Response:
        """Register what the provider serves."""
        row = self._running()
        new = stack.run(lambda running: running.live.discover(row.pk), DISCOVERY_SECONDS)
        return Response({"models": int(service.models_on(row).count()), "new": new})

    def _running(self) -> Provider:
        row = self.get_object()
        if unavailable := provider_record(row).unavailable:
            raise Unavailable(f"Provider '{row}' is unavailable: {unavailable}")
        follow()
        return row

    @extend_schema(request=None)
    def enable(self, request: Request, api: str, provider_id: str) -> Response:
        """Have it run."""
        return self._set(True)

    @extend_schema(request=None)
    def disable(self, request: Request, api: str, provider_id: str) -> Response:
        """Have it stop. Its models answer 503 until it is enabled again."""
        return self._set(False)

    def _set(self, enabled: bool) -> Response:
        with self.written():
            row = self.get_object()
            if enabled and row.gone:
                raise BadRequest("Its entry has left the YAML; it comes back with it.")
            if (row.merged.get("enabled", True) is True) != enabled:
                row = service.edit_provider(row, {}, enabled)
        return Response(ProviderSerializer(row, context=self.get_serializer_context()).data)

    def get_serializer_class(self) -> type[Any]:
        return Nothing if self.action in ("test", "discover", "enable", "disable") else ProviderSerializer
