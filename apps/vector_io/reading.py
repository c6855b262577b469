"""A file becomes chunks with their vectors. Nothing is kept here: the same file gives the same chunks, whenever."""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from apps.file_processors.chunking import Strategy, TextChunk, Tokenizer, chunk_id, chunked
from apps.file_processors.protocol import Document, Page, Parsed
from apps.registry.models import VectorStore
from apps.vector_io import embedding
from apps.vector_io.batching import Batching
from apps.vector_io.contexts import MOST_TOKENS as MOST_CONTEXT
from apps.vector_io.contexts import contexts, joined
from apps.vector_io.models import VectorStoreFile
from apps.vector_io.protocol import Chunk
from apps.vector_io.schemas.base import Auto, ChunkingStrategy, Contextual, ContextualSizes, Static
from llamastack.call import Call
from llamastack.errors import BadRequest, TooLarge
from llamastack.snapshot import Snapshot
from llamastack.stack import LlamaStack

MOST_CHUNKS = 50_000  # of one file
SMALLER = 0.75
SAYS = "chunking_strategy.contextual.model_id"
STRATEGY: TypeAdapter[ChunkingStrategy] = TypeAdapter(ChunkingStrategy)


@dataclass(frozen=True)
class Read:
    """A file's chunks, and what its row says of them."""

    chunks: list[Chunk]
    fields: dict[str, Any]


@dataclass(frozen=True)
class Reader:
    """Reads the files of one store. `most` is how many tokens its embedding model reads, where that is known."""

    stack: LlamaStack
    call: Call
    store: VectorStore
    tokenizer: Tokenizer
    most: int | None
    batching: Batching

    async def read(self, row: VectorStoreFile) -> Read:
        """Raises StackErrors, of which those of documents tell whoever owns the file what is wrong with it."""
        parsed = await self._parsed(row)
        asked = STRATEGY.validate_python(row.chunking_strategy)
        sizes = self._sizes(asked)
        pieces = await asyncio.to_thread(self._pieces, parsed.pages, sizes)
        if isinstance(asked, Contextual):
            said = await self._contexts(asked.contextual, parsed, pieces)
            texts = [
                joined(context, piece, self.tokenizer, self.most) for context, piece in zip(said, pieces, strict=True)
            ]
        else:
            said, texts = [""] * len(pieces), [piece.text for piece in pieces]
        vectors = await self.batching.vectors(texts)
        chunks = [
            Chunk(
                chunk_id(row.file_id, piece),
                piece.text,
                file_id=row.id,
                filename=row.filename,
                page=piece.page,
                position=place,
                attributes=row.attributes,
                metadata=self._metadata(row, piece, context),
                embedding=vector,
            )
            for place, (piece, context, vector) in enumerate(zip(pieces, said, vectors, strict=True))
        ]
        size = sum(len(piece.text.encode()) for piece in pieces) + 4 * self.store.embedding_dimension * len(chunks)
        return Read(
            chunks,
            {"chunked": shown(asked, sizes), "usage_bytes": size, "chunks": len(chunks), "parser": parsed.parser[:64]},
        )

    async def _parsed(self, row: VectorStoreFile) -> Parsed:
        content = self.stack.files.content(self.call, row.file_id)
        with tempfile.TemporaryDirectory(prefix="llamastack-") as folder:
            path = Path(folder) / "content"
            file = await asyncio.to_thread(path.open, "wb")
            try:
                async with aclosing(content) as pieces:  # type: ignore[type-var]  # an async generator, which its protocol does not say
                    async for piece in pieces:
                        await asyncio.to_thread(file.write, piece)
            finally:
                await asyncio.to_thread(file.close)
            return await self.stack.file_processors.parse(self.call, Document(row.filename, path))

    def _sizes(self, asked: ChunkingStrategy) -> Strategy:
        wanted = asked.sizes()
        if isinstance(asked, Static) and self.most is not None and wanted.size > self.most:
            raise BadRequest(too_long(self.store.embedding_model, self.most), code="invalid_chunking_strategy")
        most = self.most
        if isinstance(asked, Contextual) and most is not None:
            most = max(most // 2, most - MOST_CONTEXT)
        return embedding.fitted(wanted, most)

    def _pieces(self, pages: Sequence[Page], sizes: Strategy) -> list[TextChunk]:
        """The chunks, none of which has more tokens than the model reads: one that begins in the midst of a word may
        have other tokens by itself than it had there."""
        pieces = pieces_of(pages, sizes, self.tokenizer)
        while self.most is not None and any(len(self.tokenizer.spans(piece.text)) > self.most for piece in pieces):
            size = max(1, int(sizes.size * SMALLER))
            sizes = Strategy(size, min(sizes.overlap, size // 2))
            pieces = pieces_of(pages, sizes, self.tokenizer)
        return pieces

    async def _contexts(self, sizes: ContextualSizes, parsed: Parsed, pieces: Sequence[TextChunk]) -> list[str]:
        model = chat_model(self.stack.live.snapshot, self.call, sizes)
        text = "\n\n".join(page.text for page in parsed.pages)
        return await contexts(self.stack.inference, self.call, model, sizes, text, pieces)

    def _metadata(self, row: VectorStoreFile, piece: TextChunk, context: str) -> dict[str, Any]:
        known = {"file_id": row.file_id, "start": piece.start, "tokens": piece.tokens, "tokenizer": self.tokenizer.name}
        return known | ({"context": context} if context else {})


def pieces_of(pages: Sequence[Page], sizes: Strategy, tokenizer: Tokenizer) -> list[TextChunk]:
    """Raises TooLarge, as soon as it is known, for more chunks than a file may have."""
    pieces = list(islice(chunked(pages, sizes, tokenizer), MOST_CHUNKS + 1))
    if len(pieces) > MOST_CHUNKS:
        raise TooLarge(
            f"The file makes more than {MOST_CHUNKS:,} chunks. Split it, or make larger chunks.",
            code="document_too_large",
        )
    return pieces


def chat_model(snapshot: Snapshot, call: Call, sizes: ContextualSizes) -> str:
    """The model that says what chunks are about. Raises BadRequest where none is named and none is the default."""
    if sizes.model_id is not None:
        return sizes.model_id
    model = embedding.default_model(snapshot, call.principal.tenant, "llm")
    if model is None:
        raise BadRequest(
            "Contextual chunks need a chat model: name one as 'model_id', or mark one as default in the admin or the "
            "run.yaml.",
            param=SAYS,
            code="no_default_model",
        )
    return model.identifier


def too_long(model: str, most: int) -> str:
    return f"{model} reads {most} tokens at once: give a max_chunk_size_tokens of at most that, or the strategy 'auto'."


def shown(asked: ChunkingStrategy, sizes: Strategy) -> dict[str, Any]:
    """The strategy as it was carried out: what `auto` has come to is `static`, as OpenAI shows it."""
    carried_out = {"max_chunk_size_tokens": sizes.size, "chunk_overlap_tokens": sizes.overlap}
    if isinstance(asked, Auto | Static):
        return {"type": "static", "static": carried_out}
    return {"type": "contextual", "contextual": asked.contextual.model_dump(exclude_none=True) | carried_out}
