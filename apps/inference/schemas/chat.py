"""Chat completions: messages and their parts, the request, the reply and its chunks."""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationInfo, field_validator

from apps.inference.schemas.base import FinishReason, Items, Omitted, Usage, Wire, now
from apps.inference.schemas.generation import GenerationRequest
from apps.inference.schemas.tools import (
    MAX_TOOLS,
    AnyToolCall,
    Function,
    FunctionTool,
    Tool,
    ToolCallDelta,
    ToolChoice,
    chosen_names,
)
from llamastack.ids import new_id


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


def completion_id() -> str:
    return new_id("chatcmpl-")


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
