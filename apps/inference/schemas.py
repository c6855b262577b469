"""The wire types of inference, after OpenAI's API reference (chat completions, completions, embeddings).

Requests keep fields they do not know, so that a vendor's own parameters reach the vendor; a provider that cannot
honour one raises UnsupportedParameter. Replies keep unknown fields too, so that nothing a vendor says is lost.
"""

import time
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    JsonValue,
    Tag,
    ValidationInfo,
    field_validator,
)

from apps.registry.schemas import ProviderModel as ProviderModel
from llamastack.ids import new_id

MAX_CHOICES = 128
MAX_BIASES = 1024
MAX_TOOLS = 128
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


Bias = Annotated[FiniteFloat, Field(ge=-100, le=100, strict=True)]
T = TypeVar("T")
# A list ends at its first wrong item: telling of each of a million would take minutes.
Items = Annotated[list[T], Field(fail_fast=True)]
# A field of a reply that is left out where it has no value. Fields without it are written as null, as OpenAI does.
Omitted = Annotated[T | None, Field(exclude_if=is_none)]


class Wire(BaseModel):
    """The base of what travels: unknown fields are kept."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


# --- tools ---


def known_or_other(value: Any) -> str | None:
    """Which of a union's types a value has: `function`, `allowed_tools`, or another that only its provider knows."""
    kind = value.get("type", "function") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if kind in ("function", "allowed_tools") else "other" if isinstance(kind, str) else None


