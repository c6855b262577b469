"""Files over HTTP: parse, call the service, shape the answer."""

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

import orjson
from django.http import HttpResponse, StreamingHttpResponse
from ninja import Query, Router

from apps.access.service import Request
from apps.files.form import sent_in
from apps.files.schemas import LONGEST, SHORTEST, DeletedFile, FileFilter, FileObject
from llamastack.bodies import refuse_unknown
from llamastack.errors import BadRequest, render
from llamastack.pagination import Page
from llamastack.stack import current

RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
router = Router(tags=["files"])

FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {
                            "type": "string",
                            "enum": ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"],
                        },
                        "expires_after": {
                            "type": "object",
                            "required": ["anchor", "seconds"],
                            "additionalProperties": False,
                            "properties": {
                                "anchor": {"type": "string", "enum": ["created_at"]},
                                "seconds": {"type": "integer", "minimum": SHORTEST, "maximum": LONGEST},
                            },
                        },
                    },
                },
                "encoding": {"expires_after": {"style": "deepObject", "explode": True}},
            }
        },
    }
}
CONTENT: dict[str, Any] = {
    "responses": {
        200: {
            "description": "The bytes",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        206: {"description": "The bytes that `Range` asks for"},
        416: {"description": "`Range` asks for none that there are"},
    }
}


@router.post("/files", response=FileObject, summary="Upload a file", openapi_extra=FORM)
async def upload_file(request: Request) -> Any:
    """A form with `file` and `purpose`, and optionally `expires_after[anchor]` and `expires_after[seconds]`."""
    return await current().files.upload(request.auth, sent_in(request))


@router.get("/files", response=Page[FileObject], summary="List files")
async def list_files(request: Request, paging: Query[FileFilter]) -> Any:
    """Those of the caller's tenant that have not expired, the newest first."""
    refuse_unknown(request.GET, list(FileFilter.model_fields))
    return await current().files.list(request.auth, paging)


@router.get("/files/{file_id}", response=FileObject, summary="Get a file")
async def get_file(request: Request, file_id: str) -> Any:
    """What is known of it: its name, purpose and size, and when it expires."""
    return await current().files.get(request.auth, file_id)


@router.delete("/files/{file_id}", response=DeletedFile, summary="Delete a file")
async def delete_file(request: Request, file_id: str) -> Any:
    """Gone for everybody at once, and then its bytes."""
    await current().files.delete(request.auth, file_id)
    return DeletedFile(id=file_id)


@router.get("/files/{file_id}/content", summary="Get a file's content", openapi_extra=CONTENT)
async def get_file_content(request: Request, file_id: str) -> Any:
    """Its bytes, or those that one `Range` asks for. Always an attachment: no browser takes it for a page of ours."""
    files = current().files
    file = await files.get(request.auth, file_id)
    # Content has no validator that If-Range could name, and then the answer is all of it (RFC 9110, section 13.1.5).
    part = "" if "If-Range" in request.headers else request.headers.get("Range", "")
    asked = within(part, file.bytes)
    start, end = asked or (0, file.bytes)
    if start >= end:
        return unsatisfiable(file.bytes)
    pieces = files.content(request.auth, file_id, start, end)
    first = await anext(pieces)  # so that an error keeps its status
    response = StreamingHttpResponse(
        resumed(first, pieces), status=206 if asked else 200, content_type="application/octet-stream"
    )
    response.headers["Content-Length"] = str(end - start)
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if asked:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.bytes}"
    return response


async def resumed(first: bytes, pieces: Any) -> AsyncIterator[bytes]:
    async with aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece


def within(header: str, size: int) -> tuple[int, int] | None:
    """Where the one range begins and ends that a Range header asks for. None: all (RFC 9110, section 14.2, lets
    a server leave out what it cannot read, and several ranges). One that lies outside is empty."""
    found = RANGE.fullmatch(header.strip())
    if found is None or found.group(0) == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def unsatisfiable(size: int) -> HttpResponse:
    error = BadRequest(f"The file has {size} bytes: Range asks for none of them.", code="range_not_satisfiable")
    body = orjson.dumps(render(error)[1])
    headers = {"Content-Range": f"bytes */{size}"}
    return HttpResponse(body, status=416, headers=headers, content_type="application/json")
