"""What turns a document into text: a provider reads one, and the service finds the provider that does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from llamastack.call import Call


@dataclass(frozen=True)
class Document:
    """Bytes, or a file that holds them. `mime_type` is what somebody says of it: its bytes may tell another."""

    name: str
    content: bytes | Path = field(repr=False)
    mime_type: str | None = None


@dataclass(frozen=True)
class Page:
    """Text without NULs and lone surrogates, which no database holds. `number` counts from 1 where there are pages."""

    number: int | None
    text: str


@dataclass(frozen=True)
class Parsed:
    """`parser` is what has read it, of those that were tried. At least one page has text."""

    pages: tuple[Page, ...]
    parser: str
    mime_type: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ChunkTokens:
    """Tokens of a chunk, and how many of them the next one repeats."""

    size: int = 800
    overlap: int = 400


class FileProcessors(Protocol):
    """The service and its providers.

    A document that cannot be read raises a StackError of one of these codes, whose sentence can be shown to whoever
    owns it: `encrypted_document`, `empty_document`, `no_text` (as of a scan), `broken_document`, `document_too_large`
    (also what unpacks to too much, or takes too long), `unsupported_document`. Any other error is one of the server's.
    """

    async def parse(self, call: Call, document: Document, options: Mapping[str, Any] | None = None) -> Parsed:
        """`options` are the provider's own; one that it does not know raises UnsupportedParameter.

        Where the call is cancelled, so is the reading.
        """
        ...


class FileProcessor(FileProcessors, Protocol):
    """A provider."""

    @property
    def chunk_tokens(self) -> ChunkTokens:
        """How its documents are cut where nobody says how."""
        ...