def object_schema(schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """A JSON Schema as far as every provider needs it to be one: that of an object."""
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if schema.get("type", "object") != "object":
        raise ValueError("must be a JSON Schema of type 'object'")
    if not isinstance(properties, dict) or not all(isinstance(value, dict | bool) for value in properties.values()):
        raise ValueError("must be a JSON Schema: its 'properties' are a schema each, by name")
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise ValueError("must be a JSON Schema: its 'required' is a list of names")
    return schema


FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class Function(Wire):
    """What a model may call. `parameters` is the JSON Schema of an object; without it, nothing is given."""

    name: FunctionName
    description: str | None = None
    parameters: Annotated[dict[str, JsonValue], AfterValidator(object_schema)] | None = None
    strict: bool | None = None


class FunctionTool(Wire):
    type: Literal["function"]
    function: Function


class OtherTool(Wire):
    """A tool of another type (`custom`, or a vendor's own): for providers that know it."""

    type: str


class NamedFunction(Wire):
    name: FunctionName


class NamedToolChoice(Wire):
    """This function is to be called."""

    type: Literal["function"]
    function: NamedFunction


class OtherToolChoice(Wire):
    type: str


KnownOrOther = Discriminator(known_or_other)
NamedTool = Annotated[
    Annotated[NamedToolChoice, Tag("function")] | Annotated[OtherToolChoice, Tag("other")], KnownOrOther
]


class AllowedTools(Wire):
    mode: Literal["auto", "required"]
    tools: Items[NamedTool] = Field(min_length=1)


class AllowedToolsChoice(Wire):
    """Of the tools that are given, only these may be called."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class FunctionCall(Wire):
    """`arguments` is JSON as the model wrote it, which may be invalid."""

    name: str
    arguments: str


class ToolCall(Wire):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class OtherToolCall(Wire):
    id: str
    type: str


class FunctionDelta(Wire):
    name: Omitted[str] = None
    arguments: Omitted[str] = None


class ToolCallDelta(Wire):
    """A part of the call with this index: first its id and name, then its arguments in pieces."""

    index: int = 0
    id: Omitted[str] = None
    type: Omitted[str] = None
    function: Omitted[FunctionDelta] = None


Tool = Annotated[Annotated[FunctionTool, Tag("function")] | Annotated[OtherTool, Tag("other")], KnownOrOther]
AnyToolCall = Annotated[Annotated[ToolCall, Tag("function")] | Annotated[OtherToolCall, Tag("other")], KnownOrOther]
ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[
        Annotated[NamedToolChoice, Tag("function")]
        | Annotated[AllowedToolsChoice, Tag("allowed_tools")]
        | Annotated[OtherToolChoice, Tag("other")],
        KnownOrOther,
    ]
)


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
    """One message of a conversation. `content` may be absent where an assistant only called tools.

    `tool_call_id` says which of those calls a `tool` message answers.
    """

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | Items[ContentPart] | None = None
    name: str | None = None
    tool_calls: Items[AnyToolCall] | None = None
    tool_call_id: str | None = None


class StreamOptions(Wire):
    include_usage: bool | None = Field(None, strict=True)


class PlainFormat(Wire):
    """Text, or any JSON object."""

    type: Literal["text", "json_object"]


class JsonSchema(Wire):
    """A schema under a name. Without a schema, any JSON object will do; with or without `strict`, it is followed."""

    model_config = ConfigDict(serialize_by_alias=True)

    name: str = Field(pattern="^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    json_schema: dict[str, JsonValue] | None = Field(None, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(Wire):
    type: Literal["json_schema"]
    json_schema: JsonSchema


class OtherFormat(Wire):
    """A format that is not OpenAI's: for vendors that know it."""

    type: Literal["structural_tag", "grammar", "regex"]


ResponseFormat = Annotated[PlainFormat | JsonSchemaFormat | OtherFormat, Field(discriminator="type")]


class GenerationRequest(Wire):
    """What chat completions and completions share: how to generate. As at OpenAI, "2" is no number."""

    model: ModelName
    stream: bool | None = Field(None, strict=True)
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, strict=True)
    temperature: float | None = Field(None, ge=0, le=2, strict=True)
    top_p: float | None = Field(None, ge=0, le=1, strict=True)
    n: int | None = Field(None, ge=1, le=MAX_CHOICES, strict=True)
    stop: Annotated[str, Field(max_length=1000)] | Annotated[list[str], Field(max_length=16)] | None = None
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1, strict=True)
    user: str | None = Field(None, max_length=1000)
    frequency_penalty: float | None = Field(None, ge=-2, le=2, strict=True)
    presence_penalty: float | None = Field(None, ge=-2, le=2, strict=True)
    logit_bias: Annotated[dict[str, Bias], BeforeValidator(few)] | None = None
    response_format: ResponseFormat | None = None

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

    @field_validator("stream_options")
    @classmethod
    def _only_of_a_stream(cls, options: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        if options is not None and not info.data.get("stream", True):
            raise ValueError("is only allowed with 'stream: true'")
        return options


# What a caller attaches to a stored completion, and finds it by.
MetadataText = Annotated[str, Field(max_length=512, pattern=r"^[^\x00]*$")]
MetadataKey = Annotated[str, Field(max_length=64, pattern=r"^[^\x00]*$")]
Metadata = Annotated[dict[MetadataKey, MetadataText], Field(max_length=16)]


class ChatCompletionRequest(GenerationRequest):
    """`store`: true, the completion is stored before the answer's last byte; null, soon, if possible; false, never."""

    messages: Items[Message] = Field(min_length=1, max_length=10_000)
    max_completion_tokens: int | None = Field(None, ge=1, strict=True)
    logprobs: bool | None = Field(None, strict=True)
    top_logprobs: int | None = Field(None, ge=0, le=20, strict=True)
    tools: Annotated[Items[Tool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = Field(None, max_length=100)
    store: bool | None = None
    metadata: Metadata | None = None

    @property
    def limit(self) -> int | None:
        """`max_completion_tokens` is OpenAI's newer name of `max_tokens`."""
        return self.max_completion_tokens or self.max_tokens

    @field_validator("max_completion_tokens")
    @classmethod
    def _one_limit(cls, limit: int | None, info: ValidationInfo) -> int | None:
        other = info.data.get("max_tokens")
        if limit is not None and other not in (None, limit):
            raise ValueError(f"is {limit}, and 'max_tokens', its older name, is {other}: give one of them")
        return limit

    @field_validator("top_logprobs")
    @classmethod
    def _only_with_logprobs(cls, count: int | None, info: ValidationInfo) -> int | None:
        if count and not info.data.get("logprobs", True):
            raise ValueError("is only allowed with 'logprobs: true'")
        return count

    @property
    def functions(self) -> list[Function]:
        """The functions among the tools that are given."""
        return [tool.function for tool in self.tools or () if isinstance(tool, FunctionTool)]

    @field_validator("messages")
    @classmethod
    def _answers_follow_their_calls(cls, messages: list[Message]) -> list[Message]:
        called: set[str | None] = set()
        for index, message in enumerate(messages):
            called |= {call.id for call in message.tool_calls or ()}
            if message.role == "tool" and message.tool_call_id not in called:
                raise ValueError(f"message {index} is of role 'tool', and its tool_call_id is no earlier tool call's")
        return messages

    @field_validator("tools")
    @classmethod
    def _each_name_once(cls, tools: list[Any] | None) -> list[Any] | None:
        names = [tool.function.name for tool in tools or () if isinstance(tool, FunctionTool)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two tools are called '{min(twice)}'")
        return tools

    @field_validator("tool_choice")
    @classmethod
    def _only_given_tools(cls, choice: Any, info: ValidationInfo) -> Any:
        if choice in (None, "none", "auto") or "tools" not in info.data:
            return choice
        if not info.data["tools"]:
            raise ValueError("asks for a tool call, and no tools are given")
        given = {tool.function.name for tool in info.data["tools"] if isinstance(tool, FunctionTool)}
        for name in chosen_names(choice):
            if name not in given:
                raise ValueError(f"names the tool '{name}', which is not given")
        return choice


def chosen_names(choice: Any) -> list[str]:
    """The functions that a tool_choice names."""
    named = choice.allowed_tools.tools if isinstance(choice, AllowedToolsChoice) else [choice]
    return [tool.function.name for tool in named if isinstance(tool, NamedToolChoice)]


# --- chat completions: the reply ---


class Usage(Wire):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class AssistantMessage(Wire):
    role: Literal["assistant"] = "assistant"
    content: str | None = None
    refusal: str | None = None
    reasoning_content: Omitted[str] = None
    tool_calls: Omitted[list[AnyToolCall]] = None


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
    reasoning_content: Omitted[str] = None
    tool_calls: Omitted[list[ToolCallDelta]] = None


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


# --- stored chat completions ---


class StoredChatCompletion(ChatCompletion):
    """A chat completion with its metadata and the messages it answered."""

    metadata: dict[str, str]
    input_messages: list[Message]


class StoredMessage(Message):
    """A message that a stored completion answered. `content` is null where it came in parts."""

    id: str
    content: str | None = None
    content_parts: list[ContentPart] | None = None
    refusal: str | None = None


class ChatCompletionUpdate(BaseModel):
    metadata: Metadata | None


class DeletedChatCompletion(BaseModel):
    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    id: str
    deleted: Literal[True] = True


# --- completions ---

TokenIds = Annotated[Items[Annotated[int, Field(ge=0, lt=2**31, strict=True)]], Field(min_length=1)]
SeveralTexts = Annotated[Items[str], Field(min_length=1, max_length=MAX_INPUTS)]
SeveralTokenIds = Annotated[Items[TokenIds], Field(min_length=1, max_length=MAX_INPUTS)]


class CompletionRequest(GenerationRequest):
    """Each prompt is continued `n` times. A prompt is text or token ids; null begins a new document."""

    prompt: str | SeveralTexts | TokenIds | SeveralTokenIds | None
    max_tokens: int | None = Field(None, ge=0, strict=True, description="16 where it is not given")
    best_of: int | None = Field(None, ge=0, le=20, strict=True)
    echo: bool | None = Field(None, strict=True)
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


class EmbeddingResponse(Wire):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
