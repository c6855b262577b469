"""Office documents, web pages and tables by markitdown; plain text as it is."""

from apps.file_processors import kinds
from apps.file_processors.providers.inline.reading import TEXT, Reader, ReadingConfig


class MarkitdownConfig(ReadingConfig):
    pass


class Markitdown(Reader):
    config_class = MarkitdownConfig
    readable = "docx, xlsx, pptx, epub, HTML, CSV, notebooks and plain text can; inline::auto reads PDF too."
    chains = {
        **dict.fromkeys((kinds.DOCX, kinds.PPTX, kinds.EPUB, kinds.CSV, kinds.IPYNB, *kinds.WEB), ("markitdown",)),
        kinds.XLSX: ("markitdown", "openpyxl"),
        "text/*": (TEXT,),
    }
