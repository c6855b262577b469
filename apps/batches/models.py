"""Batches, and the answers of those that are under way, both written under the fence of the batch's job."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.access.models import ObjectQuerySet, Owned
from apps.jobs.models import ENDED as JOB_ENDED
from apps.jobs.models import Job
from apps.jobs.models import Status as JobStatus
from llamastack.rows import Table

WRITTEN = 500


class Status(models.TextChoices):
    validating = "validating"
    in_progress = "in_progress"
    finalizing = "finalizing"
    failed = "failed"
    completed = "completed"
    expired = "expired"
    cancelled = "cancelled"


ENDED = (Status.failed, Status.completed, Status.expired, Status.cancelled)
# How a batch has ended whose job was ended by somebody else.
BY_JOB = {
    JobStatus.cancelled: Status.cancelled,
    JobStatus.failed: Status.failed,
    JobStatus.quarantined: Status.failed,
}
COUNTED = ("completed", "failed", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


class BatchQuerySet(ObjectQuerySet):
    def write(self, job: Job, batch_id: str, **fields: Any) -> bool:
        """False where the job is not ours any more."""
        with transaction.atomic(savepoint=False):
            return _held(job) and bool(self.filter(pk=batch_id).update(**fields))

    def step(self, job: Job, batch_id: str, message: str, progress: dict[str, Any], **fields: Any) -> bool | None:
        """The same, told in the job's log with its progress, at once: each commit costs a batch as much as ten lines.

        Whether to go on: False where it is to be cancelled, None where the job is not ours any more.
        """
        with transaction.atomic():
            told = {"progress": progress, "progressed_at": Now()}
            row = Job.objects.tell(job, "log", {"message": message}, **told)
            if row is None:
                return None
            self.filter(pk=batch_id).update(**fields)
            return not row.cancel_requested

    def end(self, job: Job, batch_id: str, status: Status, progress: dict[str, Any], **fields: Any) -> bool:
        """The same as `write`, for the last time: what it took is not needed any more."""
        with transaction.atomic():
            when = {f"{status}_at": Now()}
            if not Job.objects.held(job).update(progress=progress, progressed_at=Now()):
                return False
            self.filter(pk=batch_id).update(status=status, provider_data="", **when, **fields)
            BatchAnswer.objects.filter(batch=batch_id).delete()
            return True

    def keep(
        self,
        job: Job,
        batch_id: str,
        answers: Sequence["AnswerRecord"],
        counts: dict[str, int],
        progress: dict[str, Any],
    ) -> bool | None:
        """Keep answers, count them and tell the progress, all or none. Whether to go on, as `step` says it."""
        with transaction.atomic():
            # Whoever has got on is no poison: the attempts are counted anew.
            row = Job.objects.held(job).changed(attempt=1, progress=progress, progressed_at=Now())
            if row is None:
                return None
            AnswerRecord.table.insert(answers)
            self.filter(pk=batch_id).update(**{name: F(name) + counts[name] for name in COUNTED if counts[name]})
            return not row.cancel_requested

    def under_way(self) -> Self:
        """Those that are queued or running."""
        return self.exclude(status__in=ENDED).exclude(job__status__in=list(JOB_ENDED))

    def left(self, after: str = "") -> list[str]:
        """The ids, from `after` on, of some that have not ended though their jobs have, and whose time is over."""
        over = Q(job__status=JobStatus.cancelled) | Q(job__status__in=list(BY_JOB), expires_at__lte=Now())
        rows = self.filter(over, pk__gt=after).exclude(status__in=ENDED).order_by("pk")
        return list(rows.values_list("pk", flat=True)[:WRITTEN])

    def settle(self, batch_id: str) -> bool:
        """Have one of those end. What it was answered is written to its files first, by its job, which is tried once
        more for that; where that fails too, or there is nothing to write, it is over: what it took is removed."""
        with transaction.atomic():
            batch = self.select_for_update(of=("self",)).select_related("job").filter(pk=batch_id).first()
            if batch is None or batch.ended or batch.job.status not in BY_JOB:
                return False
            answered = BatchAnswer.objects.filter(batch=batch_id)
            if batch.finalizing_at is None and answered.exists():
                self.filter(pk=batch_id).update(finalizing_at=Now())
                cancelled = batch.job.status == JobStatus.cancelled
                Job.objects.retry(batch.job_id)
                Job.objects.filter(pk=batch.job_id).update(cancel_requested=cancelled)
                return False
            status = BY_JOB[JobStatus(batch.job.status)]
            self.filter(pk=batch_id).update(status=status, provider_data="", **{f"{status}_at": batch.job.ended_at})
            answered.delete()
            return True


def _held(job: Job) -> bool:
    """Whether the job is ours, and will be until this transaction ends."""
    return bool(Job.objects.held(job).update(fence=F("fence")))


class Batch(Owned):
    """What is asked for, how far it is, and what has come of it. `provider_data` is encrypted."""

    id = models.CharField(primary_key=True, max_length=64)
    created_at = models.DateTimeField()
    job = models.OneToOneField(Job, models.PROTECT)
    endpoint = models.CharField(max_length=64)
    model = models.CharField(max_length=255, null=True)
    input_file_id = models.CharField(max_length=255)
    completion_window = models.CharField(max_length=16)
    metadata = models.JSONField(null=True)
    output_seconds = models.IntegerField(null=True)
    idempotency_key = models.CharField(max_length=255, null=True)
    provider_data = models.TextField(blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.validating)
    errors = models.JSONField(default=list)
    output_file_id = models.CharField(max_length=64, null=True)
    error_file_id = models.CharField(max_length=64, null=True)
    in_progress_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    finalizing_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    expired_at = models.DateTimeField(null=True)
    cancelling_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)
    total = models.IntegerField(default=0)
    completed = models.IntegerField(default=0)
    failed = models.IntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)

    objects: ClassVar[Any] = BatchQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "batches"
        indexes = [models.Index(fields=("tenant", "created_at", "id"), name="batch_cursor")]
        constraints = [models.UniqueConstraint(fields=("tenant", "owner", "idempotency_key"), name="batch_once")]

    def __str__(self) -> str:
        return self.id

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def shown_status(self) -> str:
        """As OpenAI has it, whoever has ended the job."""
        if self.ended:
            return self.status
        if self.job.status in BY_JOB:
            return BY_JOB[JobStatus(self.job.status)]
        return "cancelling" if self.job.cancel_requested else self.status


class BatchAnswer(models.Model):
    """A line of a batch that has been answered, as it will stand in a file; kept until the files are written."""

    batch = models.ForeignKey(Batch, models.CASCADE)
    line = models.IntegerField()
    succeeded = models.BooleanField()
    text = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=("batch", "line"), name="batch_line_once")]


@dataclass(slots=True)
class AnswerRecord:
    """A row of `BatchAnswer` on its way there."""

    table: ClassVar[Table] = Table(BatchAnswer)
    batch_id: str
    line: int
    succeeded: bool
    text: str
