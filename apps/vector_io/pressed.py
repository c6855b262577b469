"""What the buttons of a store's page do: the same as the API, as whoever pressed them."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from pydantic import ValidationError

from apps.files.form import sent_in
from apps.registry.models import VectorStore
from apps.vector_io import attached
from apps.vector_io.models import VectorStoreFile
from apps.vector_io.schemas.stores import MOST_OF_BATCH, CreateFileBatch
from llamastack import stack
from llamastack.bodies import invalid
from llamastack.call import Call
from llamastack.errors import BadRequest, NotFound, StackError, render

FILE = "file_id"
ALL = "all"
WAITS_SECONDS = 60.0
Step = Callable[[HttpRequest, VectorStore, Call], str]


def upload(request: HttpRequest, call: Call) -> HttpResponse:
    """Keep a file that the page sends; it is attached by another request, together with others."""
    try:
        file = stack.run(lambda running: running.files.upload(call, sent_in(request)), timeout=None)
    except StackError as error:
        return refused(error)
    return JsonResponse(file.model_dump())


def attach(request: HttpRequest, store: VectorStore, call: Call) -> str:
    return _attached(store, call, {"file_ids": chosen(request)})


def detach(request: HttpRequest, store: VectorStore, call: Call) -> str:
    for file_id in chosen(request):
        stack.run(partial(_detached, store, call, file_id))
    return "The file is detached. It is still among the files."


def again(request: HttpRequest, store: VectorStore, call: Call) -> str:
    """Files that were not read, attached as they were before: one, or all whose content is still there."""
    rows = VectorStoreFile.objects.shown().filter(store=store, state__in=("failed", "cancelled"))
    if ALL not in request.POST:
        rows = rows.filter(file_id__in=chosen(request))
    found = list(rows.in_order("desc")[:MOST_OF_BATCH])
    if ALL in request.POST:
        kept = stack.run(lambda running: _there(running, call, found), WAITS_SECONDS)
        found = [row for row in found if row.file_id in kept]
    if not found:
        raise BadRequest("No file that has failed is still there.", code="nothing_to_try")
    return _attached(store, call, {"files": [attached.asked_before(row) for row in found]})


async def _detached(store: VectorStore, call: Call, file_id: str, running: stack.LlamaStack) -> None:
    await running.vector_io.detach(call, store.identifier, file_id)


async def _there(running: stack.LlamaStack, call: Call, rows: list[VectorStoreFile]) -> set[str]:
    kept = set()
    for row in rows:
        try:
            kept.add((await running.files.get(call, row.file_id)).id)
        except NotFound:
            continue
    return kept


def chosen(request: HttpRequest) -> list[str]:
    ids = [text for text in map(str.strip, request.POST.getlist(FILE)) if text]
    if not ids:
        raise BadRequest("Choose a file.", param=FILE)
    return ids


def _attached(store: VectorStore, call: Call, body: dict[str, Any]) -> str:
    try:
        wanted = CreateFileBatch.model_validate(body)
    except ValidationError as error:
        raise invalid(error.errors(), body) from error
    batch = stack.run(
        lambda running: running.vector_io.create_batch(call, store.identifier, wanted), timeout=WAITS_SECONDS
    )
    count = batch.file_counts.total
    return "The file is being read." if count == 1 else f"{count} files are being read."


def refused(error: StackError) -> HttpResponse:
    status, body = render(error)
    return JsonResponse(body, status=status)
