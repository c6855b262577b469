"""The wire types of file processors, as OGX has them."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from apps.file_processors.chunking import Strategy
from apps.file_processors.protocol import ChunkTokens


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Sizes(Strict):
    max_chunk_size_tokens: int = Field(800, ge=100, le=4096)
    chunk_overlap_tokens: int = Field(400, ge=0)

    @model_validator(mode="after")
    def _half_at_most(self) -> Self:
        if self.chunk_overlap_tokens > self.max_chunk_size_tokens // 2:
            raise ValueError("chunk_overlap_tokens must not exceed half of max_chunk_size_tokens")
        return self


class AutoChunks(Strict):
    """As the provider's configuration says."""

    type: Literal["auto"] = "auto"

    def strategy(self, default: ChunkTokens) -> Strategy:
        return Strategy(default.size, default.overlap)


class StaticChunks(Strict):
    type: Literal["static"]
    static: Sizes

    def strategy(self, default: ChunkTokens) -> Strategy:
        return Strategy(self.static.max_chunk_size_tokens, self.static.chunk_overlap_tokens)


ChunkingStrategy = Annotated[AutoChunks | StaticChunks, Field(discriminator="type")]


class ProcessFile(Strict):
    """What a form says beside its file. Without a chunking strategy the document is one chunk."""

    file_id: str | None = None
    options: dict[str, Any] = {}
    chunking_strategy: ChunkingStrategy | None = None


class ChunkMetadata(BaseModel):
    chunk_id: str
    document_id: str
    source: str
    created_timestamp: int
    updated_timestamp: int
    chunk_window: str
    chunk_tokenizer: str
    content_token_count: int
    metadata_token_count: int = 0


class Chunk(BaseModel):
    content: str
    chunk_id: str
    metadata: dict[str, Any]
    chunk_metadata: ChunkMetadata


class ProcessedFile(BaseModel):
    """`metadata` tells of the run: the provider, the parser that has read the document, its kind, pages and size."""

    chunks: list[Chunk]
    metadata: dict[str, Any]
