"""The resources: rows that say what runs and which provider serves a name.

A row holds `declared` (the YAML as written, `${env.X}` unexpanded, replaced at each apply) and `override` (a merge
patch from the admin or the API). What holds is `effective.py`'s business and is never saved.
"""

from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.access.models import ObjectQuerySet, Owned, Versioned, VersionedQuerySet
from apps.registry.config_classes import by_own_names, config_class
from llamastack.apis import Api
from llamastack.call import SHARED_TENANT
from llamastack.config import env_paths

SYSTEM = "system"
DISCOVER_EVERY = timedelta(seconds=300)
CHECK_EVERY = timedelta(seconds=60)
LISTINGS_UNTIL_GONE = 3


class Origin(models.TextChoices):
    yaml = "yaml", "YAML"
    admin = "admin", "Admin"
    api = "api", "API"
    discovered = "discovered", "Discovered"


class Resource(Owned, Versioned):
    """What every registered thing has. `gone`: its YAML entry, or its place in the provider's listing, vanished."""

    tenant = models.CharField(max_length=255, default=SHARED_TENANT, db_index=True)
    owner = models.CharField(max_length=255, default=SYSTEM, db_index=True)
    identifier = models.CharField(max_length=255)
    origin = models.CharField(max_length=16, choices=Origin.choices, default=Origin.admin, editable=False)
    declared = models.JSONField(default=dict, blank=True, editable=False)
    override = models.JSONField(default=dict, blank=True, editable=False)
    gone = models.BooleanField(default=False, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.identifier

    @property
    def merged(self) -> dict[str, Any]:
        """`declared` with `override` laid over it, but for what the environment sets: not expanded, not decrypted."""
        declared, override = self._by_own_names(self.declared), self._by_own_names(self.override)
        merged: dict[str, Any] = merge_patch(merge_patch(declared, override), from_environment(declared))
        return merged

    def _by_own_names(self, written: dict[str, Any]) -> dict[str, Any]:
        """What was written, each value under the one name it has here."""
        return written

    @property
    def enabled(self) -> bool:
        return not self.gone and self.merged.get("enabled", True) is True


class ProviderQuerySet(VersionedQuerySet):
    def due(self, clock: str, every: timedelta) -> Self:
        """Those whose periodic duty was last done longer ago than `every`, or never."""
        never, long_ago = Q(**{f"{clock}__isnull": True}), Q(**{f"{clock}__lt": timezone.now() - every})
        return self.filter(never | long_ago)

    def claim(self, clock: str, every: timedelta) -> bool:
        """Take on a periodic duty: true for exactly one process each period."""
        return bool(self.due(clock, every).update(**{clock: timezone.now()}))


class Provider(Resource):
    """`identifier` is the provider_id of the YAML; merged: {config, enabled}."""

    api = models.CharField(max_length=64, choices=[(api.value, api.value) for api in Api], default=Api.inference)
    provider_type = models.CharField(max_length=255)
    module = models.CharField(max_length=255, blank=True, null=True, editable=False)
    discovered_at = models.DateTimeField(null=True, editable=False)
    checked_at = models.DateTimeField(null=True, editable=False)
    healthy = models.BooleanField(null=True, editable=False)
    health = models.TextField(blank=True, editable=False)

    objects: ClassVar[Any] = ProviderQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=("tenant", "api", "identifier"), name="provider_identifier")]
        ordering = ("id",)

    def _by_own_names(self, written: dict[str, Any]) -> dict[str, Any]:
        kind = config_class(self.api, self.provider_type, self.module)
        return written | {"config": by_own_names(kind, written["config"])} if "config" in written else written


class Model(Resource):
    """merged: {provider_id, provider_model_id, homes, affinity, model_type, metadata, aliases, default, enabled}.

    `listed` is what its provider's listing says of one that is not discovered.
    """

    missed = models.PositiveSmallIntegerField(default=0, editable=False)
    listed = models.JSONField(default=dict, blank=True, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("tenant", "identifier"), name="model_identifier")]
        ordering = ("identifier",)


class VectorStoreQuerySet(VersionedQuerySet):
    """No snapshot holds these: they are read when they are asked for. Lists are in the order of (created_at, id)."""

    following = ObjectQuerySet.following
    in_order = ObjectQuerySet.in_order


class VectorStore(Resource):
    """Where chunks are searched, of one embedding model. `identifier` is its public id, which may be somebody's choice.

    `dimensions` is what the model is asked for where that is not its own length. It expires so many days after it was
    last used, and was emptied then. Its index is at the provider under `key`, which no other ever had, nor it itself
    before it was emptied.
    """

    key = models.CharField(max_length=64, unique=True, editable=False)
    name = models.CharField(max_length=255, blank=True)
    description = models.TextField(blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    provider_id = models.CharField(max_length=255, editable=False)
    embedding_model = models.CharField(max_length=255, editable=False)
    embedding_dimension = models.IntegerField(editable=False)
    dimensions = models.IntegerField(null=True, editable=False)
    expires_after_days = models.IntegerField(null=True, blank=True)
    last_active_at = models.DateTimeField(default=timezone.now, editable=False)
    emptied_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[Any] = VectorStoreQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=("tenant", "identifier"), name="vector_store_identifier")]
        indexes = [models.Index(fields=("tenant", "created_at", "id"), name="vector_store_cursor")]
        ordering = ("-created_at", "-id")

    @property
    def expires_at(self) -> datetime | None:
        days = self.expires_after_days
        return None if days is None else self.last_active_at + timedelta(days=days)

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()


def merged_is(name: str, value: Any, default: Any = None) -> Q:
    """Rows whose merged value of `name` is `value`; where it has none, it is the default."""
    not_edited = Q(**{f"override__{name}__isnull": True})
    holds = Q(**{f"override__{name}": value}) | not_edited & Q(**{f"declared__{name}": value})
    return holds | not_edited & Q(**{f"declared__{name}__isnull": True}) if value == default else holds


def merge_patch(target: Any, patch: Any) -> Any:
    """`patch` applied to `target` as RFC 7396 says: null removes, objects merge, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def from_environment(declared: dict[str, Any]) -> dict[str, Any]:
    """The part of `declared` that mentions a variable which is set: no edit is laid over it."""
    return {
        key: from_environment(value) if isinstance(value, dict) else value
        for key, value in declared.items()
        if env_paths(value)
    }


def patch_between(before: Any, after: Any) -> Any:
    """The patch that makes `before` into `after`."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    removed = {key: None for key in before if key not in after}
    return removed | {
        key: patch_between(before.get(key), value) for key, value in after.items() if before.get(key) != value
    }
