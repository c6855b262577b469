"""What every file processor can be told of chunks."""

from typing import Any

from pydantic import Field, model_validator

from apps.file_processors.protocol import ChunkTokens
from llamastack.providers import ProviderConfig


class ChunksConfig(ProviderConfig):
    """How a document is cut where nobody says how."""

    default_chunk_size_tokens: int = Field(
        800, ge=100, le=4096, description="Tokens of a chunk, unless a request says."
    )
    default_chunk_overlap_tokens: int = Field(
        400, ge=0, le=2048, description="How many of them the next chunk repeats: half at most."
    )

    @model_validator(mode="after")
    def _overlap_is_half_at_most(self) -> "ChunksConfig":
        if self.default_chunk_overlap_tokens > self.default_chunk_size_tokens // 2:
            raise ValueError("default_chunk_overlap_tokens must be half of default_chunk_size_tokens at most")
        return self

    @property
    def chunk_tokens(self) -> ChunkTokens:
        return ChunkTokens(self.default_chunk_size_tokens, self.default_chunk_overlap_tokens)

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"default_chunk_size_tokens": 800, "default_chunk_overlap_tokens": 400}
