"""Rows that are written without model instances: the columns, and that Django reads back what was meant."""

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from apps.access.models import Usage, UsageRecord
from apps.inference.models import StoredCompletion, StoredRow
from llamastack.rows import Row, insert

LIGHT: list[Any] = [UsageRecord, StoredRow]


def stored(name: str, **others: Any) -> StoredRow:
    fields = {"metadata": "{}", "input_messages": "[]", "completion": "{}"} | others
    return StoredRow(name, "default", "me", timezone.now(), "m", **fields)


def usage(request_id: str, **others: Any) -> UsageRecord:
    said: dict[str, Any] = dict.fromkeys(["api_key", "lane", "operation", "model", "provider_id", "error"], "")
    said |= dict.fromkeys(["input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"])
    said |= {"tenant": "default", "owner": "me", "provider_model_id": "m", "status": 200, "seconds": 0.5}
    said |= {"created_at": timezone.now(), "streamed": False, "whole": True, "estimated": False}
    return UsageRecord(request_id=request_id, **said | others)


@pytest.mark.parametrize("light", LIGHT)
def test_a_light_row_has_the_columns_of_its_table(light: Any) -> None:
    columns = {field.attname for field in light.table.model._meta.concrete_fields}
    made_by_the_database = {"id"} if light is UsageRecord else set()
    assert {field.name for field in fields(light)} == columns - made_by_the_database


@pytest.mark.django_db
def test_django_reads_what_was_written() -> None:
    moment = datetime(2026, 11, 23, 12, 0, 0, 123456, UTC)
    said = {"metadata": '{"a": "1"}', "input_messages": '["tab\\t\\\\N ü\\u0000"]', "completion": "a\tb\n\\.\nc\\N"}
    insert([stored("one", **said), usage("req_1", created_at=moment, input_tokens=7, whole=False)])
    row = StoredCompletion.objects.get(pk="one")
    assert (row.metadata, row.input_messages, row.completion) == (
        {"a": "1"},
        said["input_messages"],
        said["completion"],
    )
    used = Usage.objects.get(created_at=moment)
    assert (used.created_at, used.input_tokens, used.output_tokens) == (moment, 7, None)
    assert (used.whole, used.streamed, used.seconds, used.error) == (False, False, 0.5, "")


@pytest.mark.django_db
def test_times_are_written_as_django_writes_them() -> None:
    """Or else rows of both ways would not be sorted by their times."""
    for moment in (datetime(2026, 11, 23, 12, tzinfo=UTC), timezone.now()):
        insert([usage("light", created_at=moment)])
        light = Usage.objects.get(request_id="light")
        light.pk, light.request_id = None, "heavy"
        light.save()
        with connection.cursor() as cursor:
            cursor.execute("SELECT DISTINCT created_at FROM access_usage")
            assert len(cursor.fetchall()) == 1
        Usage.objects.all().delete()


@pytest.mark.django_db
@pytest.mark.parametrize("count", [1, 46, 47, 48, 500])
def test_as_many_as_there_are_are_written(count: int) -> None:
    insert([usage(f"req_{number}") for number in range(count)])
    assert set(Usage.objects.values_list("request_id", flat=True)) == {f"req_{number}" for number in range(count)}


@pytest.mark.django_db
def test_all_are_written_or_none() -> None:
    rows: list[Row] = [usage("req_1"), stored("twice"), stored("twice")]
    with pytest.raises(DatabaseError), transaction.atomic():
        insert(rows)
    assert not Usage.objects.exists()
    assert not StoredCompletion.objects.exists()
