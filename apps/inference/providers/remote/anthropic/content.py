"""Content parts of OpenAI's as content blocks of Anthropic's.

Format: https://platform.claude.com/docs/en/api/messages (vision, pdf-support).
"""

import base64
from collections.abc import Iterable
from typing import Any

from apps.inference.providers.unsupported import JSON, NOTHING, Lacks
from apps.inference.schemas import ImagePart, TextPart
from llamastack.errors import BadRequest

IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
PDF = "application/pdf"
TEXT = "text/plain"
MARKS = ("cache_control",)
DOCUMENT = ("cache_control", "citations", "context")


def text(words: str) -> JSON:
    return {"type": "text", "text": words}


def blocks(content: str | Iterable[Any] | None, where: str, lacks: Lacks) -> list[JSON]:
    """Texts of white space alone are left out: Anthropic refuses them, and they say nothing."""
    if content is None:
        return []
    if isinstance(content, str):
        return [text(content)] if content and not content.isspace() else []
    made = (block(part, f"{where}.content[{place}]", lacks) for place, part in enumerate(content))
    return [one for one in made if one is not None]


def block(part: Any, where: str, lacks: Lacks) -> JSON | None:
    """One part; None of what says nothing, or cannot be said."""
    extra = part.model_extra or {}
    if isinstance(part, TextPart):
        marks = lacks.taken(extra, MARKS, f"{where}.")
        return text(part.text) | marks if part.text and not part.text.isspace() else None
    if isinstance(part, ImagePart):
        return _image(part, where, lacks) | lacks.taken(extra, MARKS, f"{where}.")
    if part.type == "file":
        return _file(extra, where, lacks)
    if part.type == "refusal":
        refusal = extra.get("refusal")
        return text(refusal) if isinstance(refusal, str) and refusal.strip() else None
    lacks.note(f"{where}.{part.type}")
    return None


def _image(part: ImagePart, where: str, lacks: Lacks) -> JSON:
    """Claude sees every image as large as it can, whatever `detail` would have spared it."""
    lacks.taken(part.image_url.model_extra, (), f"{where}.image_url.")
    return {"type": "image", "source": _image_source(part.image_url.url, f"{where}.image_url.url")}


def _image_source(url: str, where: str) -> JSON:
    if url.startswith(("http://", "https://")):
        return {"type": "url", "url": url}
    media_type, data = _data(url, where)
    if media_type not in IMAGES:
        raise BadRequest(
            f"'{where}' is of a type that Claude does not see: send one of {', '.join(IMAGES)}.", param=where
        )
    return {"type": "base64", "media_type": media_type, "data": data}


def _file(extra: JSON, where: str, lacks: Lacks) -> JSON | None:
    """A document: a PDF by its address or its bytes, or plain text."""
    name, file = f"{where}.file", extra.get("file")
    if not isinstance(file, dict):
        raise BadRequest(f"'{name}' is missing: it is an object with 'file_data'.", param=name)
    lacks.taken(file, ("file_data", "filename", "file_id"), f"{name}.")
    if not isinstance(file.get("file_data"), str):
        lacks.note(f"{name}.file_id", "Send the file itself, as 'file_data'.")
        return None
    title = {"title": file["filename"]} if file.get("filename") not in NOTHING else {}
    marks = lacks.taken({key: value for key, value in extra.items() if key != "file"}, DOCUMENT, f"{where}.")
    return {"type": "document", "source": _document_source(file["file_data"], f"{name}.file_data")} | title | marks


def _document_source(address: str, where: str) -> JSON:
    if address.startswith(("http://", "https://")):
        return {"type": "url", "url": address}
    media_type, data = _data(address, where)
    if media_type == TEXT:
        return {"type": "text", "media_type": TEXT, "data": _decoded(data, where)}
    if media_type != PDF:
        raise BadRequest(f"'{where}' is of a type that Claude does not read: send {PDF} or {TEXT}.", param=where)
    return {"type": "base64", "media_type": PDF, "data": data}


def _decoded(data: str, where: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError as error:
        raise BadRequest(f"'{where}' is no text in UTF-8 that is encoded as base64.", param=where) from error


def _data(url: str, where: str) -> tuple[str, str]:
    """The media type and the base64 of a data URL (RFC 2397)."""
    head, comma, data = url.partition(",")
    words = head.lower().split(";")
    if not comma or not words[0].startswith("data:") or words[-1] != "base64":
        raise BadRequest(
            f"'{where}' is neither an address (https://…) nor the thing itself (data:image/png;base64,…).", param=where
        )
    return words[0].removeprefix("data:"), data
