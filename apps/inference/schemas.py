"""The wire types of inference, after OpenAI's API reference (chat completions, completions, embeddings).

Requests keep fields they do not know, so that a vendor's own parameters reach the vendor; a provider that cannot
honour one raises UnsupportedParameter. Replies keep unknown fields too, so that nothing a vendor says is lost.
"""

import time
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, JsonValue

from apps.registry.schemas import ProviderModel as ProviderModel
from llamastack.ids import new_id

MAX_CHOICES = 128
MAX_BIASES = 1024
MAX_INPUTS = 2048  # prompts or texts in one request

ModelName = Annotated[str, Field(min_length=1, max_length=255)]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


def is_none(value: object) -> bool:
    return value is None


def few(biases: object) -> object:
    """Counted before each is looked at, as pydantic does with lists and not with dicts."""
    if isinstance(biases, dict) and len(biases) > MAX_BIASES:
        raise ValueError(f"at most {MAX_BIASES} tokens can be biased")
    return biases


Bias = Annotated[FiniteFloat, Field(ge=-100, le=100)]
T = TypeVar("T")
# A list ends at its first wrong item: telling of each of a million would take minutes.
Items = Annotated[list[T], Field(fail_fast=True)]
# A field of a reply that is left out where it has no value. Fields without it are written as null, as OpenAI does.
Omitted = Annotated[T | None, Field(exclude_if=is_none)]


class Wire(BaseModel):
    """The base of what travels: unknown fields are kept."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


# --- chat completions: the request ---


class TextPart(Wire):
    type: Literal["text"]
    text: str


class ImageUrl(Wire):
    """An image: its address, or the image itself as `data:image/png;base64,…`."""

    url: str = Field(min_length=1)
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Wire):
    type: Literal["image_url"]
    image_url: ImageUrl


class OtherPart(Wire):
    """A content part of another kind (input_audio, file, refusal): for providers that can read it."""

    type: Literal["input_audio", "file", "refusal"]


ContentPart = Annotated[TextPart | ImagePart | OtherPart, Field(discriminator="type")]


class Message(Wire):
    """One message of a conversation. `content` may be absent where an assistant only called tools."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | Items[ContentPart] | None = None
    name: str | None = None
    tool_calls: Items[dict[str, JsonValue]] | None = None
    tool_call_id: str | None = None


class StreamOptions(Wire):
    include_usage: bool | None = None


class GenerationRequest(Wire):
    """What chat completions and completions share: how to generate."""

    model: ModelName
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    stop: Annotated[str, Field(max_length=1000)] | Annotated[list[str], Field(max_length=16)] | None = None
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    user: str | None = Field(None, max_length=1000)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: Annotated[dict[str, Bias], BeforeValidator(few)] | None = None

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def limit(self) -> int | None:
        """How many tokens may be generated, where the client says it."""
        return self.max_tokens

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk that carries usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatCompletionRequest(GenerationRequest):
    messages: Items[Message] = Field(min_length=1, max_length=10_000)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: Items[dict[str, JsonValue]] | None = None
    tool_choice: str | dict[str, JsonValue] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, JsonValue] | None = None

    @property
    def limit(self) -> int | None:
        """`max_completion_tokens` is OpenAI's newer name and wins."""
        return self.max_completion_tokens or self.max_tokens


# --- chat completions: the reply ---


class Usage(Wire):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class AssistantMessage(Wire):
    role: Literal["assistant"] = "assistant"
    content: str | None = None
    refusal: str | None = None


class Choice(Wire):
    index: int
    message: AssistantMessage
    finish_reason: FinishReason | None = None
    logprobs: dict[str, JsonValue] | None = None


def now() -> int:
    """Epoch seconds, as times are written on the wire."""
    return int(time.time())


def completion_id() -> str:
    return new_id("chatcmpl-")


def text_completion_id() -> str:
    return new_id("cmpl-")


class ChatCompletion(Wire):
    id: str = Field(default_factory=completion_id)
    object: Literal["chat.completion"] = "chat.completion"
    created: int = Field(default_factory=now)
    model: str
    choices: list[Choice]
    usage: Omitted[Usage] = None


class Delta(Wire):
    role: Omitted[Literal["assistant"]] = None
    content: Omitted[str] = None


class ChunkChoice(Wire):
    index: int
    delta: Delta
    finish_reason: FinishReason | None = None
    logprobs: Omitted[dict[str, JsonValue]] = None


class ChatCompletionChunk(Wire):
    id: str = Field(default_factory=completion_id)
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int = Field(default_factory=now)
    model: str
    choices: list[ChunkChoice] = []
    usage: Omitted[Usage] = None


# --- completions ---

TokenIds = Annotated[Items[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]
SeveralTexts = Annotated[Items[str], Field(min_length=1, max_length=MAX_INPUTS)]
SeveralTokenIds = Annotated[Items[TokenIds], Field(min_length=1, max_length=MAX_INPUTS)]


class CompletionRequest(GenerationRequest):
    """Each prompt is continued `n` times. A prompt is text or token ids; null begins a new document."""

    prompt: str | SeveralTexts | TokenIds | SeveralTokenIds | None
    max_tokens: int | None = Field(None, ge=0, description="16 where it is not given")
    best_of: int | None = Field(None, ge=0, le=20)
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=5, strict=True)
    suffix: str | None = None


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


# --- embeddings ---


class EmbeddingRequest(Wire):
    model: ModelName
    input: str | Annotated[Items[str] | TokenIds | Items[TokenIds], Field(min_length=1, max_length=MAX_INPUTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1, le=65_536)
    user: str | None = Field(None, max_length=1000)


class Embedding(Wire):
    """One vector: a list of floats, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Wire):
    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(Wire):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
