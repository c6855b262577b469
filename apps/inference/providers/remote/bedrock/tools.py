"""Tools and their choice, and the form of the answer, as Converse takes them.

Format: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolConfiguration.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html
"""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from apps.inference.providers.remote.anthropic.schemas import any_object, closed
from apps.inference.providers.remote.bedrock.content import MARK, cache_point
from apps.inference.providers.remote.bedrock.families import Family
from apps.inference.providers.unsupported import JSON, Lacks
from apps.inference.schemas import (
    AllowedToolsChoice,
    ChatCompletionRequest,
    JsonSchemaFormat,
    NamedToolChoice,
    chosen_names,
)
from apps.inference.schemas.generation import JsonSchema
from apps.inference.schemas.tools import FunctionTool

ANYTHING: JSON = {"type": "object"}
ANSWER, ANSWERS = "answer", "Answers the user. Its input is the whole answer."


@dataclass(frozen=True)
class Tooling:
    """What of a body is about tools and form. The input of the tool called `answer` is the answer itself."""

    body: JSON
    answer: str | None = None


def tooling(request: ChatCompletionRequest, called: Iterable[str], family: Family, lacks: Lacks) -> Tooling:
    """`called` are the tools in the conversation: it may hold calls only where tools are defined."""
    tools, choice = _tools(request, family, lacks), _choice(request, family, lacks)
    format_, answer = _format(request, family, lacks), None
    if isinstance(format_, JsonSchema) and not {"any", "tool"} & (choice or {}).keys():
        if request.tool_choice == "none":
            tools = []
        answer = _unused(format_.name, {function.name for function in request.functions})
        tools = [*tools, _spec(answer, format_.description or ANSWERS, format_.json_schema or ANYTHING)]
        choice = {"any": {}} if len(tools) > 1 else {"tool": {"name": answer}}
    elif request.tool_choice == "none" and not called:
        tools = []
    if not tools:
        tools, choice = [_spec(name, None, ANYTHING) for name in called], None
    config: JSON = {"tools": tools, **({"toolChoice": choice} if choice else {})}
    native = {"outputConfig": {"textFormat": format_}} if isinstance(format_, dict) else {}
    return Tooling(native | ({"toolConfig": config} if tools else {}), answer)


def _tools(request: ChatCompletionRequest, family: Family, lacks: Lacks) -> list[JSON]:
    allowed = request.tool_choice
    names = chosen_names(allowed) if isinstance(allowed, AllowedToolsChoice) else None
    made: list[JSON] = []
    for place, tool in enumerate(request.tools or ()):
        where = f"tools[{place}]"
        if not isinstance(tool, FunctionTool):
            lacks.note(f"{where}.type")
        elif names is None or tool.function.name in names:
            made += _tool(tool, where, family, lacks)
    return made


def _tool(tool: FunctionTool, where: str, family: Family, lacks: Lacks) -> list[JSON]:
    function, marks = tool.function, lacks.of_tool(tool, where, (MARK,))
    spec = _spec(function.name, function.description, function.parameters or ANYTHING)
    if function.strict and family.follows_schemas:
        spec["toolSpec"] |= {"strict": True, "inputSchema": {"json": closed(spec["toolSpec"]["inputSchema"]["json"])}}
    elif function.strict:
        lacks.note(f"{where}.function.strict")
    return [spec, *cache_point(marks.get(MARK), f"{where}.{MARK}")]


def _spec(name: str, description: str | None, schema: JSON) -> JSON:
    told = {"description": description} if description else {}
    return {"toolSpec": {"name": name, **told, "inputSchema": {"json": ANYTHING | schema}}}


def _choice(request: ChatCompletionRequest, family: Family, lacks: Lacks) -> JSON | None:
    """None is Bedrock's own `auto`, and goes for `none` too: then no tools are sent, if that can be."""
    choice = request.tool_choice
    if isinstance(choice, AllowedToolsChoice):
        choice = choice.allowed_tools.mode
    if choice in (None, "none", "auto"):
        return None
    if not family.can_be_forced or not (choice == "required" or isinstance(choice, NamedToolChoice)):
        lacks.note("tool_choice")
        return None
    return {"tool": {"name": choice.function.name}} if isinstance(choice, NamedToolChoice) else {"any": {}}


def _format(request: ChatCompletionRequest, family: Family, lacks: Lacks) -> JSON | JsonSchema | None:
    """As Converse has it, where the model follows schemas; a JsonSchema is for a tool, whose input follows it."""
    asked = request.response_format
    if asked is None or asked.type == "text":
        return None
    if asked.type not in ("json_object", "json_schema"):
        lacks.note("response_format")
        return None
    schema = asked.json_schema if isinstance(asked, JsonSchemaFormat) else JsonSchema(name=ANSWER)
    if family.follows_schemas and schema.json_schema and not any_object(schema.json_schema):
        told = {"description": schema.description} if schema.description else {}
        written = orjson.dumps(closed(schema.json_schema)).decode()
        return {"type": "json_schema", "structure": {"jsonSchema": {"schema": written, "name": schema.name, **told}}}
    if not family.can_be_forced:
        lacks.note("response_format")
        return None
    return schema


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"{name[:60]}_"
    return name
