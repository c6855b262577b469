"""Who owns a row, when it changed, the users and API keys that are let in, and what they have used."""

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from django.contrib.auth.models import AbstractUser
from django.db import models, transaction
from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from llamastack.call import DEFAULT_TENANT, SHARED_TENANT, Principal
from llamastack.pagination import Order, unknown_cursor
from llamastack.rows import Table

BATCH = 250


class User(AbstractUser):
    """A person who logs in to the admin or the playground."""

    tenant = models.CharField(max_length=255, default=DEFAULT_TENANT, db_index=True)


class OwnedQuerySet(models.QuerySet[Any]):
    def visible_to(self, principal: Principal) -> Self:
        """Rows of the principal's tenant, and those shared with all."""
        return self.filter(tenant__in=(principal.tenant, SHARED_TENANT))


class ObjectQuerySet(OwnedQuerySet):
    """Of objects with a public id, which are never shared with all."""

    def visible_to(self, principal: Principal) -> Self:
        return self.filter(tenant=principal.tenant)

    def following(self, row: Any, order: Order) -> Self:
        """The rows that come after `row` in this order."""
        side = "gt" if order == "asc" else "lt"
        later = models.Q(**{f"created_at__{side}": row.created_at}) | models.Q(**{f"id__{side}": row.id})
        return self.filter(later, **{f"created_at__{side}e": row.created_at})

    def in_order(self, order: Order) -> Self:
        return self.order_by("created_at", "id") if order == "asc" else self.order_by("-created_at", "-id")

    def after(self, cursor: str | None, order: Order, known: Self) -> Self:
        """In this order, those that follow the row of the id `cursor`; BadRequest where that is none of `known`."""
        if cursor is None:
            return self.in_order(order)
        row = known.filter(pk=cursor).first()
        if row is None:
            raise unknown_cursor(cursor)
        return self.following(row, order).in_order(order)


class Owned(models.Model):
    """A row that belongs to somebody. The tenant `*` shares it with all."""

    tenant = models.CharField(max_length=255, default=DEFAULT_TENANT, db_index=True)
    owner = models.CharField(max_length=255, db_index=True)

    class Meta:
        abstract = True


class SnapshotVersion(models.Model):
    """One row: the number of the last change to anything a snapshot holds."""

    number = models.BigIntegerField(default=0)

    @classmethod
    def current(cls) -> int:
        return cls.objects.filter(pk=1).values_list("number", flat=True).first() or 0

    @classmethod
    def lock(cls) -> None:
        """Wait for other writers, and hold them off until this transaction ends, without a change of version."""
        cls._add(0)

    @classmethod
    def bump(cls) -> int:
        """The next number. Its row stays locked until the transaction ends, so numbers appear in order."""
        cls._add(1)
        return cls.current()

    @classmethod
    def _add(cls, number: int) -> None:
        if not cls.objects.filter(pk=1).update(number=models.F("number") + number):
            cls.objects.get_or_create(pk=1)
            cls.objects.filter(pk=1).update(number=models.F("number") + number)


class VersionedQuerySet(OwnedQuerySet):
    def changed_since(self, version: int) -> Self:
        return self.filter(version__gt=version)

    def add_all(self, rows: Sequence[Any]) -> None:
        """Save new rows: many at once, of one version."""
        if not rows:
            return
        with transaction.atomic():
            version = SnapshotVersion.bump()
            for row in rows:
                row.version = version
            self.bulk_create(rows, batch_size=BATCH)

    def each(self) -> Iterator[Any]:
        """The rows one by one, for tables of thousands: all at once, they make Python's collector stop the server."""
        return self.iterator(chunk_size=BATCH)

    def delete(self) -> tuple[int, dict[str, int]]:
        """Row by row, so that each leaves its tombstone."""
        with transaction.atomic():
            rows = [row.delete() for row in self]
        return len(rows), {self.model._meta.label: len(rows)}


class Versioned(models.Model):
    """A row that snapshots hold: saving or deleting it bumps the version in the same transaction."""

    version = models.BigIntegerField(default=0, db_index=True, editable=False)

    objects: ClassVar[Any] = VersionedQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        with transaction.atomic():
            self.version = SnapshotVersion.bump()
            super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            Tombstone.objects.create(kind=str(self._meta.model_name), row=self.pk, version=SnapshotVersion.bump())
            return super().delete(*args, **kwargs)


class Tombstone(models.Model):
    """A deleted row of a versioned table, for processes that still hold it."""

    kind = models.CharField(max_length=32)
    row = models.BigIntegerField()
    version = models.BigIntegerField(db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)


