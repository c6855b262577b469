"""Vector stores and their files, as OpenAI has them."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

from apps.vector_io.schemas.base import Attributes, ChunkingStrategy, FileCounts, Identifier, Storable, Strict
from llamastack.pagination import NewestFirst

MOST_FILES = 500  # that a store can be created with
MOST_OF_BATCH = 2000
FileState = Literal["in_progress", "completed", "cancelled", "failed"]
Name = Annotated[str, StringConstraints(max_length=255), Storable]


class ExpiresAfter(Strict):
    anchor: Literal["last_active_at"]
    days: int = Field(ge=1, le=365, strict=True)


class CreateVectorStore(Strict):
    """`embedding_model` and what follows it are Llama Stack's. By default the embedding model that is the default, or
    the only one."""

    name: Name | None = None
    description: Annotated[str, StringConstraints(max_length=4096), Storable] | None = None
    file_ids: Annotated[list[Identifier], Field(max_length=MOST_FILES)] | None = None
    expires_after: ExpiresAfter | None = None
    chunking_strategy: ChunkingStrategy | None = None
    metadata: Attributes | None = None
    embedding_model: Identifier | None = None
    embedding_dimension: int | None = Field(None, ge=1, le=65_536, strict=True)
    provider_id: Identifier | None = None
    provider_vector_db_id: Identifier | None = Field(None, description="Taken, and not used: the id is the store's")
    provider_vector_store_id: Identifier | None = Field(None, description="Taken, and not used: the id is the store's")


class UpdateVectorStore(Strict):
    name: Name | None = None
    expires_after: ExpiresAfter | None = None
    metadata: Attributes | None = None


class StoreFilter(NewestFirst):
    before: str | None = Field(None, description="The id of the first item of the page after")


class FileFilter(StoreFilter):
    filter: FileState | None = Field(None, description="Only files of this status")


class VectorStoreObject(BaseModel):
    """What follows `metadata` is ours."""

    id: str
    object: Literal["vector_store"] = "vector_store"
    created_at: int
    name: str
    description: str | None = None
    usage_bytes: int
    file_counts: FileCounts
    status: Literal["expired", "in_progress", "completed"]
    expires_after: ExpiresAfter | None = None
    expires_at: int | None = None
    last_active_at: int | None = None
    metadata: dict[str, Any]
    provider_id: str
    embedding_model: str
    embedding_dimension: int


class AttachFile(Strict):
    file_id: Identifier
    attributes: Attributes | None = None
    chunking_strategy: ChunkingStrategy | None = None


def attaching(
    file_ids: Iterable[str], attributes: Attributes | None, strategy: ChunkingStrategy | None
) -> list[AttachFile]:
    """The same for each file. What it is made of has been validated."""
    return [
        AttachFile.model_construct(file_id=file_id, attributes=attributes, chunking_strategy=strategy)
        for file_id in file_ids
    ]


class UpdateFile(Strict):
    """Null takes all attributes away."""

    attributes: Attributes | None


class CreateFileBatch(Strict):
    """`file_ids`, all of these attributes and of this strategy, or `files`, each with its own."""

    file_ids: Annotated[list[Identifier], Field(min_length=1, max_length=MOST_OF_BATCH)] | None = None
    files: Annotated[list[AttachFile], Field(min_length=1, max_length=MOST_OF_BATCH)] | None = None
    attributes: Attributes | None = None
    chunking_strategy: ChunkingStrategy | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.file_ids) == bool(self.files):
            raise ValueError("give either 'file_ids' or 'files'")
        return self

    @property
    def wanted(self) -> list[AttachFile]:
        if self.files:
            return self.files
        return attaching(self.file_ids or (), self.attributes, self.chunking_strategy)


class LastError(BaseModel):
    code: str
    message: str


class VectorStoreFileObject(BaseModel):
    """`chunking_strategy` is what is asked for, and once the file has been read the sizes that its chunks have.

    `chunks` and `parser` are ours.
    """

    id: str
    object: Literal["vector_store.file"] = "vector_store.file"
    usage_bytes: int
    created_at: int
    vector_store_id: str
    status: FileState
    last_error: LastError | None = None
    chunking_strategy: dict[str, Any]
    attributes: dict[str, Any] | None = None
    filename: str
    chunks: int
    parser: str | None = None


class FileBatchObject(BaseModel):
    id: str
    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"
    created_at: int
    vector_store_id: str
    status: FileState
    file_counts: FileCounts


class ContentFilter(BaseModel):
    include_embeddings: bool = False
    include_metadata: bool = False


class FileContent(BaseModel):
    """A chunk. Its vector and what is known of it are told where they are asked for."""

    type: Literal["text"] = "text"
    text: str
    embedding: Annotated[list[float] | None, Field(exclude_if=lambda value: value is None)] = None
    chunk_metadata: Annotated[dict[str, Any] | None, Field(exclude_if=lambda value: value is None)] = None
    metadata: Annotated[dict[str, Any] | None, Field(exclude_if=lambda value: value is None)] = None


class FileContentPage(BaseModel):
    object: Literal["vector_store.file_content.page"] = "vector_store.file_content.page"
    data: list[FileContent]
    has_more: bool = False
    next_page: str | None = None
