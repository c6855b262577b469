"""/manage/keys."""

from typing import Any

from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from apps.access.models import ApiKey
from apps.registry.rest.access import MayManage, Operator
from apps.registry.rest.base import SHOWN, Managed, Nothing, Strict, Switch
from llamastack.errors import Conflict, NotFound, PermissionDenied
from llamastack.near import did_you_mean

STATES = ["valid", "expired", "revoked"]


class KeySerializer(Strict):
    """An API key, known by what it begins with. Its secret is told by the answer that made it, and kept nowhere."""

    name = serializers.CharField(max_length=255)
    owner = serializers.CharField(
        max_length=255, required=False, help_text="Of what is made with it; you, unless given."
    )
    admin = serializers.BooleanField(default=False, help_text="It may register and change providers and models.")
    expires_at = serializers.DateTimeField(allow_null=True, default=None)
    prefix = serializers.CharField(read_only=True)
    state = serializers.ChoiceField(STATES, read_only=True)
    tenant = serializers.CharField(required=False, help_text="Its maker's.")
    created_at = serializers.DateTimeField(read_only=True)
    revoked_at = serializers.DateTimeField(read_only=True, allow_null=True)

    def to_representation(self, key: ApiKey) -> dict[str, Any]:
        return {
            "name": key.name,
            "owner": key.owner,
            "admin": key.admin,
            "expires_at": key.expires_at,
            "prefix": key.prefix,
            "state": state_of(key),
            "tenant": key.tenant,
            "created_at": key.created_at,
            "revoked_at": key.revoked_at,
        }

    def validate_expires_at(self, moment: Any) -> Any:
        if moment is not None and moment <= timezone.now():
            raise serializers.ValidationError("This is past.")
        return moment

    def validate_tenant(self, tenant: str) -> str:
        own = self.operator.principal.tenant
        if tenant != own:
            raise serializers.ValidationError(f"A key is of its maker's tenant, which is '{own}'.")
        return tenant

    def create(self, given: dict[str, Any]) -> ApiKey:
        owner = given.get("owner") or self.operator.principal.name
        fields = {"admin": given["admin"], "expires_at": given["expires_at"]}
        key, secret = ApiKey.issue(given["name"], owner, tenant=self.operator.principal.tenant, **fields)
        key.secret = secret
        return key


class IssuedKeySerializer(KeySerializer):
    """A new key, with its secret."""

    secret = serializers.CharField(read_only=True)

    def to_representation(self, key: ApiKey) -> dict[str, Any]:
        return {**super().to_representation(key), "secret": key.secret}


def state_of(key: ApiKey) -> str:
    if key.revoked_at:
        return "revoked"
    return "expired" if key.expires_at and key.expires_at <= timezone.now() else "valid"


class KeyFilter(filters.FilterSet):
    admin = Switch()
    owner = filters.CharFilter()
    tenant = filters.CharFilter()
    revoked = Switch(field_name="revoked_at", lookup_expr="isnull", exclude=True)


class MayIssue(MayManage):
    """A key outlives the time in which nobody is asked for one: who makes or ends one has to say who they are."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if request.method == "POST" and Operator.of(request).is_anonymous:
            self.message = "Keys are made and revoked with an admin's key, or by staff who have logged in."
            return False
        return super().has_permission(request, view)


class KeyViewSet(Managed):
    """API keys."""

    table = ApiKey
    identifier = "prefix"
    buttons = ("revoke",)
    queryset = ApiKey.objects.none()
    serializer_class = KeySerializer
    permission_classes: tuple[type[BasePermission], ...] = (MayIssue,)
    filterset_class = KeyFilter
    search_fields = ("name", "owner", "prefix")
    ordering_fields = ("name", "owner", "created_at", "expires_at", "revoked_at")
    ordering = ("-created_at", "-id")

    def list(self, request: Request) -> Response:
        """Every key that the caller may see; none with its secret."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, prefix: str) -> Response:
        """One key, by what it begins with."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(responses={201: IssuedKeySerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make a key. This answer alone tells its secret."""
        serializer = KeySerializer(data=request.data, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        operator = Operator.of(request)
        if serializer.validated_data["admin"] and operator.user is not None and not operator.is_superuser:
            raise PermissionDenied("Only a superuser, or an admin's key, makes an admin's key.", param="admin")
        with self.written():
            key = serializer.save()
        told = IssuedKeySerializer(key, context=self.get_serializer_context()).data
        return Response(told, status=201, headers={"Location": self.address(key)})

    @extend_schema(request=None, responses=KeySerializer)
    def revoke(self, request: Request, prefix: str) -> Response:
        """End a key's life: within a second every server on this database refuses it."""
        with self.written():
            key = self.get_object()
            key.revoke()
        return Response(KeySerializer(key, context=self.get_serializer_context()).data)

    def get_object(self) -> ApiKey:
        prefix = self.kwargs["prefix"]
        keys = list(self.filter_queryset(self.get_queryset()).filter(prefix=prefix)[:2])
        if not keys:
            near = did_you_mean(prefix, self.get_queryset().values_list("prefix", flat=True)) or "."
            raise NotFound(f"No key begins with '{prefix[:SHOWN]}'{near}", param="prefix")
        if len(keys) > 1:
            raise Conflict(f"Several keys begin with '{prefix}'; find the one you mean in the admin.", param="prefix")
        self.check_object_permissions(self.request, keys[0])
        key: ApiKey = keys[0]
        return key

    def address(self, row: ApiKey) -> str:
        return f"/manage/keys/{row.prefix}"

    def get_serializer_class(self) -> type[Any]:
        return Nothing if self.action == "revoke" else KeySerializer
