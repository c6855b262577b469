"""Long work as rows: who may claim one, and who may still write to it. All times are the database's own."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from django.db import models, transaction
from django.db.models import Case, DateTimeField, Exists, ExpressionWrapper, F, OuterRef, Q, Value, When
from django.db.models.functions import Now
from django.db.models.sql import UpdateQuery
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from apps.access.models import ObjectQuerySet, Owned
from llamastack import stack

MOST_ATTEMPTS = 3
LEASE = timedelta(seconds=15)  # renewed every 5: so long nobody goes on with what a killed server did
GONE = "whoever worked on it was gone before its end."
PAUSE = timedelta(seconds=15)  # until a job that waits for what it needs is begun again
WAITS = f"It waits, and is tried again every {PAUSE.seconds} s: "
FORESEEN_SECONDS = 365 * 86_400
TEXT = models.TextField()
KEY = ("priority", "created_at", "id")
SYSTEM = "system"  # whose the jobs are that nobody asks for
PLANNED = uuid.UUID("0e6c9c0e-5d0e-4d0a-9b1c-6f1f5d3a7c11")  # any: the namespace of their ids
PLANNED_KEPT = timedelta(days=7)
BAD_KEPT = 3  # times as long as others: somebody may want to know why
FORGOTTEN = 500  # jobs, or ten times as many events, that are removed at once


class Status(models.TextChoices):
    queued = "queued"
    running = "running"
    completed = "completed"
    failed = "failed"
    cancelled = "cancelled"
    quarantined = "quarantined"


ENDED = (Status.completed, Status.failed, Status.cancelled, Status.quarantined)


def _ready() -> Q:
    return Q(lease_until=None) | Q(lease_until__lt=Now())


def until(lease: timedelta) -> Any:
    return ExpressionWrapper(Now() + Value(lease), output_field=DateTimeField())


def ring(job_id: str, kind: str, priority: int) -> None:
    """Have it known that there is a job, once it is committed. Who is not told finds it a little later."""

    def told() -> None:
        if stack.is_running():
            stack.current().ring(job_id, kind, priority)

    transaction.on_commit(told)


class JobQuerySet(ObjectQuerySet):
    def queued(self) -> Self:
        """Those that may be begun, without those that wait until later."""
        return self.filter(_ready(), status=Status.queued)

    def left(self) -> Self:
        """Those whose lease has expired: whoever worked on them is gone."""
        return self.filter(status=Status.running, lease_until__lt=Now())

    def due(self) -> Self:
        """Those that nobody works on."""
        return self.filter(Q(_ready(), status=Status.queued) | Q(status=Status.running, lease_until__lt=Now()))

    def next(self, limit: int, under_way: Collection[str] = ()) -> list[str]:
        """The ids of those that are due, without those `under_way`: the most urgent first, and then the oldest.

        Two queries, each of which reads no more than its index: with both conditions in one, SQLite sorts them all.
        """
        order = ("-priority", "created_at", "id")
        others = self.exclude(pk__in=under_way) if under_way else self
        queued, left = others.queued().order_by(*order), others.left().order_by(*order)
        found = [*queued.values_list(*KEY)[:limit], *left.values_list(*KEY)[:limit]]
        return [job_id for _, _, job_id in sorted(found, key=lambda row: (-row[0], *row[1:]))[:limit]]

    def told(self, job_ids: Sequence[str]) -> list[tuple[str, str, str]]:
        """The id, kind and tenant of each that there is, in the same order."""
        rows = self.filter(pk__in=job_ids).values_list("id", "kind", "tenant")
        return sorted(rows, key=lambda row: job_ids.index(row[0]))

    def claim(self, job_id: str, lease: timedelta = LEASE) -> "Job | None":
        """The job, which is ours until its lease ends; None where it is another's, or has ended.

        One that has been begun three times and was never ended is set aside instead.
        """
        due = self.filter(pk=job_id).due()
        changes = {"status": Status.running, "lease_until": until(lease), "fence": F("fence") + 1}
        changes |= {"started_at": Now(), "started_from": F("progress"), "progressed_at": None, "error": ""}
        job = due.filter(attempt__lt=MOST_ATTEMPTS).changed(**changes, attempt=F("attempt") + 1)
        if job is not None:
            return job
        due.filter(attempt__gte=MOST_ATTEMPTS).update(
            status=Status.quarantined,
            error=f"It was begun {MOST_ATTEMPTS} times, and each time {GONE}",
            ended_at=Now(),
            fence=F("fence") + 1,
        )
        return None

    def changed(self, **changes: Any) -> "Job | None":
        """The one row, as it is after this change, in one statement: Django's UPDATE returns no rows."""
        query: Any = self.query.chain(UpdateQuery)
        query.add_update_values(changes)
        statement, values = query.get_compiler(self.db).as_sql()
        rows: list[Job] = list(self.raw(f"{statement} RETURNING *", values))
        return rows[0] if rows else None

    def held(self, job: "Job") -> Self:
        """The row, as long as nobody has claimed it since."""
        return self.filter(pk=job.pk, fence=job.fence, status=Status.running)

    def renew(self, job: "Job", lease: timedelta = LEASE) -> bool:
        return bool(self.held(job).update(lease_until=until(lease)))

    def report(self, job: "Job", progress: dict[str, Any]) -> bool | None:
        """Whether to go on: False where it is to be cancelled, None where it is not ours any more."""
        row = self.held(job).changed(progress=progress, progressed_at=Now())
        return None if row is None else not row.cancel_requested

    def wait(self, job: "Job", reason: str, pause: timedelta = PAUSE) -> bool:
        """To be begun again after a pause: what it needs is not there, as `reason` tells. This attempt does not count.

        False where it is not ours any more.
        """
        return self._later(job, reason, pause, attempt=F("attempt") - 1)

    def leave(self, job: "Job", reason: str, pause: timedelta = PAUSE) -> bool:
        """The same of what may be wrong for good: this attempt counts, and after the last one the job is set aside."""
        told = f"It was begun {MOST_ATTEMPTS} times. What was told last: {reason}"
        over = {"status": Status.quarantined, "error": told, "ended_at": Now(), "lease_until": None}
        return bool(self.held(job).filter(attempt__gte=MOST_ATTEMPTS).update(**over)) or self._later(job, reason, pause)

    def _later(self, job: "Job", reason: str, pause: timedelta, **changes: Any) -> bool:
        later = {"status": Status.queued, "lease_until": until(pause), "error": f"{WAITS}{reason}"}
        return bool(self.held(job).update(**later, **changes))

    def finish(self, job: "Job", status: Status, error: str = "") -> bool:
        """Write its end, once. False where somebody else has claimed it: what we have done is not told then."""
        return bool(self.held(job).update(status=status, error=error, ended_at=Now(), lease_until=None))

    def hand_back(self, job: "Job") -> bool:
        """To be begun again by whoever comes next; this attempt does not count."""
        ours = bool(self.held(job).update(status=Status.queued, lease_until=None, attempt=F("attempt") - 1))
        if ours:
            ring(job.pk, job.kind, job.priority)
        return ours

    def cancel(self, job_id: str) -> bool:
        """Whether it is cancelled now, or will be when whoever works on it looks.

        One that is queued although its cancel was asked for before has something left to do.
        """
        idle = Q(status=Status.queued, cancel_requested=False)
        return bool(
            self.filter(pk=job_id, status__in=(Status.queued, Status.running)).update(
                status=Case(When(idle, then=Value(Status.cancelled)), default=F("status"), output_field=TEXT),
                ended_at=Case(When(idle, then=Now()), default=F("ended_at")),
                error=Case(When(idle, then=Value("")), default=F("error"), output_field=TEXT),
                cancel_requested=True,
            )
        )

    def retry(self, job_id: str) -> bool:
        """Queue again what has ended, but for what was completed."""
        ended = self.filter(pk=job_id, status__in=[status for status in ENDED if status != Status.completed])
        fresh = {"attempt": 0, "error": "", "cancel_requested": False, "lease_until": None}
        times = dict.fromkeys(("started_at", "progressed_at", "ended_at"))
        again = bool(ended.update(status=Status.queued, **fresh, **times))
        if again:
            ring(*self.values_list("pk", "kind", "priority").get(pk=job_id))
        return again

    def plan(self, kind: str, seconds: int) -> None:
        """A job that nobody asks for, once in so many seconds, however many processes plan it; none beside another."""
        ours = self.filter(kind=kind, owner=SYSTEM)
        if ours.filter(status__in=(Status.queued, Status.running)).exists():
            return
        now = timezone.now()
        turn = uuid.uuid5(PLANNED, f"{kind} {int(now.timestamp()) // seconds}")
        planned = Job(id=f"job_{turn.hex}", owner=SYSTEM, kind=kind, created_at=now)
        self.bulk_create([planned], ignore_conflicts=True)
        ring(planned.pk, kind, planned.priority)
        ours.filter(status=Status.completed, created_at__lt=now - PLANNED_KEPT).delete()

    def over(self, kept: timedelta) -> Self:
        """Those that ended so long ago that they need be kept no more."""
        now = timezone.now()
        good = Q(status__in=(Status.completed, Status.cancelled), ended_at__lt=now - kept)
        return self.filter(good | Q(status__in=(Status.failed, Status.quarantined), ended_at__lt=now - BAD_KEPT * kept))

    def forget(self, kept: timedelta) -> int:
        """Remove some of those that are over; how many. One that a row of another table needs, as a batch's, stays."""
        free = self.over(kept)
        for relation in Job._meta.related_objects:
            if relation.on_delete is models.PROTECT:
                needed = relation.related_model._default_manager.filter(**{relation.field.name: OuterRef("pk")})
                free = free.exclude(Exists(needed))
        with transaction.atomic():  # locked: nobody has one of them tried again meanwhile
            found = list(free.select_for_update(of=("self",)).order_by("pk").values_list("pk", flat=True)[:FORGOTTEN])
            self.filter(pk__in=found).delete()
        return len(found)

    def tell(self, job: "Job", kind: str, data: dict[str, Any], **changes: Any) -> "Job | None":
        """Write an event under the next number, and with it what else changes in the row.

        The row as it is then; None where the job is not ours any more.
        """
        with transaction.atomic(savepoint=False):
            row = self.held(job).changed(events=F("events") + 1, **changes)
            if row is not None:
                JobEvent.objects.create(job_id=job.pk, number=row.events, kind=kind, data=data, created_at=Now())
            return row


