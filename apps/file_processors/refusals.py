"""Why a document is not read, each in a sentence for whoever owns it."""

from pathlib import Path

from apps.file_processors.protocol import Document
from llamastack.errors import BadRequest, TooLarge

SHOWN = 100
FILE = "file"


def encrypted(name: str) -> BadRequest:
    return BadRequest(
        f"{quoted(name)} is encrypted. Remove its password and send it again.", param=FILE, code="encrypted_document"
    )


def empty(name: str) -> BadRequest:
    return BadRequest(f"{quoted(name)} is empty.", param=FILE, code="empty_document")


def no_text(name: str) -> BadRequest:
    return BadRequest(
        f"{quoted(name)} holds no text, as a scan that has not been through OCR. Recognise its text and send it again.",
        param=FILE,
        code="no_text",
    )


def broken(name: str, why: str) -> BadRequest:
    return BadRequest(
        f"{quoted(name)} cannot be read: {why} Save it anew and send it again.", param=FILE, code="broken_document"
    )


def too_large(name: str, why: str) -> TooLarge:
    return TooLarge(f"{quoted(name)} is too large to be read: {why}", param=FILE, code="document_too_large")


def unsupported(name: str, kind: str, readable: str) -> BadRequest:
    return BadRequest(
        f"{quoted(name)} is of type {kind}, which cannot be read here. {readable}",
        param=FILE,
        code="unsupported_document",
    )


def quoted(name: str) -> str:
    return f"'{name[:SHOWN]}'"


def read(document: Document, most: int) -> bytes:
    """A document's bytes, of which there are some, and not too many."""
    content = document.content
    size = content.stat().st_size if isinstance(content, Path) else len(content)
    if not size:
        raise empty(document.name)
    if size > most:
        raise too_large(document.name, f"it has {size} bytes, and {most} may be read.")
    return content.read_bytes() if isinstance(content, Path) else content
