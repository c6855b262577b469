"""The parsers by their names: what runs in the process that reads a document."""

from collections.abc import Callable, Mapping

from apps.file_processors.parsing import office, pdf
from apps.file_processors.parsing.outcomes import Reading, Refused, Task
from apps.file_processors.parsing.text import held
from apps.file_processors.parsing.tidy import tidied

READERS: Mapping[str, Callable[[Task, bytes], Reading]] = {
    "pypdf": pdf.by_pypdf,
    "pypdfium2": pdf.by_pdfium,
    "markitdown": office.by_markitdown,
    "openpyxl": office.by_openpyxl,
}
# What each imports, so that it has been imported before a document comes.
PACKAGES = {
    "pypdf": ("pypdf",),
    "pypdfium2": ("pypdfium2",),
    "markitdown": ("markitdown",),
    "openpyxl": ("openpyxl", "defusedxml"),
}


def read(task: Task, content: bytes) -> Reading:
    """Raises Refused, and nothing else where it can say why."""
    try:
        found = READERS[task.parser](task, content)
        clean = tidied if task.clean else held
        pages = [(number, clean(text)) for number, text in found.pages]
    except MemoryError:
        raise Refused("exhausted", f"reading it takes more than {task.limits.memory_bytes >> 20} MiB.") from None
    except RecursionError:
        raise Refused("too_large", "it is nested too deep.") from None
    except ImportError as error:
        raise Refused("missing", error.name or "") from error
    if sum(len(text) for _, text in pages) > task.limits.text_bytes:
        raise Refused("too_large", "it holds more text than may be read.")
    if not any(text.strip() for _, text in pages):
        raise Refused("no_text")
    return Reading(pages, {name: held(v) if isinstance(v, str) else v for name, v in found.metadata.items()})
