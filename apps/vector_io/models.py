"""The files of vector stores, and the batches that they were attached in. The stores' own rows are the registry's."""

from typing import Any, ClassVar, Self

from django.db import models, transaction
from django.db.models import Case, Count, Exists, F, OuterRef, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce

from apps.access.models import ObjectQuerySet, Owned
from apps.jobs.models import Job
from apps.jobs.models import Status as JobStatus
from apps.registry.models import VectorStore


class Status(models.TextChoices):
    in_progress = "in_progress"
    completed = "completed"
    cancelled = "cancelled"
    failed = "failed"


# What has become of a file whose job was ended by somebody else.
STATE = Case(
    When(status=Status.in_progress, job__status=JobStatus.cancelled, then=Value(Status.cancelled.value)),
    When(
        status=Status.in_progress,
        job__status__in=(JobStatus.failed, JobStatus.quarantined, JobStatus.completed),
        then=Value(Status.failed.value),
    ),
    default=F("status"),
)


class VectorStoreFileQuerySet(ObjectQuerySet):
    def shown(self) -> Self:
        """With `state`, which is how each is, and its job."""
        return self.select_related("job").annotate(state=STATE)

    def counts(self, by: str) -> dict[Any, dict[str, int]]:
        """How many there are of each state, and their `bytes`, by a column's value."""
        rows = self.annotate(state=STATE).values(by, "state").annotate(n=Count("pk"), size=Sum("usage_bytes"))
        found: dict[Any, dict[str, int]] = {}
        for row in rows.order_by():
            of = found.setdefault(row[by], {"bytes": 0})
            of[row["state"]] = row["n"]
            of["bytes"] += row["size"] or 0
        return found

    def of_batch(self, batch: "FileBatch") -> Self:
        return self.filter(store=batch.store_id, file_id__in=batch.files.values("file_id"))

    def of_outer(self, store: int) -> Self:
        """The row of an outer query's file in this store, with its `state`."""
        return self.annotate(state=STATE).filter(store=store, file_id=OuterRef("file_id"))

    def under_way(self, job: Job | str) -> Self:
        return self.filter(job=job, status=Status.in_progress)

    def unwanted(self) -> Self:
        """Those that were attached in batches alone, each of which is cancelled."""
        wanted = BatchFile.objects.filter(
            file_id=OuterRef("file_id"), outcome="", batch__store=OuterRef("store"), batch__cancel_requested=False
        )
        return self.filter(~Exists(wanted), by_itself=False)

    def locked(self) -> Self:
        """Nobody else changes them before the transaction's end. In one order, so that none waits for the other."""
        return self.select_for_update(of=("self",)).order_by("file_id")

    def finish(self, job: Job, key: str, **fields: Any) -> bool | None:
        """Write a file's end. False where the file is gone meanwhile, None where the job is not ours any more."""
        with transaction.atomic():
            # Whoever has got on is no poison: the attempts are counted anew.
            if not Job.objects.held(job).update(attempt=1):
                return None
            return bool(self.under_way(job).filter(pk=key).update(**fields))


class FileBatch(Owned):
    """Files that were attached together. Its job reads those that were not there, or otherwise: None where all were."""

    id = models.CharField(primary_key=True, max_length=64)
    created_at = models.DateTimeField()
    store = models.ForeignKey(VectorStore, models.CASCADE)
    job = models.ForeignKey(Job, models.PROTECT, null=True)
    cancel_requested = models.BooleanField(default=False)

    objects: ClassVar[Any] = ObjectQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "file batches"

    def __str__(self) -> str:
        return self.id

    store_id: int
    files: Any

    def counts(self) -> dict[str, int]:
        """How many of its files there are of each state."""
        found = Subquery(VectorStoreFile.objects.of_outer(self.store_id).values("state")[:1])
        state = Case(When(outcome="", then=Coalesce(found, Value(Status.cancelled.value))), default=F("outcome"))
        return dict(self.files.annotate(state=state).values_list("state").annotate(n=Count("pk")).order_by())


class BatchFileQuerySet(models.QuerySet[Any]):
    def settle(self, store: VectorStore, file_ids: Any) -> None:
        """Write what became of these files of a store, before their rows go; one that is being read is cancelled."""
        state = Case(When(state=Status.in_progress, then=Value(Status.cancelled.value)), default=F("state"))
        outcome = VectorStoreFile.objects.of_outer(store.pk).annotate(outcome=state).values("outcome")[:1]
        open_ones = self.filter(outcome="", batch__store=store, file_id__in=file_ids)
        open_ones.update(outcome=Coalesce(Subquery(outcome), Value(Status.cancelled.value)))


class BatchFile(models.Model):
    """A file of a batch, which other batches may have, too. As long as `outcome` is empty, the file is as the store
    has it, whoever attached it last; once the store has it no more, or anew after its end, as it was then."""

    batch = models.ForeignKey(FileBatch, models.CASCADE, related_name="files")
    file_id = models.CharField(max_length=255)
    outcome = models.CharField(max_length=16, blank=True)

    objects: ClassVar[Any] = BatchFileQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=("file_id", "batch"), name="vector_store_batch_file_once")]


class VectorStoreFile(Owned):
    """A file in a store. Its chunks are at the provider under its `id`, which no other attachment has, of this file or
    another: so whatever is still under way for one that is gone harms none that came after it.

    `by_itself`: it was attached outside of batches, too, so that no batch's end is its own.
    """

    id = models.CharField(primary_key=True, max_length=64)
    created_at = models.DateTimeField()
    store = models.ForeignKey(VectorStore, models.CASCADE)
    file_id = models.CharField(max_length=255)
    filename = models.CharField(max_length=255)
    by_itself = models.BooleanField(default=False)
    job = models.ForeignKey(Job, models.PROTECT)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.in_progress)
    error_code = models.CharField(max_length=64, blank=True)
    error = models.TextField(blank=True)
    attributes = models.JSONField(default=dict)
    chunking_strategy = models.JSONField(default=dict)
    chunked = models.JSONField(null=True)
    usage_bytes = models.BigIntegerField(default=0)
    chunks = models.IntegerField(default=0)
    parser = models.CharField(max_length=64, blank=True)

    objects: ClassVar[Any] = VectorStoreFileQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=("store", "file_id"), name="vector_store_file_once")]
        indexes = [models.Index(fields=("store", "created_at", "id"), name="vector_store_file_cursor")]
        ordering = ("-created_at", "-id")

    def __str__(self) -> str:
        return self.filename or self.file_id

    state: str  # `shown` says it
    store_id: int
    job_id: str

    @property
    def reason(self) -> str:
        """Why it has failed."""
        return self.error or self.job.error or "Its job ended before it was read. Attach the file again."
