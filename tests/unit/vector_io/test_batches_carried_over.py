"""The migration that gives each file batch its own list of files."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

BEFORE, AFTER = "0001_initial", "0004_remove_vectorstorefile_batch"
MANY = 3000


def migrated(name: str) -> Any:
    """The apps as they are after this migration."""
    executor = MigrationExecutor(connection)
    executor.migrate([("vector_io", name)])
    return MigrationExecutor(connection).loader.project_state([("vector_io", name)]).apps


@pytest.fixture
def before(transactional_db: None) -> Iterator[Any]:
    yield migrated(BEFORE)
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def add(apps: Any) -> None:
    """`first` reads 3,000 files, and `second` has taken half; `alone` and `taken` were attached outside of both."""
    common = {"tenant": "default", "owner": "me", "created_at": timezone.now()}
    store = apps.get_model("registry", "VectorStore").objects.create(
        identifier="vs_1", key="vs_1", provider_id="faiss", embedding_model="m", embedding_dimension=2
    )
    job = apps.get_model("jobs", "Job").objects
    jobs = {name: job.create(id=f"job_{name}", kind="vector_stores.ingest", **common) for name in ("first", "direct")}
    batch = apps.get_model("vector_io", "FileBatch").objects
    first = batch.create(id="vsfb_1", store=store, job=jobs["first"], **common)
    second = batch.create(id="vsfb_2", store=store, job=None, **common)

    def file(name: str, of: Any, read_by: str) -> Any:
        fields = {"id": f"vsf_{name}", "file_id": f"file-{name}", "filename": name, "status": "completed"}
        model = apps.get_model("vector_io", "VectorStoreFile")
        return model(**fields, **common, store=store, batch=of, job=jobs[read_by])

    rows = [file(str(number), second if number % 2 else first, "first") for number in range(MANY)]
    rows += [file("alone", None, "direct"), file("taken", second, "direct")]
    apps.get_model("vector_io", "VectorStoreFile").objects.bulk_create(rows)


def held(apps: Any, batch: str) -> set[str]:
    links = apps.get_model("vector_io", "BatchFile").objects.filter(batch=batch, outcome="")
    return set(links.values_list("file_id", flat=True))


def test_each_batch_keeps_its_files_and_has_those_again_that_another_took(before: Any) -> None:
    add(before)
    apps = migrated(AFTER)
    assert held(apps, "vsfb_1") == {f"file-{number}" for number in range(MANY)}
    assert held(apps, "vsfb_2") == {f"file-{number}" for number in range(1, MANY, 2)} | {"file-taken"}
    alone = apps.get_model("vector_io", "VectorStoreFile").objects.filter(by_itself=True)
    assert set(alone.values_list("file_id", flat=True)) == {"file-alone", "file-taken"}


def test_it_can_be_undone_and_each_file_is_of_its_last_batch(before: Any) -> None:
    add(before)
    migrated(AFTER)
    files = migrated(BEFORE).get_model("vector_io", "VectorStoreFile").objects
    assert files.filter(batch="vsfb_2").count() == MANY // 2 + 1
    assert files.filter(batch="vsfb_1").count() == MANY // 2
    assert files.get(batch=None).file_id == "file-alone"
