"""The rows of files in vector stores, and of their batches."""

from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.files.schemas import FileObject
from apps.jobs.models import ENDED, Job
from apps.registry.models import VectorStore
from apps.vector_io import stores
from apps.vector_io.models import BatchFile, FileBatch, Status, VectorStoreFile
from apps.vector_io.schemas.base import Auto, Sizes, Static
from apps.vector_io.schemas.stores import (
    AttachFile,
    FileFilter,
    LastError,
    VectorStoreFileObject,
)
from apps.vector_io.stores import KEPT, REMOVAL, SHOWN, epoch, paged
from llamastack.call import Call, Principal
from llamastack.errors import BadRequest, Conflict, NotFound
from llamastack.ids import new_id
from llamastack.pagination import Page

INGESTION = "vector_stores.ingest"
MOST_FILES = 10_000  # of one store, as OpenAI has it
MADE = 500
UNCHANGED = (Status.in_progress, Status.completed)
Wanted = Sequence[tuple[AttachFile, FileObject]]


def attach(call: Call, store: VectorStore, wanted: Wanted, batch: FileBatch | None = None) -> None:
    """Rows of these files, and a job that reads them, saved together; no job where there is nothing to do.

    A file that is there, asked for alike, stays as it is, whatever its state but failed or cancelled. Any other is read
    anew.
    """
    try:
        _attach(call, store, wanted, batch)
    except IntegrityError as error:  # the same file was attached meanwhile, or the store is gone
        raise Conflict("This vector store was changed meanwhile. Send the request again.") from error


@transaction.atomic
def _attach(call: Call, store: VectorStore, wanted: Wanted, batch: FileBatch | None) -> None:
    former = _former(store, [file.id for _, file in wanted])
    new = [(asked, file) for asked, file in wanted if not _unchanged(former.get(file.id), asked)]
    _refuse_too_many(store, len([file for _, file in new if file.id not in former]))
    job = ingestion(call, store) if new else None
    if job is not None:
        job.save(force_insert=True)
    replaced = [former[file.id] for _, file in new if file.id in former]
    BatchFile.objects.settle(store, [row.file_id for row in replaced if row.state != Status.in_progress])
    _forget(call, store, replaced)
    kept = [file.id for _, file in wanted if file.id in former.keys() - {file.id for _, file in new}]
    if batch is not None:
        _fill(batch, job, [file.id for _, file in wanted])
    else:
        VectorStoreFile.objects.filter(store=store, file_id__in=kept).update(by_itself=True)
    alone = {row.file_id for row in replaced if row.by_itself and row.state == Status.in_progress}
    rows = [_row(call.principal, store, job, batch is None or file.id in alone, asked, file) for asked, file in new]
    VectorStoreFile.objects.bulk_create(rows, batch_size=MADE)


def _fill(batch: FileBatch, job: Job | None, file_ids: Sequence[str]) -> None:
    batch.job = job
    batch.save(force_insert=True)
    BatchFile.objects.bulk_create([BatchFile(batch=batch, file_id=file_id) for file_id in file_ids], batch_size=MADE)


def _former(store: VectorStore, file_ids: Sequence[str]) -> dict[str, VectorStoreFile]:
    """Their rows, which stay as they are until the transaction's end."""
    rows: list[VectorStoreFile] = []
    ordered = sorted(file_ids)
    for start in range(0, len(ordered), MADE):
        rows += VectorStoreFile.objects.shown().locked().filter(store=store, file_id__in=ordered[start : start + MADE])
    return {row.file_id: row for row in rows}


def _unchanged(row: VectorStoreFile | None, asked: AttachFile) -> bool:
    if row is None or row.state not in UNCHANGED:
        return False
    return bool(row.attributes == (asked.attributes or {}) and row.chunking_strategy == strategy(asked))


def told(asked: dict[str, Any]) -> dict[str, Any]:
    """A strategy as it is shown before it is carried out: OpenAI shows what `auto` is meant to come to."""
    if asked.get("type") != "auto":
        return asked
    return Static(type="static", static=Sizes()).model_dump()


def strategy(asked: AttachFile) -> dict[str, Any]:
    return (asked.chunking_strategy or Auto()).model_dump(mode="json", exclude_none=True)


def _refuse_too_many(store: VectorStore, more: int) -> None:
    if more and VectorStoreFile.objects.filter(store=store).count() + more > MOST_FILES:
        raise BadRequest(f"A vector store holds at most {MOST_FILES:,} files.", code="too_many_files")


