"""File processors over HTTP: parse, call the service, shape the answer."""

from typing import Any, cast

from django.core.handlers.asgi import ASGIRequest
from ninja import Router

from apps.access.service import Request
from apps.file_processors.form import DocumentForm
from apps.file_processors.schemas import ProcessedFile
from apps.file_processors.spool import spooled
from llamastack.stack import current
from llamastack.uploads import KEY, Upload

router = Router(tags=["file_processors"])

SIZES = {
    "type": "object",
    "properties": {
        "max_chunk_size_tokens": {"type": "integer", "minimum": 100, "maximum": 4096, "default": 800},
        "chunk_overlap_tokens": {"type": "integer", "minimum": 0, "default": 400},
    },
}
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "file_id": {"type": "string"},
                        "options": {"type": "object"},
                        "chunking_strategy": {
                            "type": "object",
                            "required": ["type"],
                            "properties": {"type": {"type": "string", "enum": ["auto", "static"]}, "static": SIZES},
                        },
                    },
                }
            }
        },
    }
}


@router.post(
    "/file-processors/process", response=ProcessedFile, summary="Process a file into chunks", openapi_extra=FORM
)
async def process_file(request: Request) -> Any:
    """A form with either `file` or `file_id`, and optionally `options` and `chunking_strategy`, both as JSON.

    Without a chunking strategy the whole document is one chunk.
    """
    upload: Upload = cast(ASGIRequest, request).scope[KEY]
    form = DocumentForm(request.headers.get("Content-Type", ""), upload.pieces())
    async with spooled(form.content()) as path:
        asked = form.asked()
        processors = current().file_processors
        if asked.file_id is not None:
            return await processors.process_stored(request.auth, asked.file_id, asked)
        return await processors.process(request.auth, form.filename or "", path, asked)
