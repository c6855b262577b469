"""The rows of batches of files: found, listed, cancelled and shown."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from apps.jobs.models import Job
from apps.registry.models import VectorStore
from apps.vector_io import stores
from apps.vector_io.attached import listed_of
from apps.vector_io.models import FileBatch, Status, VectorStoreFile
from apps.vector_io.schemas.stores import FileBatchObject, FileFilter, VectorStoreFileObject
from apps.vector_io.stores import SHOWN, epoch
from llamastack.call import Call, Principal
from llamastack.errors import Conflict, NotFound
from llamastack.ids import new_id
from llamastack.pagination import Page


def new(call: Call, store: VectorStore) -> FileBatch:
    owned = {"tenant": store.tenant, "owner": call.principal.name, "created_at": timezone.now()}
    return FileBatch(id=new_id("vsfb_"), store=store, **owned)


def found(principal: Principal, identifier: str, batch_id: str) -> tuple[VectorStore, FileBatch]:
    store = stores.found(principal, identifier)
    batch: FileBatch | None = FileBatch.objects.filter(store=store, pk=batch_id).select_related("job").first()
    if batch is None:
        raise NotFound(f"There is no file batch '{batch_id[:SHOWN]}' in this vector store.", param="batch_id")
    return store, batch


def got(principal: Principal, identifier: str, batch_id: str) -> FileBatchObject:
    return shown(*found(principal, identifier, batch_id))


def listed(principal: Principal, identifier: str, batch_id: str, paging: FileFilter) -> Page[VectorStoreFileObject]:
    """Those of its files that the store has, as they are there."""
    store, batch = found(principal, identifier, batch_id)
    return listed_of(VectorStoreFile.objects.shown().of_batch(batch), store, paging)


def cancelled(principal: Principal, identifier: str, batch_id: str) -> FileBatchObject:
    """Begin no more of its files, but for those that were attached otherwise, too. Those that have been read stay."""
    store, batch = found(principal, identifier, batch_id)
    before = shown(store, batch)
    if before.status not in ("cancelled", "in_progress"):
        raise Conflict(f"The file batch is {before.status}: there is nothing to cancel.", code="batch_ended")
    # Behind the transaction: who reads a file holds its job's row first, and then the file's.
    for job_id in _cancel(batch):
        Job.objects.cancel(job_id)
    return got(principal, identifier, batch_id)


@transaction.atomic
def _cancel(batch: FileBatch) -> list[str]:
    """The jobs that have no file to read any more."""
    FileBatch.objects.filter(pk=batch.pk).update(cancel_requested=True)
    unread = VectorStoreFile.objects.of_batch(batch).filter(status=Status.in_progress)
    held = list(unread.locked().values_list("pk", flat=True))
    unwanted = VectorStoreFile.objects.filter(pk__in=held).unwanted()
    jobs = set(unwanted.values_list("job_id", flat=True))
    unwanted.update(status=Status.cancelled)
    return [job_id for job_id in jobs if not VectorStoreFile.objects.under_way(job_id).exists()]


def shown(store: VectorStore, batch: FileBatch) -> FileBatchObject:
    counts = stores.file_counts(batch.counts())
    stopped = batch.job is not None and batch.job.cancel_requested and (counts.cancelled or counts.in_progress)
    status: Any = "in_progress" if counts.in_progress else "completed"
    if batch.cancel_requested or stopped or counts.total == counts.cancelled > 0:
        status = "cancelled"
    elif counts.total == counts.failed > 0:
        status = "failed"
    return FileBatchObject(
        id=batch.id,
        created_at=epoch(batch.created_at),
        vector_store_id=store.identifier,
        status=status,
        file_counts=counts,
    )
