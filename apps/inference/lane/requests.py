"""The requests that the fast lane takes, in strict types: whatever they do not know goes to Django's lane.

They allow no more than the schemas of the same names, so that what is wrong has one answer. What is sent upstream is
written anew from them: it holds what was checked, each key once.
"""

from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import UNSET, Meta, Struct, UnsetType

from apps.inference.lane.replies import LARGEST
from apps.inference.schemas.base import MAX_INPUTS
from apps.inference.schemas.generation import MAX_BIASES, MAX_CHOICES
from apps.inference.schemas.tools import MAX_TOOLS, object_schema
from llamastack.bodies import MAX_DEPTH, depth

ModelName = Annotated[str, Meta(min_length=1, max_length=255)]
FunctionName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]
UserName = Annotated[str, Meta(max_length=1000)] | UnsetType | None
Flag = bool | UnsetType | None
Text = str | UnsetType | None
Limit = Annotated[int, Meta(ge=1, le=LARGEST)] | UnsetType | None
Penalty = Annotated[float, Meta(ge=-2, le=2)] | UnsetType | None
Bias = Annotated[float, Meta(ge=-100, le=100)]
WITHIN_FUNCTION, WITHIN_FORMAT = 4, 3  # how deep in a request these schemas stand


class Refused(Exception):
    """Not for this lane: wrong, or more than it knows."""


class Strict(Struct, forbid_unknown_fields=True):
    pass


class TextPart(Strict, tag="text"):
    text: str


class ImageUrl(Strict):
    url: Annotated[str, Meta(min_length=1)]
    detail: Literal["auto", "low", "high"] | UnsetType | None = UNSET


class ImagePart(Strict, tag="image_url"):
    image_url: ImageUrl


class FunctionCall(Strict):
    name: str
    arguments: str


class ToolCall(Strict):
    id: str
    type: Literal["function"]
    function: FunctionCall


class Message(Strict):
    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | list[TextPart | ImagePart] | UnsetType | None = UNSET
    name: Text = UNSET
    tool_calls: list[ToolCall] | UnsetType | None = UNSET
    tool_call_id: Text = UNSET
    refusal: Text = UNSET


class StreamOptions(Strict):
    include_usage: Flag = UNSET


class Function(Strict):
    name: FunctionName
    description: Text = UNSET
    parameters: dict[str, Any] | UnsetType | None = UNSET
    strict: Flag = UNSET


class Tool(Strict):
    type: Literal["function"]
    function: Function


class Named(Strict):
    name: FunctionName


class ToolChoice(Strict):
    type: Literal["function"]
    function: Named


class JsonSchema(Strict):
    name: FunctionName
    description: Text = UNSET
    schema: dict[str, Any] | UnsetType | None = UNSET
    strict: Flag = UNSET


