"""Tools and the choice among them, and the tool by which older models are made to answer in JSON.

Format: https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview
"""

import re
from collections.abc import Sequence
from typing import Any

from apps.inference.providers.remote.anthropic.lacks import JSON, Lacks
from apps.inference.schemas import AllowedToolsChoice, ChatCompletionRequest, Function, NamedToolChoice, chosen_names
from apps.inference.schemas.tools import FunctionTool

# What Anthropic's tools have and OpenAI's have not. It may stand beside `function` or in it.
OWN = ("cache_control", "eager_input_streaming", "allowed_callers", "defer_loading", "input_examples")
DATED = re.compile(r"\w+_\d{8}")  # Anthropic's own tools: web_search_20250305
CHOICES = ("auto", "any", "tool", "none")
ANY_OBJECT: JSON = {"type": "object"}
ANSWER = "json_answer"


def tools(request: ChatCompletionRequest, turns: Sequence[JSON], lacks: Lacks) -> JSON:
    """The fields `tools` and `tool_choice`."""
    choice = request.tool_choice
    given = [made for place, tool in enumerate(request.tools or ()) if (made := _tool(tool, place, lacks)) is not None]
    if isinstance(choice, AllowedToolsChoice):
        given = _allowed(given, choice, lacks)
    if not given:
        # Tools have to be declared where a conversation has calls, also when nothing more may be called.
        called = _called(turns)
        return {"tools": called, "tool_choice": {"type": "none"}} if called else {}
    chosen = _choice(request, lacks)
    return {"tools": given} | ({"tool_choice": chosen} if chosen else {})


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
    allowed = set(chosen_names(choice))
    for place, tool in enumerate(choice.allowed_tools.tools):
        if not isinstance(tool, NamedToolChoice):
            lacks.note(f"tool_choice.allowed_tools.tools[{place}].type")
    return [tool for tool in given if tool.get("name") in allowed]


def _called(turns: Sequence[JSON]) -> list[JSON]:
    names = {block["name"]: None for turn in turns for block in turn["content"] if block.get("type") == "tool_use"}
    return [{"name": name, "input_schema": ANY_OBJECT} for name in names]


def _choice(request: ChatCompletionRequest, lacks: Lacks) -> JSON | None:
    choice, single = request.tool_choice, request.parallel_tool_calls is False
    chosen: JSON
    if isinstance(choice, NamedToolChoice):
        chosen = {"type": "tool", "name": choice.function.name}
    elif isinstance(choice, AllowedToolsChoice):
        chosen = {"type": "any" if choice.allowed_tools.mode == "required" else "auto"}
    elif isinstance(choice, str):
        chosen = {"type": "any" if choice == "required" else choice}
    elif choice is not None and choice.type in CHOICES:
        chosen = choice.model_dump()
    else:
        if choice is not None:
            lacks.note("tool_choice")
        chosen = {"type": "auto"}
    if single and chosen["type"] != "none":
        return chosen | {"disable_parallel_tool_use": True}
    return None if chosen == {"type": "auto"} else chosen
