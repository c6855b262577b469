"""Chat completions that were stored."""

from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import F, Func, Value
from django.db.models.functions import Length
from django.db.models.lookups import Exact

from apps.access.models import ObjectQuerySet, Owned
from llamastack.rows import Table


class Entry(Func):
    """The text under a key of a JSON object. Django's own key lookups read digits as places in a list."""

    output_field = models.TextField()

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        return self.as_sql(compiler, connection, function="jsonb_extract_path_text")

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:
        template = "(SELECT value FROM json_each(%(expressions)s))"
        return self.as_sql(compiler, connection, template=template, arg_joiner=") WHERE key = (")


class StoredCompletionQuerySet(ObjectQuerySet):
    def of_model(self, model: str) -> Self:
        return self.filter(model=model)

    def with_metadata(self, entries: Mapping[str, str]) -> Self:
        return self.filter(*(Exact(Entry(F("metadata"), Value(key)), Value(text)) for key, text in entries.items()))

    def page(self, limit: int, most: int) -> tuple[list["StoredCompletion"], bool]:
        """At most `limit` rows and about `most` characters, though one row at least; and whether there are more."""
        sizes = Length("input_messages") + Length("completion")
        first = list(self.values_list("pk", sizes)[: limit + 1])
        totals = list(accumulate(size for _, size in first[1:limit]))
        taken = [pk for pk, _ in first[: 1 + bisect(totals, most)]]
        rows = self.in_bulk(taken)
        return [rows[pk] for pk in taken if pk in rows], len(first) > len(taken)


class StoredCompletion(Owned):
    """A chat completion as it left the server, and the messages it answered.

    Both are JSON in text columns, which hold what jsonb refuses (a NUL) and are written and read without a detour.
    `completion` carries `schema`, the version of the form of both.
    """

    id = models.CharField(primary_key=True, max_length=64)
    created_at = models.DateTimeField()
    model = models.CharField(max_length=255)
    metadata = models.JSONField(default=dict)
    input_messages = models.TextField()
    completion = models.TextField()

    objects: ClassVar[Any] = StoredCompletionQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=("tenant", "created_at", "id"), name="stored_completion_cursor")]

    def __str__(self) -> str:
        return self.id


@dataclass(slots=True)
class StoredRow:
    """A row of `StoredCompletion` on its way there: `metadata` is JSON too."""

    table: ClassVar[Table] = Table(StoredCompletion)
    id: str
    tenant: str
    owner: str
    created_at: datetime
    model: str
    metadata: str
    input_messages: str
    completion: str

    @property
    def size(self) -> int:
        """About as many bytes as it takes."""
        return len(self.input_messages) + len(self.completion)
