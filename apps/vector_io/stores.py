"""The rows of vector stores: found, listed, saved and shown."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from apps.jobs.models import Job
from apps.registry.kept import sealed
from apps.registry.models import Origin, VectorStore
from apps.registry.service import may_change
from apps.vector_io.models import BatchFile, VectorStoreFile
from apps.vector_io.protocol import Store
from apps.vector_io.schemas.base import FileCounts
from apps.vector_io.schemas.stores import ExpiresAfter, StoreFilter, UpdateVectorStore, VectorStoreObject
from llamastack.call import DEFAULT_TENANT, SHARED_TENANT, Call, Principal
from llamastack.errors import BadRequest, NotFound, PermissionDenied
from llamastack.ids import new_id
from llamastack.pagination import Order, Page, page, unknown_cursor

REMOVAL = "vector_stores.remove"
KEPT = "provider_data"  # of a job's payload, encrypted
SHOWN = 100


def found(principal: Principal, identifier: str, *, to_change: bool = False) -> VectorStore:
    """The tenant's own before a shared one. Raises NotFound; PermissionDenied for one that is not theirs to change."""
    rows = VectorStore.objects.visible_to(principal).filter(identifier=identifier, gone=False)
    row: VectorStore | None = min(rows, key=lambda row: row.tenant != principal.tenant, default=None)
    if row is None:
        raise NotFound(
            f"There is no vector store '{identifier[:SHOWN]}'. GET /v1/vector_stores lists them.",
            param="vector_store_id",
            code="vector_store_not_found",
        )
    if to_change and row.tenant != principal.tenant and not may_change(principal, row):
        raise PermissionDenied(
            "This vector store is shared by all tenants; only an admin of the default tenant may change it."
        )
    return row


def usable(principal: Principal, identifier: str, *, to_change: bool = False) -> VectorStore:
    """The same, in use from now on. Raises BadRequest for one that has expired."""
    row = found(principal, identifier, to_change=to_change)
    if row.expired:
        raise BadRequest(
            f"The vector store '{identifier[:SHOWN]}' has expired: it was not used for {row.expires_after_days} days. "
            "Make a new one, or give it more days by its expires_after; what it held is removed within the hour.",
            param="vector_store_id",
            code="vector_store_expired",
        )
    touch(row)
    return row


def touch(row: VectorStore) -> None:
    """Its days begin anew. Written at most once a minute."""
    now = timezone.now()
    minute = now.replace(second=0, microsecond=0)
    if row.last_active_at < minute:
        VectorStore.objects.filter(pk=row.pk, last_active_at__lt=minute).update(last_active_at=now)


def index(row: VectorStore) -> Store:
    """The store as its provider knows it."""
    return Store(row.key, row.tenant, row.embedding_dimension)


def new(principal: Principal, identifier: str | None, **fields: Any) -> VectorStore:
    public = identifier or new_id("vs_")
    key = new_id("vs_") if identifier else public
    return VectorStore(
        identifier=public, key=key, tenant=principal.tenant, owner=principal.name, origin=Origin.api, **fields
    )


def updated(principal: Principal, identifier: str, request: UpdateVectorStore) -> VectorStoreObject:
    row = found(principal, identifier, to_change=True)
    fields: dict[str, Any] = {"last_active_at": timezone.now()}
    if request.name is not None:
        fields["name"] = request.name
    if request.metadata is not None:
        fields["metadata"] = request.metadata
    if "expires_after" in request.model_fields_set:
        fields["expires_after_days"] = request.expires_after and request.expires_after.days
    VectorStore.objects.filter(pk=row.pk).update(**fields)
    return got(principal, identifier)


def removed(call: Call, identifier: str) -> None:
    """The row and its files are gone for everybody; a job, saved with that, removes what the provider has."""
    row = found(call.principal, identifier, to_change=True)
    with transaction.atomic():
        removal(call, row).save(force_insert=True)
        VectorStore.objects.filter(pk=row.pk).delete()


def overdue() -> list[int]:
    """The keys of the rows of stores that have expired, and were not emptied since they were last used."""
    rows = VectorStore.objects.exclude(expires_after_days=None).exclude(emptied_at__gte=F("last_active_at"))
    return [row.pk for row in rows if row.expired]


