"""What the wire types of inference share."""

import time
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

MAX_INPUTS = 2048  # prompts or texts in one request

ModelName = Annotated[str, Field(min_length=1, max_length=255)]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


def is_none(value: object) -> bool:
    return value is None


T = TypeVar("T")
# A list ends at its first wrong item: telling of each of a million would take minutes.
Items = Annotated[list[T], Field(fail_fast=True)]
# A field of a reply that is left out where it has no value. Fields without it are written as null, as OpenAI does.
Omitted = Annotated[T | None, Field(exclude_if=is_none)]


class Wire(BaseModel):
    """The base of what travels: unknown fields are kept."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class Usage(Wire):
    """`served_by` is the home that has answered, of a model that has several."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    served_by: Omitted[str] = None


def now() -> int:
    """Epoch seconds, as times are written on the wire."""
    return int(time.time())
