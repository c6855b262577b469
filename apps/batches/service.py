"""Batches: a row and its job, saved together. The job does the rest (jobs.py)."""

from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.batches.models import BY_JOB, Batch
from apps.batches.protocol import BatchLimits
from apps.batches.schemas import (
    BatchError,
    BatchErrors,
    BatchObject,
    BatchRequest,
    BatchUsage,
    InputDetails,
    OutputDetails,
    RequestCounts,
)
from apps.jobs.models import Job
from apps.registry.kept import keeper, refuse_unkept, sealed
from apps.registry.live import Live
from llamastack.call import Call, Principal
from llamastack.db import db
from llamastack.errors import Conflict, NotFound, ProviderOff, RateLimited
from llamastack.ids import new_id
from llamastack.pagination import Page, Paging, page
from llamastack.snapshot import ProviderRecord

WINDOW = timedelta(hours=24)
KIND = "batch"
SHOWN = 100
RETRY_SECONDS = 60  # until there may be room for another batch
TIMES = ("in_progress", "expires", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


class BatchesService:
    """Satisfies `Batches`."""

    def __init__(self, live: Live) -> None:
        self.live = live

    async def create(self, call: Call, request: BatchRequest) -> BatchObject:
        limits = await self.limits(call.principal.tenant)
        await refuse_unkept(self.live, call, "Batches keep")
        return await db(saved, call, request, limits.most_under_way)

    async def list(self, call: Call, paging: Paging) -> Page[BatchObject]:
        return await db(listed, call.principal, paging)

    async def get(self, call: Call, batch_id: str) -> BatchObject:
        return await db(lambda: shown(found(call.principal, batch_id)))

    async def cancel(self, call: Call, batch_id: str) -> BatchObject:
        return await db(cancelled, call.principal, batch_id)

    async def limits(self, tenant: str) -> BatchLimits:
        """The provider of a tenant's batches: its own before a shared one, the one that was first."""
        record = self._chosen(tenant)
        async with self.live.pool.use(record) as provider:
            limits: BatchLimits = provider
            return limits

    def _chosen(self, tenant: str) -> ProviderRecord:
        record = keeper(self.live, tenant)
        if record is None:
            raise ProviderOff(
                "No provider does batches here. Switch one on in the admin, or add one to 'providers.batches' of the "
                "run.yaml."
            )
        return record


class ScheduledBatch(BatchRequest):
    """A batch that is created again and again: the same file, each time anew."""

    idempotency_key: None = None

    def make(self, principal: Principal) -> None:
        saved(Call(principal), self)


def saved(call: Call, request: BatchRequest, most: int | None = None) -> BatchObject:
    """A batch with its job, or the one of the same idempotency key. Raises RateLimited beside `most` of its tenant,
    of which those that are created at the same moment know nothing."""
    if (former := _former(call.principal, request)) is not None:
        return former
    if most is not None and Batch.objects.filter(tenant=call.principal.tenant).under_way().count() >= most:
        raise RateLimited(
            f"{most} batches are queued or running, and there may be no more. Wait until one of them has ended, or "
            "cancel one: POST /v1/batches/{batch_id}/cancel.",
            code="too_many_batches",
            retry_after=RETRY_SECONDS,
        )
    try:
        with transaction.atomic():
            batch = _new(call, request)
            batch.job.save(force_insert=True)
            batch.save(force_insert=True)
    except IntegrityError:  # the other one of this key was saved meanwhile
        if (former := _former(call.principal, request)) is None:
            raise
        return former
    return shown(batch)


def _new(call: Call, request: BatchRequest) -> Batch:
    principal, now = call.principal, timezone.now()
    owned = {"tenant": principal.tenant, "owner": principal.name, "created_at": now}
    batch_id, expiry = new_id("batch_"), request.output_expires_after
    payload = {"schema": 1, "batch_id": batch_id, "scopes": sorted(principal.scopes), "key": principal.key}
    return Batch(
        id=batch_id,
        job=Job(id=new_id("job_"), kind=KIND, payload=payload, **owned),
        expires_at=now + WINDOW,
        output_seconds=None if expiry is None else expiry.seconds,
        provider_data=sealed(call.provider_data),
        **request.model_dump(exclude={"output_expires_after"}),
        **owned,
    )


def _former(principal: Principal, request: BatchRequest) -> BatchObject | None:
    if request.idempotency_key is None:
        return None
    rows = Batch.objects.visible_to(principal).filter(owner=principal.name, idempotency_key=request.idempotency_key)
    batch = rows.select_related("job").first()
    if batch is None:
        return None
    seconds = None if request.output_expires_after is None else request.output_expires_after.seconds
    wanted = request.model_dump(exclude={"output_expires_after"}) | {"output_seconds": seconds}
    if any(getattr(batch, name) != value for name, value in wanted.items()):
        raise Conflict(
            "Another batch was created with this idempotency key. Take a new key, or send the same request.",
            param="idempotency_key",
            code="idempotency_key_reused",
        )
    return shown(batch)


def found(principal: Principal, batch_id: str) -> Batch:
    batch: Batch | None = Batch.objects.visible_to(principal).filter(pk=batch_id).select_related("job").first()
    if batch is None:
        raise NotFound(f"There is no batch '{batch_id[:SHOWN]}'. GET /v1/batches lists them.", param="batch_id")
    return batch


def cancelled(principal: Principal, batch_id: str) -> BatchObject:
    batch = found(principal, batch_id)
    if not Job.objects.cancel(batch.job_id) and found(principal, batch_id).shown_status != "cancelled":
        raise Conflict(f"The batch is {batch.shown_status}: there is nothing to cancel.", code="batch_ended")
    now = timezone.now()
    Batch.objects.filter(pk=batch_id, cancelling_at=None).update(cancelling_at=now)
    Batch.objects.settle(batch_id)  # where nobody works on it
    return shown(found(principal, batch_id))


def listed(principal: Principal, paging: Paging) -> Page[BatchObject]:
    known = Batch.objects.visible_to(principal)
    rows = known.after(paging.after, "desc", known).select_related("job")
    batches = [shown(batch) for batch in rows[: paging.limit + 1]]
    return page(batches[: paging.limit], len(batches) > paging.limit)


def shown(batch: Batch) -> BatchObject:
    status: Any = batch.shown_status
    times = {f"{name}_at": epoch(getattr(batch, f"{name}_at")) for name in TIMES}
    if batch.job.status in BY_JOB and not batch.ended:
        times[f"{status}_at"] = epoch(batch.job.ended_at)
    return BatchObject(
        id=batch.id,
        endpoint=batch.endpoint,
        model=batch.model,
        errors=errors(batch),
        input_file_id=batch.input_file_id,
        completion_window=batch.completion_window,
        status=status,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        created_at=int(batch.created_at.timestamp()),
        request_counts=RequestCounts(total=batch.total, completed=batch.completed, failed=batch.failed),
        usage=usage(batch),
        metadata=batch.metadata,
        **times,
    )


def errors(batch: Batch) -> BatchErrors | None:
    """Those of the input file, or what has ended the job instead."""
    told = [BatchError.model_validate(error) for error in batch.errors]
    if not told and batch.shown_status == "failed":
        told = [BatchError(code="job_failed", message=batch.job.error)]
    return BatchErrors(data=told) if told else None


def usage(batch: Batch) -> BatchUsage:
    return BatchUsage(
        input_tokens=batch.input_tokens,
        input_tokens_details=InputDetails(cached_tokens=batch.cached_tokens),
        output_tokens=batch.output_tokens,
        output_tokens_details=OutputDetails(reasoning_tokens=batch.reasoning_tokens),
        total_tokens=batch.input_tokens + batch.output_tokens,
    )


def epoch(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp())
