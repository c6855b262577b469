"""Completions: text that is continued."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from apps.inference.schemas.base import MAX_INPUTS, FinishReason, Items, Omitted, Usage, Wire, now
from apps.inference.schemas.generation import GenerationRequest
from llamastack.ids import new_id

TokenIds = Annotated[Items[Annotated[int, Field(ge=0, lt=2**31, strict=True)]], Field(min_length=1)]
SeveralTexts = Annotated[Items[str], Field(min_length=1, max_length=MAX_INPUTS)]
SeveralTokenIds = Annotated[Items[TokenIds], Field(min_length=1, max_length=MAX_INPUTS)]


def text_completion_id() -> str:
    return new_id("cmpl-")


class CompletionRequest(GenerationRequest):
    """Each prompt is continued `n` times. A prompt is text or token ids; null begins a new document."""

    prompt: str | SeveralTexts | TokenIds | SeveralTokenIds | None
    max_tokens: int | None = Field(None, ge=0, strict=True, description="16 where it is not given")
    best_of: int | None = Field(None, ge=0, le=20, strict=True)
    echo: bool | None = Field(None, strict=True)
    logprobs: int | None = Field(None, ge=0, le=5, strict=True)
    suffix: str | None = None

    @property
    def prompts(self) -> int:
        """How many there are."""
        several = isinstance(self.prompt, list) and not isinstance(self.prompt[0], int)
        return len(self.prompt or ()) if several else 1


class CompletionChoice(Wire):
    index: int
    text: str
    finish_reason: FinishReason | None = None
    logprobs: dict[str, JsonValue] | None = None


class Completion(Wire):
    """A whole completion. A stream's chunks have the same shape, and in `text` what was added."""

    id: str = Field(default_factory=text_completion_id)
    object: Literal["text_completion"] = "text_completion"
    created: int = Field(default_factory=now)
    model: str
    choices: list[CompletionChoice] = []
    usage: Omitted[Usage] = None


class CompletionChunk(Completion):
    """A part of a streamed completion; the last one may have usage and no choices."""