@transaction.atomic
def empty(key: int) -> None:
    """Of a store that is still expired the files go, and a job removes its index. Where it is used again, it has
    another one."""
    row: VectorStore | None = VectorStore.objects.select_for_update().filter(pk=key).first()
    if row is None or not row.expired:
        return
    removal(as_owner(row), row).save(force_insert=True)
    files = VectorStoreFile.objects.filter(store=row)
    BatchFile.objects.settle(row, list(files.locked().values_list("file_id", flat=True)))
    files.delete()
    VectorStore.objects.filter(pk=key).update(key=new_id("vs_"), emptied_at=timezone.now())


def as_owner(row: Any) -> Call:
    """What is done for a row's owner, whom nobody asks."""
    return Call(Principal(row.owner, DEFAULT_TENANT if row.tenant == SHARED_TENANT else row.tenant))


def removal(call: Call, row: VectorStore, keys: Sequence[str] | None = None) -> Job:
    """A job that removes the store from its provider, or of it the chunks under these keys."""
    payload = {
        "schema": 1,
        "provider_id": row.provider_id,
        "store": {"key": row.key, "tenant": row.tenant, "dimension": row.embedding_dimension},
        "keys": None if keys is None else list(keys),
    }
    return job(REMOVAL, call, payload)


def job(kind: str, call: Call, payload: dict[str, Any]) -> Job:
    """A job of the caller's, which keeps the provider data that came along until it has ended."""
    if call.provider_data:
        payload[KEPT] = sealed(call.provider_data)
    owned = {"tenant": call.principal.tenant, "owner": call.principal.name, "created_at": timezone.now()}
    return Job(id=new_id("job_"), kind=kind, payload=payload, **owned)


# --- as they are shown ---


def got(principal: Principal, identifier: str) -> VectorStoreObject:
    return shown([found(principal, identifier)])[0]


def listed(principal: Principal, paging: StoreFilter) -> Page[VectorStoreObject]:
    known = VectorStore.objects.visible_to(principal).filter(gone=False)
    return paged(known, paging, lambda cursor: known.filter(identifier=cursor).first(), shown)


def paged(
    rows: Any, paging: StoreFilter, row_of: Callable[[str], Any], show: Callable[[list[Any]], list[Any]]
) -> Page[Any]:
    """A page of rows, after one or before another."""
    order: Order = paging.order
    if paging.after is not None:
        rows = rows.following(_cursor(row_of, paging.after, "after"), order)
    if paging.before is not None:
        order = "asc" if order == "desc" else "desc"
        rows = rows.following(_cursor(row_of, paging.before, "before"), order)
    taken = list(rows.in_order(order)[: paging.limit + 1])
    data = taken[: paging.limit]
    if paging.before is not None:
        data.reverse()
    return page(show(data), len(taken) > paging.limit)


def _cursor(row_of: Callable[[str], Any], cursor: str, param: Literal["after", "before"]) -> Any:
    row = row_of(cursor)
    if row is None:
        raise unknown_cursor(cursor, param)
    return row


def shown(rows: Sequence[VectorStore]) -> list[VectorStoreObject]:
    counts = VectorStoreFile.objects.filter(store__in=[row.pk for row in rows]).counts("store")
    return [_shown(row, counts.get(row.pk, {})) for row in rows]


def _shown(row: VectorStore, counts: dict[str, int]) -> VectorStoreObject:
    files = file_counts(counts)
    status: Any = "expired" if row.expired else "in_progress" if files.in_progress else "completed"
    days = row.expires_after_days
    return VectorStoreObject(
        id=row.identifier,
        created_at=epoch(row.created_at),
        name=row.name,
        description=row.description or None,
        usage_bytes=counts.get("bytes", 0),
        file_counts=files,
        status=status,
        expires_after=None if days is None else ExpiresAfter(anchor="last_active_at", days=days),
        expires_at=None if row.expires_at is None else epoch(row.expires_at),
        last_active_at=epoch(row.last_active_at),
        metadata=row.metadata,
        provider_id=row.provider_id,
        embedding_model=row.embedding_model,
        embedding_dimension=row.embedding_dimension,
    )


def file_counts(counts: dict[str, int]) -> FileCounts:
    by_state = {state: number for state, number in counts.items() if state != "bytes"}
    return FileCounts(**by_state, total=sum(by_state.values()))


def epoch(time: datetime) -> int:
    return int(time.timestamp())
