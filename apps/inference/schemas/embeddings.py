"""Embeddings: texts as vectors."""

from typing import Annotated, Literal

from pydantic import Field

from apps.inference.schemas.base import MAX_INPUTS, Items, ModelName, Omitted, Wire
from apps.inference.schemas.completions import TokenIds


class EmbeddingRequest(Wire):
    model: ModelName
    input: str | Annotated[Items[str] | TokenIds | Items[TokenIds], Field(min_length=1, max_length=MAX_INPUTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1, le=65_536, strict=True)
    user: str | None = Field(None, max_length=1000)


class Embedding(Wire):
    """One vector: a list of floats, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Wire):
    prompt_tokens: int
    total_tokens: int
    served_by: Omitted[str] = None


class EmbeddingResponse(Wire):
    """`usage` is left out where a vendor does not tell it, as Together and TGI do."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Omitted[EmbeddingUsage] = None
