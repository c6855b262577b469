"""Chunks without files, as Llama Stack's own API has them, and its old name of a vector store."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, field_validator

from apps.vector_io.schemas.base import Identifier, Plain, Storable, Strict
from apps.vector_io.schemas.search import Mode

MOST_CHUNKS = 2048
Content = Annotated[str, StringConstraints(min_length=1, max_length=1_000_000), Storable]
STORE = AliasChoices("vector_store_id", "vector_db_id")


class TextItem(Strict):
    type: Literal["text"] = "text"
    text: Content

    @field_validator("type", mode="before")
    @classmethod
    def _no_image(cls, value: Any) -> Any:
        if value == "image":
            raise ValueError("vector stores embed texts alone; leave the image out, or say in a text what it shows")
        return value


Interleaved = Content | TextItem | Annotated[list[Content | TextItem], Field(min_length=1, max_length=1000)]


def text_of(content: Interleaved) -> str:
    parts = content if isinstance(content, list) else [content]
    return "\n".join(part if isinstance(part, str) else part.text for part in parts)


class ChunkMetadata(BaseModel):
    """Unknown fields are kept."""

    model_config = ConfigDict(extra="allow")

    chunk_id: Identifier | None = None
    document_id: Identifier | None = None
    source: Plain | None = None
    created_timestamp: int | None = None
    updated_timestamp: int | None = None
    chunk_window: Plain | None = None
    chunk_tokenizer: Plain | None = None
    content_token_count: int | None = None
    metadata_token_count: int | None = None


class GivenChunk(BaseModel):
    """`embedding` is made here where it is not given. `stored_chunk_id` is 0.3.5's name of `chunk_id`."""

    model_config = ConfigDict(extra="forbid")

    content: Interleaved
    chunk_id: Identifier | None = Field(None, validation_alias=AliasChoices("chunk_id", "stored_chunk_id"))
    metadata: dict[str, Any] = {}
    chunk_metadata: ChunkMetadata | None = None
    embedding: Annotated[list[FiniteFloat], Field(min_length=1, max_length=65_536, fail_fast=True)] | None = None
    embedding_model: Identifier | None = None
    embedding_dimension: int | None = None

    @property
    def document_id(self) -> str:
        of_metadata = self.metadata.get("document_id")
        named = self.chunk_metadata.document_id if self.chunk_metadata else None
        return named or (of_metadata if isinstance(of_metadata, str) else "")


class InsertRequest(Strict):
    vector_store_id: Identifier = Field(validation_alias=STORE)
    chunks: Annotated[list[GivenChunk], Field(min_length=1, max_length=MOST_CHUNKS, fail_fast=True)]
    ttl_seconds: int | None = Field(None, description="Refused: chunks are kept until they are deleted")


class RankerParams(Strict):
    alpha: FiniteFloat | None = Field(None, ge=0, le=1)
    impact_factor: FiniteFloat | None = Field(None, gt=0, le=1_000_000)


class Ranker(RankerParams):
    type: Literal["rrf", "weighted", "normalized"]


class QueryParams(Strict):
    max_chunks: int = Field(10, ge=1, le=100)
    mode: Mode = "vector"
    score_threshold: FiniteFloat | None = Field(None, ge=-1, le=1)
    ranker: Ranker | Literal["rrf", "weighted", "normalized"] | None = None
    reranker_type: Literal["rrf", "weighted", "normalized"] | None = None
    reranker_params: RankerParams | None = None
    filters: dict[str, Any] | None = None


class QueryRequest(Strict):
    vector_store_id: Identifier = Field(validation_alias=STORE)
    query: Interleaved
    params: QueryParams | None = None


class FoundChunk(BaseModel):
    """`embedding` is as the store keeps it: of length 1. `stored_chunk_id` is 0.3.5's name of `chunk_id`."""

    content: str
    chunk_id: str
    stored_chunk_id: str
    metadata: dict[str, Any]
    chunk_metadata: dict[str, Any]
    embedding: list[float]
    embedding_model: str
    embedding_dimension: int


class QueryResponse(BaseModel):
    """The best chunk comes first, and its score."""

    chunks: list[FoundChunk]
    scores: list[float]


class ChunkToDelete(Strict):
    chunk_id: Identifier
    document_id: Identifier | None = None


class DeleteRequest(Strict):
    vector_store_id: Identifier = Field(validation_alias=STORE)
    chunks: Annotated[list[ChunkToDelete], Field(min_length=1, max_length=MOST_CHUNKS)]


class RegisterVectorDB(Strict):
    vector_db_id: Identifier
    embedding_model: Identifier
    embedding_dimension: int | None = Field(None, ge=1, le=65_536, strict=True)
    provider_id: Identifier | None = None
    provider_vector_db_id: Identifier | None = Field(None, description="Taken, and not used")
    vector_db_name: Identifier | None = None

    @field_validator("vector_db_id")
    @classmethod
    def _in_a_path(cls, value: str) -> str:
        if "/" in value or value in (".", ".."):
            raise ValueError("it stands in a URL, and may hold no slash nor be a dot or two")
        return value


class VectorDB(BaseModel):
    identifier: str
    provider_id: str
    provider_resource_id: str
    type: Literal["vector_db"] = "vector_db"
    embedding_model: str
    embedding_dimension: int
    owner: str


class VectorDBs(BaseModel):
    data: list[VectorDB]
