"""Documents of every kind that can be read here, each by the parser that makes the most of it."""

from apps.file_processors import kinds
from apps.file_processors.providers.inline.reading import TEXT, CleaningConfig, CleaningReader


class AutoConfig(CleaningConfig):
    pass


class Auto(CleaningReader):
    config_class = AutoConfig
    readable = "PDF, docx, xlsx, pptx, epub, HTML, notebooks and plain text can."
    chains = {
        kinds.PDF: ("pypdfium2", "pypdf"),
        kinds.DOCX: ("markitdown",),
        kinds.XLSX: ("openpyxl", "markitdown"),
        kinds.PPTX: ("markitdown",),
        kinds.EPUB: ("markitdown",),
        kinds.IPYNB: ("markitdown",),
        **dict.fromkeys(kinds.WEB, ("markitdown",)),
        "text/*": (TEXT,),
    }
