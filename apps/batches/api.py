"""Batches over HTTP: parse, call the service, shape the answer."""

from typing import Any

from ninja import Query, Router

from apps.access.service import Request
from apps.batches.schemas import BatchObject, BatchRequest
from llamastack.bodies import refuse_unknown
from llamastack.pagination import Page, Paging
from llamastack.stack import current

router = Router(tags=["batches"])


@router.post("/batches", response=BatchObject, summary="Create a batch")
async def create_batch(request: Request, body: BatchRequest) -> Any:
    """Answer every line of a file within a day. What is wrong with the file is told by the batch's `errors`."""
    return await current().batches.create(request.auth, body)


@router.get("/batches", response=Page[BatchObject], summary="List batches")
async def list_batches(request: Request, paging: Query[Paging]) -> Any:
    """Those of the caller's tenant, the newest first."""
    refuse_unknown(request.GET, list(Paging.model_fields))
    return await current().batches.list(request.auth, paging)


@router.get("/batches/{batch_id}", response=BatchObject, summary="Get a batch")
async def get_batch(request: Request, batch_id: str) -> Any:
    """How far it is, and the files that it has written once it has ended."""
    return await current().batches.get(request.auth, batch_id)


@router.post("/batches/{batch_id}/cancel", response=BatchObject, summary="Cancel a batch")
async def cancel_batch(request: Request, batch_id: str) -> Any:
    """Begin no more of its lines. What has been answered by then is in its files."""
    return await current().batches.cancel(request.auth, batch_id)
