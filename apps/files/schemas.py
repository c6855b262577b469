"""The wire types of files, as OpenAI has them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llamastack.pagination import NewestFirst

UploadPurpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
Purpose = Literal[
    "assistants",
    "assistants_output",
    "batch",
    "batch_output",
    "evals",
    "fine-tune",
    "fine-tune-results",
    "vision",
    "user_data",
]
MOST_LISTED = 10_000
SHORTEST, LONGEST = 3600, 2_592_000  # seconds: an hour, 30 days


class ExpiresAfter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"]
    seconds: int = Field(ge=SHORTEST, le=LONGEST)


class FileUpload(BaseModel):
    """What a file is, beside its bytes. The server itself writes files of the purposes that end in output."""

    filename: str
    purpose: Purpose
    expires_after: ExpiresAfter | None = None


class FormUpload(FileUpload):
    """The same as a client may say it."""

    purpose: UploadPurpose


class FileFilter(NewestFirst):
    limit: int = Field(MOST_LISTED, ge=1, le=MOST_LISTED)
    purpose: Purpose | None = Field(None, description="Only files of this purpose")


class FileObject(BaseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class DeletedFile(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True
