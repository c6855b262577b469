"""Tools: what a model may call, which of it it must, and the calls it made."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, JsonValue, Tag

from apps.inference.schemas.base import Items, Omitted, Wire

MAX_TOOLS = 128


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


def chosen_names(choice: Any) -> list[str]:
    """The functions that a tool_choice names."""
    named = choice.allowed_tools.tools if isinstance(choice, AllowedToolsChoice) else [choice]
    return [tool.function.name for tool in named if isinstance(tool, NamedToolChoice)]