class ResponseFormat(Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | UnsetType = UNSET


class Generation(Strict, kw_only=True):
    """What chat completions and completions share."""

    model: ModelName
    stream: Flag = UNSET
    stream_options: StreamOptions | UnsetType | None = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | UnsetType | None = UNSET
    top_p: Annotated[float, Meta(ge=0, le=1)] | UnsetType | None = UNSET
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | UnsetType | None = UNSET
    stop: Annotated[str, Meta(max_length=1000)] | Annotated[list[str], Meta(max_length=16)] | UnsetType | None = UNSET
    seed: Annotated[int, Meta(ge=-(2**63), le=LARGEST)] | UnsetType | None = UNSET
    user: UserName = UNSET
    frequency_penalty: Penalty = UNSET
    presence_penalty: Penalty = UNSET
    logit_bias: Annotated[dict[str, Bias], Meta(max_length=MAX_BIASES)] | UnsetType | None = UNSET

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def check(self) -> None:
        """Raises Refused for what types cannot say."""
        if self.stream_options and not self.stream:
            raise Refused


class Chat(Generation, kw_only=True):
    messages: Annotated[list[Message], Meta(min_length=1, max_length=10_000)]
    max_tokens: Limit = UNSET
    max_completion_tokens: Limit = UNSET
    logprobs: Flag = UNSET
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | UnsetType | None = UNSET
    tools: Annotated[list[Tool], Meta(max_length=MAX_TOOLS)] | UnsetType | None = UNSET
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | UnsetType | None = UNSET
    parallel_tool_calls: Flag = UNSET
    response_format: ResponseFormat | UnsetType | None = UNSET
    reasoning_effort: Annotated[str, Meta(max_length=100)] | UnsetType | None = UNSET
    prompt_cache_key: Text = UNSET
    store: Flag = UNSET
    metadata: (
        Annotated[
            dict[
                Annotated[str, Meta(max_length=64, pattern=r"^[^\x00]*\Z")],
                Annotated[str, Meta(max_length=512, pattern=r"^[^\x00]*\Z")],
            ],
            Meta(max_length=16),
        ]
        | UnsetType
        | None
    ) = UNSET

    def check(self) -> None:
        super().check()
        if self.top_logprobs and not self.logprobs:
            raise Refused
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise Refused
        self._check_messages()
        if self.tools or self.tool_choice:
            self._check_tools()
        if self.response_format:
            self._check_format(self.response_format)

    def _check_messages(self) -> None:
        """Each tool's answer follows its call."""
        called: set[str] = set()
        for message in self.messages:
            if message.tool_calls:
                called.update(call.id for call in message.tool_calls)
            if message.role == "tool" and message.tool_call_id not in called:
                raise Refused

    def _check_tools(self) -> None:
        functions = [tool.function for tool in self.tools or ()]
        names = {function.name for function in functions}
        if len(names) < len(functions):
            raise Refused
        for function in functions:
            if function.parameters:
                object_schema(function.parameters)
                check_schema(function.parameters, WITHIN_FUNCTION)
        choice = self.tool_choice
        if choice in (None, UNSET, "none", "auto"):
            return
        if not names or (isinstance(choice, ToolChoice) and choice.function.name not in names):
            raise Refused

    def _check_format(self, wanted: ResponseFormat) -> None:
        if (wanted.type == "json_schema") != isinstance(wanted.json_schema, JsonSchema):
            raise Refused
        if wanted.json_schema and wanted.json_schema.schema:
            check_schema(wanted.json_schema.schema, WITHIN_FORMAT)


TokenIds = Annotated[list[Annotated[int, Meta(ge=0, lt=2**31)]], Meta(min_length=1)]
Texts = Annotated[list[str], Meta(min_length=1, max_length=MAX_INPUTS)]


class Prompt(Generation, kw_only=True):
    """A completion's; token ids go to Django's lane."""

    prompt: str | Texts
    max_tokens: Annotated[int, Meta(ge=0, le=LARGEST)] | UnsetType | None = UNSET
    best_of: Annotated[int, Meta(ge=0, le=20)] | UnsetType | None = UNSET
    echo: Flag = UNSET
    logprobs: Annotated[int, Meta(ge=0, le=5)] | UnsetType | None = UNSET
    suffix: Text = UNSET

    @property
    def choices(self) -> int:
        return (self.n or 1) * (1 if isinstance(self.prompt, str) else len(self.prompt))


class Embedded(Strict, kw_only=True):
    """An embeddings request."""

    model: ModelName
    input: str | Texts
    encoding_format: Literal["float", "base64"] | UnsetType | None = UNSET
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | UnsetType | None = UNSET
    user: UserName = UNSET

    def check(self) -> None:
        pass


Request = Chat | Prompt | Embedded
WRONG = (Refused, msgspec.MsgspecError, ValueError, TypeError, RecursionError)  # TypeError is orjson's
encode = msgspec.json.Encoder().encode


def decoded(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> Any:
    """Raises Refused for every body that is not for this lane."""
    try:
        request = decoder.decode(body)
        request.check()
    except WRONG as error:
        raise Refused from error
    return request


def check_schema(schema: dict[str, Any], above: int) -> None:
    """Numbers that JSON of the other lane has no room for, it says in its own way."""
    orjson.dumps(schema)
    if depth(schema) > MAX_DEPTH - above:
        raise Refused
