"""The wire types of jobs: this server's own."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from apps.jobs.models import Status
from llamastack.pagination import NewestFirst


class JobFilter(NewestFirst):
    kind: str | None = Field(None, description="Only jobs of this kind")
    status: Status | None = Field(None, description="Only jobs of this status")


class JobObject(BaseModel):
    """`progress` is the kind's own: a batch tells `done` and `total`.

    `started_at` is when it was last begun, and `expected_at` when it will have ended, if it goes on as fast. `error`
    tells why it failed, or, of one that is queued, what it waits for.
    """

    id: str
    object: Literal["job"] = "job"
    kind: str
    owner: str
    status: Status
    progress: dict[str, Any]
    attempt: int
    error: str | None
    cancel_requested: bool
    created_at: int
    started_at: int | None
    expected_at: int | None
    ended_at: int | None


class JobEventObject(BaseModel):
    object: Literal["job.event"] = "job.event"
    number: int
    kind: str
    data: dict[str, Any]
    created_at: float