class ApiKey(Owned, Versioned):
    """An API key: `prefix` to recognise it, and the SHA-256 of the secret (256 random bits need no slow hash)."""

    name = models.CharField(max_length=255)
    prefix = models.CharField(max_length=16, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    admin = models.BooleanField(default=False, help_text="May register and change providers and models.")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    secret = ""  # told by `issue`, in memory alone

    class Meta:
        verbose_name = "API key"
        ordering = ("-created_at", "-id")

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @classmethod
    def issue(cls, name: str, owner: str, **fields: Any) -> tuple[Self, str]:
        """A new key (`fields`: tenant, admin, expires_at) and its secret, which is told here once and kept nowhere."""
        secret = "lls-" + secrets.token_urlsafe(32)
        key = cls(name=name, owner=owner, prefix=secret[:10], digest=digest(secret), **fields)
        key.save()
        return key, secret

    def revoke(self) -> None:
        if self.revoked_at is None:
            self.revoked_at = timezone.now()
            self.save()

    @property
    def principal(self) -> Principal:
        return Principal(self.owner, self.tenant, frozenset({"admin"} if self.admin else ()), self.prefix)


def may_act(tenant: str, owner: str, prefix: str) -> bool:
    """Whether what somebody began may go on: they are an active user, or have a key that is not revoked.

    `prefix` is that of the key they began it with. One that has expired since has done no wrong. Whoever is known here
    by neither a user nor a key was let in without.
    """
    user = User.objects.filter(tenant=tenant, username=owner).first()
    if user is not None and user.is_active:
        return True
    if ApiKey.objects.filter(tenant=tenant, owner=owner, revoked_at=None).exists():
        return True
    return user is None and not prefix


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class UsageQuerySet(OwnedQuerySet):
    sums: ClassVar[dict[str, Any]] = {
        "calls": Count("pk"),
        "broken": Count("pk", filter=Q(whole=False)),
        "guessed": Count("pk", filter=Q(estimated=True)),
        "input": Sum("input_tokens"),
        "output": Sum("output_tokens"),
        "cached": Sum("cached_tokens"),
        "reasoning": Sum("reasoning_tokens"),
    }

    def visible_to(self, principal: Principal) -> Self:
        """Rows of the principal's tenant."""
        return self.filter(tenant=principal.tenant)

    def summed(self) -> dict[str, int | None]:
        """`calls`, `broken` ones, those whose tokens were `guessed`, and tokens: null where nobody has told any."""
        return self.aggregate(**self.sums)

    def summed_by_day(self, field: str) -> Self:
        """The same for each value of a field on each day (of UTC), the latest first."""
        rows: Any = self.annotate(day=TruncDate("created_at"), of=models.F(field)).values("day", "of")
        summed: Self = rows.annotate(**self.sums).order_by("-day", "of")
        return summed


class Usage(Owned):
    """One call that was admitted: who asked, who was asked for it, how it ended, and the tokens it took.

    `created_at` is when it ended, and `seconds` how long it took. Tokens are null where nobody has told them. `error`
    is the code of the error that ended it; `whole` and `estimated` are as an Outcome has them.
    """

    tenant = models.CharField(max_length=255, default=DEFAULT_TENANT)
    owner = models.CharField(max_length=255)
    api_key = models.CharField("API key", max_length=16, help_text="What it begins with, where one was used.")
    request_id = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    lane = models.CharField(max_length=8)
    operation = models.CharField(max_length=16)
    model = models.CharField(max_length=255)
    provider_id = models.CharField(max_length=255)
    provider_model_id = models.CharField(max_length=255)
    status = models.SmallIntegerField()
    error = models.CharField(max_length=64)
    input_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    cached_tokens = models.BigIntegerField(null=True)
    reasoning_tokens = models.BigIntegerField(null=True)
    streamed = models.BooleanField()
    whole = models.BooleanField()
    estimated = models.BooleanField()
    seconds = models.FloatField()

    objects: ClassVar[Any] = UsageQuerySet.as_manager()

    class Meta:
        verbose_name = "usage record"
        indexes = [
            models.Index(fields=("tenant", "created_at"), name="usage_of_tenant"),
            models.Index(fields=("owner", "created_at"), name="usage_of_owner"),
        ]
        # What is written once more, since nobody knows whether its commit came through, is not there twice.
        constraints = [models.UniqueConstraint(fields=("request_id", "created_at"), name="usage_once")]

    def __str__(self) -> str:
        return self.request_id


@dataclass(slots=True)
class UsageRecord:
    """A row of `Usage` on its way there."""

    table: ClassVar[Table] = Table(Usage)
    tenant: str
    owner: str
    api_key: str
    request_id: str
    created_at: datetime
    lane: str
    operation: str
    model: str
    provider_id: str
    provider_model_id: str
    status: int
    error: str
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    streamed: bool
    whole: bool
    estimated: bool
    seconds: float