def unkept(jobs: Any) -> None:
    """These jobs keep no provider data any more."""
    for job_id, payload in jobs.values_list("pk", "payload"):
        if KEPT in payload:
            Job.objects.filter(pk=job_id).update(payload={name: payload[name] for name in payload if name != KEPT})


def ended_keeping() -> Any:
    """Jobs that have ended without having been done: those that nobody has tried again within the hour."""
    return Job.objects.filter(kind__in=(INGESTION, REMOVAL), status__in=ENDED, **{f"payload__{KEPT}__isnull": False})


def ingestion(call: Call, store: VectorStore) -> Job:
    principal = call.principal
    payload = {"schema": 1, "store": store.pk, "scopes": sorted(principal.scopes), "key": principal.key}
    return stores.job(INGESTION, call, payload)


def asked_before(row: VectorStoreFile) -> dict[str, Any]:
    """What would attach the file once more as it was."""
    return {"file_id": row.file_id, "attributes": row.attributes, "chunking_strategy": row.chunking_strategy}


def _row(
    principal: Principal,
    store: VectorStore,
    job: Job | None,
    by_itself: bool,
    asked: AttachFile,
    file: FileObject,
) -> VectorStoreFile:
    return VectorStoreFile(
        id=new_id("vsf_"),
        created_at=timezone.now(),
        tenant=store.tenant,
        owner=principal.name,
        store=store,
        file_id=file.id,
        filename=file.filename,
        by_itself=by_itself,
        job=job,
        attributes=asked.attributes or {},
        chunking_strategy=strategy(asked),
    )


def _forget(call: Call, store: VectorStore, rows: Sequence[VectorStoreFile]) -> None:
    """Rows that are gone, and a job that removes their chunks."""
    if rows:
        stores.removal(call, store, [row.id for row in rows]).save(force_insert=True)
        VectorStoreFile.objects.filter(pk__in=[row.id for row in rows]).delete()


# --- files ---


def found(principal: Principal, store: VectorStore, file_id: str) -> VectorStoreFile:
    row: VectorStoreFile | None = VectorStoreFile.objects.shown().filter(store=store, file_id=file_id).first()
    if row is None:
        raise NotFound(
            f"There is no file '{file_id[:SHOWN]}' in this vector store.", param="file_id", code="file_not_found"
        )
    return row


def got(principal: Principal, identifier: str, file_id: str) -> VectorStoreFileObject:
    store = stores.found(principal, identifier)
    return shown([found(principal, store, file_id)], store)[0]


def listed(principal: Principal, identifier: str, paging: FileFilter) -> Page[VectorStoreFileObject]:
    store = stores.found(principal, identifier)
    return listed_of(VectorStoreFile.objects.shown().filter(store=store), store, paging)


def listed_of(known: Any, store: VectorStore, paging: FileFilter) -> Page[VectorStoreFileObject]:
    rows = known if paging.filter is None else known.filter(state=paging.filter)
    return paged(rows, paging, lambda cursor: known.filter(file_id=cursor).first(), lambda data: shown(data, store))


def detached(call: Call, identifier: str, file_id: str) -> None:
    store = stores.found(call.principal, identifier, to_change=True)
    found(call.principal, store, file_id)
    _detach(call, store, file_id)


def forgotten(file_id: str) -> None:
    """No store has this file any more."""
    for row in VectorStoreFile.objects.filter(file_id=file_id).select_related("store"):
        _detach(stores.as_owner(row), row.store, file_id)


@transaction.atomic
def _detach(call: Call, store: VectorStore, file_id: str) -> None:
    rows = list(VectorStoreFile.objects.filter(store=store, file_id=file_id).locked())
    BatchFile.objects.settle(store, [file_id])
    _forget(call, store, rows)


def shown(rows: Sequence[VectorStoreFile], store: VectorStore) -> list[VectorStoreFileObject]:
    return [_shown(row, store) for row in rows]


def _shown(row: VectorStoreFile, store: VectorStore) -> VectorStoreFileObject:
    failed = row.state == Status.failed
    error = LastError(code=row.error_code or "server_error", message=row.reason) if failed else None
    state: Any = row.state
    return VectorStoreFileObject(
        id=row.file_id,
        usage_bytes=row.usage_bytes,
        created_at=epoch(row.created_at),
        vector_store_id=store.identifier,
        status=state,
        last_error=error,
        chunking_strategy=row.chunked or told(row.chunking_strategy),
        attributes=row.attributes,
        filename=row.filename,
        chunks=row.chunks,
        parser=row.parser or None,
    )
