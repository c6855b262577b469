"""The wire types of batches, as OpenAI has them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from apps.files.schemas import ExpiresAfter
from apps.inference.schemas.chat import Metadata

Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
State = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
Text = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]


class BatchRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    input_file_id: Text = Field(description="A file of the purpose `batch`: a request a line")
    endpoint: Endpoint
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = Field(None, description="When the files that the batch writes expire")
    idempotency_key: Text | None = Field(None, description="A request of the same key makes no second batch")


class BatchError(BaseModel):
    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchErrors(BaseModel):
    object: Literal["list"] = "list"
    data: list[BatchError]


class RequestCounts(BaseModel):
    total: int
    completed: int
    failed: int


class InputDetails(BaseModel):
    cached_tokens: int


class OutputDetails(BaseModel):
    reasoning_tokens: int


class BatchUsage(BaseModel):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class BatchObject(BaseModel):
    """`errors` are those of the input file; those of single requests are lines of the error file."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None = None
    errors: BatchErrors | None = None
    input_file_id: str
    completion_window: str
    status: State
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None = None
