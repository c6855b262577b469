"""PDFs by pypdf, and by pdfium where it fails; plain text as it is."""

from apps.file_processors import kinds
from apps.file_processors.providers.inline.reading import TEXT, CleaningConfig, CleaningReader


class PypdfConfig(CleaningConfig):
    pass


class Pypdf(CleaningReader):
    config_class = PypdfConfig
    readable = "PDF and plain text can; inline::auto reads more."
    chains = {kinds.PDF: ("pypdf", "pypdfium2"), "text/*": (TEXT,)}
