"""What the inline file processors share: documents go to parsers one after the other, until one has read them."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

from pydantic import Field

from apps.file_processors import kinds, refusals
from apps.file_processors.parsing.outcomes import Limits, Refused, Task
from apps.file_processors.parsing.readers import PACKAGES
from apps.file_processors.parsing.text import NoText, decoded, held
from apps.file_processors.protocol import Document, Page, Parsed
from apps.file_processors.providers.chunks import ChunksConfig
from apps.file_processors.sandbox import Sandbox
from llamastack.call import Call
from llamastack.errors import StackError, Unavailable, UnsupportedParameter
from llamastack.providers import Health, Provider

TEXT = "text"
FINAL = ("encrypted", "empty", "too_large")  # no other parser would make more of it
INSTALL = "pip install -r requirements/documents.txt"
MEBIBYTE = 1 << 20


class ReadingConfig(ChunksConfig):
    max_file_bytes: int = Field(64 * MEBIBYTE, ge=1, description="The largest document that is read.")
    max_pages: int = Field(5000, ge=1, description="The most pages that a document may have.")
    max_text_bytes: int = Field(32 * MEBIBYTE, ge=1, description="The most text that is taken from a document.")
    max_memory_bytes: int = Field(
        1024 * MEBIBYTE, ge=512 * MEBIBYTE, description="The memory that the process may take that reads a document."
    )
    max_cpu_seconds: int = Field(60, ge=1, description="How long that process may calculate.")
    timeout_seconds: float = Field(120, gt=0, description="After which it is killed, whatever it does.")
    documents_at_once: int | None = Field(
        None, ge=1, le=64, description="Documents that are read at once. By default one for every two processors."
    )

    @property
    def limits(self) -> Limits:
        return Limits(
            pages=self.max_pages,
            text_bytes=self.max_text_bytes,
            memory_bytes=self.max_memory_bytes,
            cpu_seconds=self.max_cpu_seconds,
            seconds=self.timeout_seconds,
        )


class CleaningConfig(ReadingConfig):
    extract_metadata: bool = Field(True, description="Tell a document's title, author, subject and keywords.")
    clean_text: bool = Field(
        True, description="Join words that a line's end has cut, and replace ligatures by their letters."
    )


class Reader(Provider):
    """Satisfies `FileProcessor`. `chains` are the parsers for a kind of document, in the order they are tried in."""

    chains: ClassVar[Mapping[str, Sequence[str]]] = {}
    readable = ""

    def __init__(self, provider_id: str, config: ReadingConfig) -> None:
        super().__init__(provider_id, config)
        self.sandbox = Sandbox(config.documents_at_once or max(1, (os.cpu_count() or 2) // 2))
        self.chunk_tokens = config.chunk_tokens

    async def stop(self) -> None:
        await self.sandbox.stop()

    async def health(self) -> Health:
        """Its parsers' packages, and, once its process has started, what that cannot give up here."""
        parsers = {parser for chain in self.chains.values() for parser in chain if parser != TEXT}
        packages = sorted({package for parser in parsers for package in PACKAGES[parser]})
        told = [f"Package '{package}' is missing: {INSTALL}." for package in packages if find_spec(package) is None]
        told += self._unsealed()
        return Health(True, " ".join(told))

    def _unsealed(self) -> list[str]:
        told = self.sandbox.told
        if told is None:
            return []
        lacks = [
            "a network namespace" if not told.no_network else "",
            "a filter of system calls (seccomp)" if not told.no_powers else "",
            "rules for files (Landlock)" if not told.no_files else "",
        ]
        named = " and no ".join(filter(None, lacks))
        return [f"This system gives no {named} to the processes that read documents."] if named else []

    async def parse(self, call: Call, document: Document, options: Mapping[str, Any] | None = None) -> Parsed:
        for name in options or {}:
            raise UnsupportedParameter(f"options.{name}", f"Provider '{self.provider_id}'")
        content = await asyncio.to_thread(refusals.read, document, self.config.max_file_bytes)
        kind = kinds.kind_of(document.name, document.mime_type, content)
        if kind == kinds.ENCRYPTED_OFFICE:
            raise refusals.encrypted(document.name)
        chain = self._chain(kind)
        if not chain:
            raise refusals.unsupported(document.name, kind, self.readable)
        if chain[0] == TEXT:
            return await asyncio.to_thread(self._as_text, document.name, kind, content)
        return await self._by_chain(chain, document.name, kind, content)

    def _chain(self, kind: str) -> Sequence[str]:
        """A kind of text that has no line of its own is read as `text/*` is."""
        found = self.chains.get(kind)
        return self.chains.get("text/*", ()) if found is None and kinds.is_text(kind) else found or ()

    def _as_text(self, name: str, kind: str, content: bytes) -> Parsed:
        try:
            text, encoding = decoded(content)
        except NoText as error:
            raise refusals.unsupported(name, kinds.BINARY, self.readable) from error
        if not text.strip():
            raise refusals.empty(name)
        if len(text) > self.config.max_text_bytes:
            raise refusals.too_large(name, "it holds more text than may be read.")
        return Parsed((Page(None, text),), TEXT, kind, {"encoding": encoding})

    async def _by_chain(self, chain: Sequence[str], name: str, kind: str, content: bytes) -> Parsed:
        """By the first parser that finds text. Where none does, the first one's reason is told."""
        refused: Refused | None = None
        for parser in chain:
            task = self._task(parser, name, kind, len(content))
            try:
                answer = await self.sandbox.read(task, content)
            except Refused as error:
                refused = error if refused is None or refused.reason == "missing" else refused
                if error.reason in FINAL:
                    raise refusal(name, error) from error
                continue
            pages = tuple(Page(number, held(text)) for number, text in answer.pages)
            return Parsed(pages, parser, kind, answer.metadata)
        assert refused is not None
        raise refusal(name, refused)

    def _task(self, parser: str, name: str, kind: str, size: int) -> Task:
        return Task(parser, name, kind, size, limits=self.config.limits)


class CleaningReader(Reader):
    """One whose configuration says what is done to the text."""

    config_class = CleaningConfig

    def _task(self, parser: str, name: str, kind: str, size: int) -> Task:
        clean, facts = self.config.clean_text, self.config.extract_metadata
        return Task(parser, name, kind, size, clean, facts, self.config.limits)


def refusal(name: str, refused: Refused) -> StackError:
    """What the owner of a document is told."""
    match refused.reason:
        case "encrypted":
            return refusals.encrypted(name)
        case "empty":
            return refusals.empty(name)
        case "no_text":
            return refusals.no_text(name)
        case "too_large" | "exhausted":
            return refusals.too_large(name, refused.why)
        case "missing":
            return Unavailable(f"Package '{refused.why}' is missing, which reads such documents: {INSTALL}")
        case "broken":
            return refusals.broken(name, refused.why)