class Job(Owned):
    """`fence` counts the claims: whoever writes to a job says which one was theirs, and an older one writes nothing.

    `started_at` is when it was last claimed, and `started_from` its progress then. `lease_until` is, of a job that is
    queued, until when it is left alone: what it needs is not there.
    """

    id = models.CharField(primary_key=True, max_length=64)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    kind = models.CharField(max_length=64)
    payload = models.JSONField(default=dict)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.queued)
    priority = models.IntegerField(default=0)
    progress = models.JSONField(default=dict)
    started_at = models.DateTimeField(null=True)
    started_from = models.JSONField(default=dict)
    progressed_at = models.DateTimeField(null=True)
    attempt = models.IntegerField(default=0)
    fence = models.BigIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    cancel_requested = models.BooleanField(default=False)
    events = models.BigIntegerField(default=0)
    error = models.TextField(blank=True)

    objects: ClassVar[Any] = JobQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=("tenant", "created_at", "id"), name="job_cursor"),
            # Of the rows alone that are looked for: a claim writes a page of each, where it had written two.
            models.Index(fields=("-priority", "created_at", "id"), name="job_due", condition=Q(status="queued")),
            models.Index(fields=("lease_until",), name="job_lease", condition=Q(status="running")),
        ]

    def __str__(self) -> str:
        return self.id

    def save(self, *args: Any, **options: Any) -> None:
        new = self._state.adding
        super().save(*args, **options)
        if new and self.status == Status.queued:
            ring(self.pk, self.kind, self.priority)

    @property
    def done(self) -> tuple[float | None, float | None]:
        """How much of how much, where its kind tells both as numbers."""
        return _number(self.progress.get("done")), _number(self.progress.get("total"))

    @property
    def expected_at(self) -> datetime | None:
        """When it ends, if it goes on as fast as since it was claimed; None where nothing can be said."""
        done, total = self.done
        before = _number(self.started_from.get("done")) or 0
        if self.status != Status.running or self.started_at is None or self.progressed_at is None:
            return None
        if done is None or total is None or not before < done <= total:
            return None
        seconds = (self.progressed_at - self.started_at).total_seconds() / (done - before) * (total - done)
        return self.progressed_at + timedelta(seconds=seconds) if seconds < FORESEEN_SECONDS else None


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53
    return value if known else None


class JobEventQuerySet(models.QuerySet[Any]):
    def forget(self, kept: timedelta) -> int:
        """Remove some of those of jobs that are over; how many."""
        found = self.filter(job__in=Job.objects.over(kept)).order_by("pk").values_list("pk", flat=True)
        gone: int = self.filter(pk__in=list(found[: 10 * FORGOTTEN])).delete()[0]
        return gone


class JobEvent(models.Model):
    """Something that happened in a job, numbered from 1: `log`, `metric`, `progress`."""

    job = models.ForeignKey(Job, models.CASCADE)
    number = models.BigIntegerField()
    kind = models.CharField(max_length=16)
    data = models.JSONField()
    created_at = models.DateTimeField()

    objects: ClassVar[Any] = JobEventQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=("job", "number"), name="job_event_number")]


class Schedule(PeriodicTask):
    """When a job is to be made, again and again: a row of django-celery-beat's, whose `task` is a kind of job.

    `kwargs` holds the JSON of a `Turn` (schedules.py).
    """

    class Meta:
        proxy = True
        ordering = ("name",)

    def __str__(self) -> str:
        return str(self.name)
