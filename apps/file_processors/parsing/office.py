"""Office documents, web pages and tables become markdown: by markitdown's converters, or openpyxl for a workbook."""

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

from apps.file_processors import kinds
from apps.file_processors.parsing import archives
from apps.file_processors.parsing.outcomes import Reading, Refused, Task
from apps.file_processors.parsing.text import NoText, decoded, held

SLIDE = re.compile(r"<!-- Slide number: (\d+) -->\n?")
PICTURE = re.compile(r"!\[([^\]]*)\]\([^)\n]*\)")
NAMED_BY_MACHINE = re.compile(
    r"(?:Picture|Image|Graphic|Bild|Grafik) ?\d*|.*\.(?:png|jpe?g|gif|emf|wmf|svg)", re.IGNORECASE
)
NO_VALUE = re.compile(r"(?<=\| )(?:NaN|NaT|Unnamed: \d+)(?= \|)")
# https://html.spec.whatwg.org/multipage/parsing.html#prescan-a-byte-stream-to-determine-its-encoding
CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
SAID = 1024
ZIPPED = (kinds.DOCX, kinds.XLSX, kinds.PPTX, kinds.EPUB)


def by_markitdown(task: Task, content: bytes) -> Reading:
    """Slides are pages of their numbers; anything else is one page."""
    from markitdown import StreamInfo, converters

    converter = {
        kinds.DOCX: converters.DocxConverter,
        kinds.XLSX: converters.XlsxConverter,
        kinds.PPTX: converters.PptxConverter,
        kinds.EPUB: converters.EpubConverter,
        kinds.CSV: converters.CsvConverter,
        kinds.IPYNB: converters.IpynbConverter,
    }.get(task.kind, converters.HtmlConverter if task.kind in kinds.WEB else converters.PlainTextConverter)
    if task.kind in ZIPPED:
        archives.check(task, content)
    else:
        content = _in_utf8(content, task.kind in kinds.WEB)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = converter().convert(io.BytesIO(content), StreamInfo(mimetype=task.kind, charset="utf-8"))
        except (KeyError, ValueError, TypeError, AttributeError, IndexError, zipfile.BadZipFile) as error:
            raise Refused("broken", f"its parts do not fit together ({type(error).__name__}).") from error
    facts = {"title": str(found.title)[:1000]} if task.facts and found.title else {}
    return Reading(list(_pages(task, found.markdown)), facts)


def _in_utf8(content: bytes, page: bool) -> bytes:
    """A web page may say itself which encoding it is in."""
    said = CHARSET.search(content[:SAID]) if page else None
    if said is not None and content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return held(content.decode(said[1].decode(), "replace")).encode()
        except (LookupError, UnicodeError):
            pass  # a name of no encoding of text
    try:
        return decoded(content)[0].encode()
    except NoText as error:
        raise Refused("broken", str(error)) from error


def _pages(task: Task, markdown: str) -> Iterator[tuple[int | None, str]]:
    text = PICTURE.sub(_described, markdown)
    if task.kind == kinds.XLSX:
        text = NO_VALUE.sub("", text)
    if task.kind != kinds.PPTX:
        yield None, text
        return
    parts = SLIDE.split(text)[1:]
    for number, slide in zip(parts[::2], parts[1::2], strict=True):
        yield int(number), slide


def _described(found: re.Match[str]) -> str:
    """A picture's own words for itself, unless they are none of a human."""
    return "" if NAMED_BY_MACHINE.fullmatch(found[1].strip()) else found[1]


def by_openpyxl(task: Task, content: bytes) -> Reading:
    """Each sheet a table with its name above it, and a page of its number. Values, not formulas."""
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    archives.check(task, content)
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    except (KeyError, ValueError, TypeError, InvalidFileException, zipfile.BadZipFile) as error:
        raise Refused("broken", f"its parts do not fit together ({type(error).__name__}).") from error
    left = task.limits.text_bytes
    pages: list[tuple[int | None, str]] = []
    for number, sheet in enumerate(book.worksheets, 1):
        table = _table(sheet, left)
        left -= len(table)
        pages.append((number, f"## {sheet.title}\n\n{table}" if table else ""))
    return Reading(pages, {"sheet_count": len(pages)})


def _table(sheet: Any, most: int) -> str:
    """Rows and columns that are empty are left out."""
    sheet.reset_dimensions()  # what the file says of its size may be any
    rows: list[dict[int, str]] = []
    for row in sheet.iter_rows(values_only=True):
        cells = {place: _cell(value) for place, value in enumerate(row) if value is not None and str(value).strip()}
        most -= sum(len(cell) + 3 for cell in cells.values())
        if most < 0:
            raise Refused("too_large", "its sheets hold more text than may be read.")
        if cells:
            rows.append(cells)
    used = sorted({place for cells in rows for place in cells})
    lines = ["| " + " | ".join(cells.get(place, "") for place in used) + " |" for cells in rows]
    if lines:
        lines.insert(1, "|" + " --- |" * len(used))
    return "\n".join(lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
