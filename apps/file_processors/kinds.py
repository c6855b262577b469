"""Of what kind a document is: its first bytes say it where they do, else its name, else whoever sent it."""

import mimetypes

PDF = "application/pdf"
ZIP = "application/zip"
OLE = "application/x-ole-storage"
TEXT = "text/plain"
BINARY = "application/octet-stream"
CSV = "text/csv"
HTML = "text/html"
IPYNB = "application/x-ipynb+json"
EPUB = "application/epub+zip"
OFFICE = "application/vnd.openxmlformats-officedocument"
DOCX = f"{OFFICE}.wordprocessingml.document"
XLSX = f"{OFFICE}.spreadsheetml.sheet"
PPTX = f"{OFFICE}.presentationml.presentation"
WEB = (HTML, "application/xhtml+xml")
ENCRYPTED_OFFICE = "application/vnd.ms-office-encrypted"
SAMPLE = 8192

# What a kind's files begin with. https://www.rfc-editor.org/rfc/rfc8118 lets a PDF begin within its first 1024 bytes.
SIGNATURES = (
    (b"%PDF-", PDF),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\x7fELF", "application/x-executable"),
    (b"SQLite format 3\x00", "application/vnd.sqlite3"),
)
# What only such an archive holds, or begins with.
ARCHIVES = (
    (EPUB, ".epub", b"application/epub+zip"),
    (DOCX, ".docx", b"word/document"),
    (PPTX, ".pptx", b"ppt/presentation"),
    (XLSX, ".xlsx", b"xl/workbook"),
)
TEXTS = frozenset(
    f"application/{name}"
    for name in ("ecmascript", "javascript", "json", "jsonl", "sql", "toml", "x-ndjson", "x-sh", "x-tex", "xml", "yaml")
)
ENCRYPTED = "EncryptedPackage".encode(
    "utf-16-le"
)  # https://learn.microsoft.com/openspecs/office_file_formats/ms-offcrypto
# Names that mimetypes does not know everywhere, or has another kind for than documents mean.
ENDINGS = {
    ".csv": CSV,
    ".htm": HTML,
    ".html": HTML,
    ".ipynb": IPYNB,
    ".json": "application/json",
    ".log": TEXT,
    ".markdown": "text/markdown",
    ".md": "text/markdown",
    ".rst": "text/x-rst",
    ".ts": "text/typescript",
    ".tsv": "text/tab-separated-values",
    ".txt": TEXT,
    ".yaml": "text/yaml",
    ".yml": "text/yaml",
}


def kind_of(name: str, said: str | None, content: bytes) -> str:
    """The MIME type of a document. Its bytes go before its name, its name before what is `said` of it."""
    head = content[:1024].lstrip()
    for signature, kind in SIGNATURES:
        if head.startswith(signature):
            return _inside(kind, name, content)
    if b"%PDF-" in content[:1024]:
        return PDF
    return named(name) or plain(said) or (BINARY if b"\x00" in content[:SAMPLE] else TEXT)


def _inside(kind: str, name: str, content: bytes) -> str:
    """Of what kind an archive is: what its name says, if it holds that, or what it holds."""
    if kind == OLE:
        return ENCRYPTED_OFFICE if ENCRYPTED in content else OLE
    if kind != ZIP:
        return kind
    held = {ending: inside for inside, ending, needle in ARCHIVES if needle in content}
    ending = name[name.rfind(".") :].lower()
    torn = {end: inside for inside, end, _ in ARCHIVES}.get(ending, ZIP)
    return held.get(ending) or next(iter(held.values()), torn)


def named(name: str) -> str | None:
    ending = name[name.rfind(".") :].lower() if "." in name else ""
    return ENDINGS.get(ending) or mimetypes.types_map.get(ending)


def is_text(kind: str) -> bool:
    return kind.startswith("text/") or kind in TEXTS or kind.endswith(("+json", "+xml", "+yaml"))


def plain(said: str | None) -> str | None:
    """What somebody says, unless it says nothing: `text/plain; charset=utf-8` is `text/plain`."""
    kind = (said or "").partition(";")[0].strip().lower()
    return None if kind in ("", BINARY) or "/" not in kind else kind
