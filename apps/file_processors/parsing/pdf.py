"""PDFs, by pypdf or by pdfium. Images and scripts in them are left alone."""

import io
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

from apps.file_processors.parsing.outcomes import Reading, Refused, Task

FACTS = ("Title", "Author", "Subject", "Keywords")
LONGEST = 1000  # characters of a fact
PASSWORD = 4  # FPDF_ERR_PASSWORD of fpdfview.h


def by_pypdf(task: Task, content: bytes) -> Reading:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, LimitReachedError, PyPdfError

    try:
        reader = PdfReader(io.BytesIO(content), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Refused("encrypted")
        checked(task, len(reader.pages))
        texts = [page.extract_text() for page in reader.pages]
        told: Mapping[str, Any] = reader.metadata or {}
        facts = {fact.lower(): told.get(f"/{fact}") for fact in FACTS} if task.facts else {}
    except DependencyError as error:
        raise Refused("missing", "cryptography") from error
    except LimitReachedError as error:
        raise Refused("too_large", "it unpacks to more than may be read.") from error
    except PyPdfError as error:
        raise Refused("broken", f"{str(error) or type(error).__name__}.") from error
    return _reading(task, texts, facts)


def by_pdfium(task: Task, content: bytes) -> Reading:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(content)
        with closing(document):
            checked(task, len(document))
            texts = [_text(page) for page in document]
            told = document.get_metadata_dict() if task.facts else {}
            facts = {fact.lower(): told.get(fact) for fact in FACTS}
    except pypdfium2.PdfiumError as error:
        if pypdfium2.raw.FPDF_GetLastError() == PASSWORD:
            raise Refused("encrypted") from error
        raise Refused("broken", "it is no whole PDF.") from error
    return _reading(task, texts, facts)


def _text(page: Any) -> str:
    with closing(page), closing(page.get_textpage()) as text_page:
        text: str = text_page.get_text_range()
        return text


def checked(task: Task, pages: int) -> None:
    if not pages:
        raise Refused("empty")
    if pages > task.limits.pages:
        raise Refused("too_large", f"it has {pages} pages, and {task.limits.pages} may be read.")


def _reading(task: Task, texts: Iterable[str], facts: dict[str, Any]) -> Reading:
    pages: list[tuple[int | None, str]] = list(enumerate(texts, 1))
    told = {name: str(value)[:LONGEST] for name, value in facts.items() if value}
    return Reading(pages, {"page_count": len(pages), **told})
