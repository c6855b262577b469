"""Documents become text: which provider reads them, and how what it finds is cut into chunks."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from apps.file_processors.chunking import Rough, TextChunk, chunk, chunk_id
from apps.file_processors.protocol import ChunkTokens, Document, FileProcessor, Parsed
from apps.file_processors.providers import PROVIDERS
from apps.file_processors.schemas import Chunk, ChunkMetadata, ProcessedFile, ProcessFile
from apps.file_processors.spool import spooled
from apps.files.protocol import Files
from apps.registry.live import Live
from llamastack.apis import Api
from llamastack.call import Call
from llamastack.errors import Unavailable
from llamastack.providers import load
from llamastack.snapshot import ProviderRecord

OWN = "inline::auto"
COUNTED = Rough()


class FileProcessorsService:
    """Satisfies `FileProcessors`."""

    def __init__(self, live: Live, files: Files) -> None:
        self.live = live
        self.files = files
        kind = load(PROVIDERS[OWN])
        self._own: Any = kind(OWN, kind.config_class())

    async def stop(self) -> None:
        await self._own.stop()

    async def parse(self, call: Call, document: Document, options: Mapping[str, Any] | None = None) -> Parsed:
        async with self._processor(call) as (_, processor):
            return await processor.parse(call, document, options)

    async def process_stored(self, call: Call, file_id: str, asked: ProcessFile) -> ProcessedFile:
        """The chunks of a file that has been uploaded before. Raises NotFound where the caller may not see it."""
        file = await self.files.get(call, file_id)
        async with spooled(self.files.content(call, file_id)) as path:
            return await self.process(call, file.filename, path, asked)

    async def process(self, call: Call, name: str, path: Path, asked: ProcessFile) -> ProcessedFile:
        """The chunks of a document, in their order. The same document has the same ones each time."""
        began = time.monotonic()
        async with self._processor(call) as (provider_id, processor):
            parsed = await processor.parse(call, Document(name, path), asked.options)
            tokens = processor.chunk_tokens
        told: dict[str, Any] = {
            **parsed.metadata,
            "processor": provider_id,
            "extraction_method": parsed.parser,
            "mime_type": parsed.mime_type,
            "file_size_bytes": (await asyncio.to_thread(path.stat)).st_size,
        }
        chunks = await asyncio.to_thread(_chunks, name, path, parsed, asked, tokens)
        told["processing_time_ms"] = round((time.monotonic() - began) * 1000)
        return ProcessedFile(chunks=chunks, metadata=told)

    @asynccontextmanager
    async def _processor(self, call: Call) -> AsyncIterator[tuple[str, FileProcessor]]:
        """The tenant's own before a shared one, the one that was first. A run.yaml of 0.3.5 lists none, and its vector
        stores read documents all the same: so do ours then."""
        tenant = call.principal.tenant
        records = [record for record in self.live.snapshot.providers_of(tenant) if record.api == Api.file_processors]
        if not records:
            yield OWN, self._own
            return
        usable = [record for record in records if record.unavailable is None]
        if not usable:
            raise Unavailable(_none_usable(records))
        chosen = min(usable, key=lambda record: (record.tenant != tenant, record.key))
        async with self.live.pool.use(chosen) as found:
            yield chosen.provider_id, found


def _none_usable(records: list[ProviderRecord]) -> str:
    first = records[0]
    return f"No provider reads documents here now. '{first.provider_id}' is unavailable: {first.unavailable}"


def _chunks(name: str, path: Path, parsed: Parsed, asked: ProcessFile, tokens: ChunkTokens) -> list[Chunk]:
    document_id = asked.file_id or f"doc_{_digest(path)[:32]}"
    if asked.chunking_strategy is None:
        text = "\n\n".join(page.text for page in parsed.pages if page.text).strip()
        found = [TextChunk(text, None, 0, len(COUNTED.spans(text)))]
    else:
        found = chunk(parsed.pages, asked.chunking_strategy.strategy(tokens), COUNTED)
    told = {"document_id": document_id, "filename": name, **({"file_id": asked.file_id} if asked.file_id else {})}
    now = int(time.time())
    return [_shown(piece, document_id, told, now) for piece in found]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shown(piece: TextChunk, document_id: str, told: Mapping[str, Any], now: int) -> Chunk:
    identifier = chunk_id(document_id, piece)
    return Chunk(
        content=piece.text,
        chunk_id=identifier,
        metadata={**told, **({} if piece.page is None else {"page_number": piece.page})},
        chunk_metadata=ChunkMetadata(
            chunk_id=identifier,
            document_id=document_id,
            source=told["filename"],
            created_timestamp=now,
            updated_timestamp=now,
            chunk_window=f"{piece.start}-{piece.start + len(piece.text)}",
            chunk_tokenizer=COUNTED.name,
            content_token_count=piece.tokens,
        ),
    )
