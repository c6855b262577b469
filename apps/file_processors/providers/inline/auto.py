"""Documents of every kind that can be read here, each by the parser for its kind."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from apps.file_processors import refusals
from apps.file_processors.kinds import BINARY, kind_of
from apps.file_processors.parsing.text import NoText, decoded
from apps.file_processors.protocol import Document, Page, Parsed
from llamastack.call import Call
from llamastack.errors import UnsupportedParameter
from llamastack.providers import Provider, ProviderConfig

READABLE = "Plain text can."


class AutoConfig(ProviderConfig):
    max_file_bytes: int = Field(64 * 1024 * 1024, ge=1, description="The largest document that is read.")

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"max_file_bytes": 64 * 1024 * 1024}


class Auto(Provider):
    """Satisfies `FileProcessors`."""

    config_class = AutoConfig

    async def parse(self, call: Call, document: Document, options: Mapping[str, Any] | None = None) -> Parsed:
        for name in options or {}:
            raise UnsupportedParameter(f"options.{name}", "This file processor")
        return await asyncio.to_thread(self._text, document)

    def _text(self, document: Document) -> Parsed:
        content = read(document, self.config.max_file_bytes)
        kind = kind_of(document.name, document.mime_type, content)
        try:
            text, encoding = decoded(content)
        except NoText as error:
            raise refusals.unsupported(document.name, kind, READABLE) from error
        if kind == BINARY:
            raise refusals.unsupported(document.name, kind, READABLE)
        if not text.strip():
            raise refusals.empty(document.name)
        return Parsed((Page(None, text),), "text", kind, {"encoding": encoding})


def read(document: Document, most: int) -> bytes:
    """A document's bytes, of which there are some, and not too many."""
    size = document.content.stat().st_size if isinstance(document.content, Path) else len(document.content)
    if not size:
        raise refusals.empty(document.name)
    if size > most:
        raise refusals.too_large(document.name, f"it has {size} bytes, and {most} may be read.")
    return document.content.read_bytes() if isinstance(document.content, Path) else document.content
