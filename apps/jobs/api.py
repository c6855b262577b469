"""Jobs over HTTP: parse, call the service, shape the answer."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from django.http import StreamingHttpResponse
from ninja import Query, Router

from apps.access.service import Request
from apps.jobs import service
from apps.jobs.schemas import JobEventObject, JobFilter, JobObject
from llamastack import sse
from llamastack.bodies import refuse_unknown
from llamastack.db import db
from llamastack.errors import StackError
from llamastack.pagination import Page

LAST = "Last-Event-ID"
router = Router(tags=["jobs"])
EVENTS: dict[str, Any] = {
    "parameters": [
        {
            "in": "header",
            "name": LAST,
            "description": "The number of the last event that has come",
            "schema": {"type": "string", "pattern": "^[0-9]{0,18}$"},
        }
    ],
    "responses": {
        200: {
            "description": "Events: `job` tells the job, others what happens in it",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
}


@router.get("/jobs", response=Page[JobObject], summary="List jobs")
async def list_jobs(request: Request, paging: Query[JobFilter]) -> Any:
    """Those of the caller's tenant, the newest first."""
    refuse_unknown(request.GET, list(JobFilter.model_fields))
    return await db(service.listed, service.of(request.auth.principal), paging)


@router.get("/jobs/{job_id}", response=JobObject, summary="Get a job")
async def get_job(request: Request, job_id: str) -> Any:
    """How far it is, when it is expected to end, and in `error` why it failed or waits."""
    return await db(service.got, service.of(request.auth.principal), job_id)


@router.post("/jobs/{job_id}/cancel", response=JobObject, summary="Cancel a job")
async def cancel_job(request: Request, job_id: str) -> Any:
    """At once where nobody has begun it, or else where it next tells how far it is."""
    return await db(service.cancelled, service.of(request.auth.principal), job_id)


@router.post("/jobs/{job_id}/retry", response=JobObject, summary="Try a job again")
async def retry_job(request: Request, job_id: str) -> Any:
    """One that has failed, was cancelled, or was set aside."""
    return await db(service.retried, service.of(request.auth.principal), job_id)


@router.get("/jobs/{job_id}/events", summary="Watch a job", openapi_extra=EVENTS)
async def watch_job(request: Request, job_id: str) -> Any:
    """Server-sent events until the job has ended. Whoever comes again with `Last-Event-ID` misses none."""
    after = service.number(request.headers.get(LAST, ""), LAST)

    headers = {name.lower(): value for name, value in request.headers.items()}
    happening: Any = service.events(lambda: service.of_key(headers), job_id, after, LAST)
    first = await anext(happening)  # so that an error keeps its status
    response = StreamingHttpResponse(_encoded(first, happening), content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


async def _encoded(first: service.Event, happening: Any) -> AsyncIterator[bytes]:
    async with aclosing(happening):
        try:
            yield _event(first)
            async for event in happening:
                yield _event(event)
        except StackError as error:
            yield sse.encode_error(error)


def _event(event: service.Event) -> bytes:
    """What happened has a number to resume at; how the job is has none. A comment where nothing has happened."""
    if event is None:
        return b": nothing new\n\n"
    if isinstance(event, JobEventObject):
        return b"id: %d\n" % event.number + sse.encode(sse.dump(event), event.kind)
    return sse.encode(sse.dump(event), "job")
