"""What the wire types of vector stores share."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictBool,
    StrictInt,
    StringConstraints,
    model_validator,
)

from apps.file_processors.chunking import Strategy

MOST_NUMBER = 2**1023  # what filters compare


def storable(text: str) -> str:
    """PostgreSQL keeps no NUL; half of a surrogate pair is no text."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("it has a character that nothing can hold")
    return text


def bounded(number: float) -> float:
    if abs(number) >= MOST_NUMBER:
        raise ValueError("the number is too large")
    return number


def scalar(value: Any) -> Any:
    """Of a union pydantic tells what is wrong by one of its members."""
    if not isinstance(value, str | int | float):
        raise ValueError("it is a text, a number or a boolean")
    return value


Storable = AfterValidator(storable)  # behind a text's length, of which pydantic then speaks as of characters
Plain = Annotated[str, Storable]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=255), Storable]
Key = Annotated[str, StringConstraints(min_length=1, max_length=64), Storable]
Text = Annotated[str, StringConstraints(max_length=512), Storable]
Number = Annotated[FiniteFloat, AfterValidator(bounded), Field(strict=True)]
Scalar = Annotated[StrictBool | StrictInt | Number | Text, BeforeValidator(scalar)]
Attributes = Annotated[dict[Key, Scalar], Field(max_length=16)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Auto(Strict):
    """800 tokens and an overlap of 400, or as many as the embedding model reads and half of them."""

    type: Literal["auto"] = "auto"

    def sizes(self) -> Strategy:
        return Strategy()


class Sizes(Strict):
    max_chunk_size_tokens: int = Field(800, ge=100, le=4096, strict=True)
    chunk_overlap_tokens: int = Field(400, ge=0, strict=True)

    @model_validator(mode="after")
    def _half(self) -> Self:
        if self.chunk_overlap_tokens > self.max_chunk_size_tokens // 2:
            raise ValueError("chunk_overlap_tokens must not exceed half of max_chunk_size_tokens")
        return self

    def strategy(self) -> Strategy:
        return Strategy(self.max_chunk_size_tokens, self.chunk_overlap_tokens)


class Static(Strict):
    type: Literal["static"]
    static: Sizes

    def sizes(self) -> Strategy:
        return self.static.strategy()


class ContextualSizes(Sizes):
    """`context_prompt` has the places {{WHOLE_DOCUMENT}} and {{CHUNK_CONTENT}}."""

    model_id: Identifier | None = Field(None, description="A chat model; by default the one that is the default")
    context_prompt: Annotated[str, StringConstraints(min_length=1, max_length=8192), Storable] | None = None
    max_chunk_size_tokens: int = Field(700, ge=100, le=4096, strict=True)
    chunk_overlap_tokens: int = Field(350, ge=0, strict=True)
    timeout_seconds: int = Field(120, ge=1, le=600)
    max_concurrency: int = Field(3, ge=1, le=32)

    @model_validator(mode="before")
    @classmethod
    def _unset(cls, values: Any) -> Any:
        """OGX's clients send null for what is not set, and its own overlap of 400 goes with its 700 tokens."""
        if not isinstance(values, dict):
            return values
        given = {name: value for name, value in values.items() if value is not None}
        if given.get("chunk_overlap_tokens") == 400 and given.get("max_chunk_size_tokens", 700) == 700:
            given["chunk_overlap_tokens"] = 350
        return given

    @model_validator(mode="after")
    def _places(self) -> Self:
        if self.context_prompt is not None and "{{CHUNK_CONTENT}}" not in self.context_prompt:
            raise ValueError("context_prompt has no place for {{CHUNK_CONTENT}}")
        return self


class Contextual(Strict):
    """A chat model says in a sentence where each chunk stands in its document; it is embedded with the chunk."""

    type: Literal["contextual"]
    contextual: ContextualSizes = ContextualSizes()

    def sizes(self) -> Strategy:
        return self.contextual.strategy()


ChunkingStrategy = Annotated[Auto | Static | Contextual, Field(discriminator="type")]


class FileCounts(BaseModel):
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    total: int = 0


class Deleted(BaseModel):
    id: str
    object: str
    deleted: Literal[True] = True
