"""The files that are kept: everything but their bytes."""

from datetime import datetime
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.access.models import ObjectQuerySet, Owned


class FileQuerySet(ObjectQuerySet):
    def kept(self) -> Self:
        """Those that have been uploaded whole and have not expired."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), uploaded=True)

    def overdue(self, after: str = "") -> Self:
        """Those that have expired, or whose upload never ended, by their ids from `after` on."""
        return self.filter(expires_at__lte=timezone.now(), id__gt=after).order_by("id")

    def finish(self, file_id: str, **fields: Any) -> bool:
        """Whether the file was still being uploaded, and is there now."""
        return bool(self.filter(pk=file_id, uploaded=False).update(uploaded=True, **fields))

    def expire(self, file_id: str, now: datetime) -> bool:
        return bool(self.filter(pk=file_id).update(expires_at=now))


class File(Owned):
    """A file. It is here before its first byte is: one that is not `uploaded` expires, and its bytes are removed."""

    id = models.CharField(primary_key=True, max_length=64)
    created_at = models.DateTimeField()
    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=32)
    bytes = models.BigIntegerField(default=0)
    expires_at = models.DateTimeField(null=True, db_index=True)
    provider_id = models.CharField(max_length=255)
    kept_as = models.CharField(max_length=255, blank=True)  # by its provider; empty: under its id
    uploaded = models.BooleanField(default=False)

    objects: ClassVar[Any] = FileQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=("tenant", "created_at", "id"), name="file_cursor")]

    def __str__(self) -> str:
        return self.filename or self.id

    @property
    def kept_name(self) -> str:
        """By which its provider finds it."""
        return self.kept_as or self.id
