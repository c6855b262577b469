"""Tools and the choice among them, and the tool by which older models are made to answer in JSON.

Format: https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview
"""

import re
from collections.abc import Sequence
from typing import Any

from apps.inference.providers.remote.anthropic.families import Family
from apps.inference.providers.unsupported import JSON, Lacks
from apps.inference.schemas import AllowedToolsChoice, ChatCompletionRequest, Function, NamedToolChoice, chosen_names
from apps.inference.schemas.tools import FunctionTool
from llamastack.errors import BadRequest

# What Anthropic's tools have and OpenAI's have not. It may stand beside `function` or in it.
OWN = ("cache_control", "eager_input_streaming", "allowed_callers", "defer_loading", "input_examples")
DATED = re.compile(r"\w+_\d{8}")  # Anthropic's own tools: web_search_20250305
CHOICES = ("auto", "any", "tool", "none")
AUTO: JSON = {"type": "auto"}  # which is what happens without a choice
ANY: JSON = {"type": "any"}
ANY_OBJECT: JSON = {"type": "object"}
ANSWER = "json_answer"
UNFORCED = "This model cannot be made to call a tool: leave the choice to it, by 'auto'."


def tools(request: ChatCompletionRequest, turns: Sequence[JSON], able: Family, lacks: Lacks) -> JSON:
    """The fields `tools` and `tool_choice`."""
    choice = request.tool_choice
    given = [made for place, tool in enumerate(request.tools or ()) if (made := _tool(tool, place, lacks)) is not None]
    if isinstance(choice, AllowedToolsChoice):
        given = _allowed(given, choice, lacks)
    if not given:
        # Tools have to be declared where a conversation has calls, also when nothing more may be called.
        called = _called(turns)
        return {"tools": called, "tool_choice": {"type": "none"}} if called else {}
    chosen = _choice(choice, lacks)
    if forces(chosen) and not able.can_be_forced:
        lacks.note("tool_choice", UNFORCED)
        chosen = AUTO
    if request.parallel_tool_calls is False and chosen["type"] != "none":
        chosen = chosen | {"disable_parallel_tool_use": True}
    return {"tools": given} | ({"tool_choice": chosen} if chosen != AUTO else {})


def forces(choice: JSON | None) -> bool:
    """Whether a choice of Anthropic's makes the model call a tool."""
    return choice is not None and choice["type"] in ("any", "tool")


def answer_tool(name: str, description: str | None, schema: JSON) -> JSON:
    """A tool whose input is the answer."""
    told = description or "Answers the user. Its input is the whole answer."
    return {"name": name, "description": told, "input_schema": ANY_OBJECT | schema}


def _tool(tool: Any, place: int, lacks: Lacks) -> JSON | None:
    where = f"tools[{place}]"
    if isinstance(tool, FunctionTool):
        own = lacks.taken(tool.model_extra, OWN, f"{where}.")
        return _function(tool.function, where, lacks) | own
    made: JSON = tool.model_dump()
    if not isinstance(made.get("name", ""), str):
        raise BadRequest(f"'{where}.name' is no text.", param=f"{where}.name")
    if DATED.fullmatch(tool.type) or "input_schema" in made:
        return made
    lacks.note(f"{where}.type")
    return None


def _function(function: Function, where: str, lacks: Lacks) -> JSON:
    made: JSON = {"name": function.name, "input_schema": ANY_OBJECT | (function.parameters or {})}
    if function.description:
        made["description"] = function.description
    if function.strict:
        made["strict"] = True
    return made | lacks.taken(function.model_extra, OWN, f"{where}.function.")


def _allowed(given: list[JSON], choice: AllowedToolsChoice, lacks: Lacks) -> list[JSON]:
    """Functions by their name, Anthropic's own tools by their type."""
    allowed, types = set(chosen_names(choice)), {tool.get("type") for tool in given}
    for place, tool in enumerate(choice.allowed_tools.tools):
        if not isinstance(tool, NamedToolChoice):
            allowed.add(tool.type)
            if tool.type not in types:
                lacks.note(f"tool_choice.allowed_tools.tools[{place}].type")
    return [tool for tool in given if tool.get("name") in allowed or tool.get("type") in allowed]


def _called(turns: Sequence[JSON]) -> list[JSON]:
    calls = [block for turn in turns for block in turn["content"] if block.get("type") == "tool_use"]
    names = dict.fromkeys(name for call in calls if isinstance(name := call.get("name"), str))
    return [{"name": name, "input_schema": ANY_OBJECT} for name in names]


def _choice(choice: Any, lacks: Lacks) -> JSON:
    if choice is None:
        return AUTO
    if isinstance(choice, NamedToolChoice):
        return {"type": "tool", "name": choice.function.name}
    if isinstance(choice, AllowedToolsChoice):
        return ANY if choice.allowed_tools.mode == "required" else AUTO
    if isinstance(choice, str):
        return ANY if choice == "required" else {"type": choice}
    if choice.type not in CHOICES:
        lacks.note("tool_choice")
        return AUTO
    made: JSON = choice.model_dump()
    return made
