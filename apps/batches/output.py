"""The two files that a batch writes: what has succeeded, and what has not, each in the order of the lines."""

from collections.abc import AsyncIterator
from typing import Literal

from django.db.models import Count

from apps.batches.models import WRITTEN, Batch, BatchAnswer
from apps.files.protocol import Files, NewFile
from apps.files.schemas import MOST_LISTED, ExpiresAfter, FileFilter, FileUpload
from llamastack.call import Call
from llamastack.db import db

PURPOSE: Literal["batch_output"] = "batch_output"  # clients can upload none
SUCCEEDED = {"output": True, "error": False}


async def written(files: Files, call: Call, batch: Batch, *, left: bool) -> dict[str, str | None]:
    """The ids of the files, by the fields of the batch; None where there is nothing to write.

    Those that are there already of a batch that was `left` while they were written are taken as they are.
    """
    former = await _former(files, call) if left else {}
    counts = await db(_counts, batch.id)
    return {
        f"{name}_file_id": await _written(files, call, batch, name, former, count) if count else None
        for name, count in counts.items()
    }


def _counts(batch_id: str) -> dict[str, int]:
    """How many lines each of the files has."""
    answers = BatchAnswer.objects.filter(batch=batch_id).values_list("succeeded")
    found = dict(answers.annotate(Count("pk")))
    return {name: found.get(succeeded, 0) for name, succeeded in SUCCEEDED.items()}


async def _written(files: Files, call: Call, batch: Batch, name: str, former: dict[str, str], count: int) -> str:
    filename = f"{batch.id}_{name}.jsonl"
    if filename in former:
        return former[filename]
    seconds = batch.output_seconds
    expiry = None if seconds is None else ExpiresAfter(anchor="created_at", seconds=seconds)
    described = FileUpload(filename=filename, purpose=PURPOSE, expires_after=expiry)
    file = await files.upload(call, NewFile(_content(batch.id, SUCCEEDED[name], count), lambda: described))
    return file.id


async def _former(files: Files, call: Call) -> dict[str, str]:
    """The ids of the files that batches have written, by their names."""
    page = await files.list(call, FileFilter(purpose=PURPOSE, limit=MOST_LISTED))
    return {file.filename: file.id for file in page.data}


async def _content(batch_id: str, succeeded: bool, count: int) -> AsyncIterator[bytes]:
    last = 0
    while count > 0 and (rows := await db(_page, batch_id, succeeded, last)):
        last = rows[-1][0]
        count -= len(rows)
        yield b"".join(text.encode() + b"\n" for _, text in rows)


def _page(batch_id: str, succeeded: bool, last: int) -> list[tuple[int, str]]:
    rows = BatchAnswer.objects.filter(batch=batch_id, succeeded=succeeded, line__gt=last).order_by("line")
    return list(rows.values_list("line", "text")[:WRITTEN])
