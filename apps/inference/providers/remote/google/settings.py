"""How to generate, in Google's words: generationConfig, safetySettings, tools and toolConfig.

Formats: https://ai.google.dev/api/generate-content#generationconfig, https://ai.google.dev/api/caching#ToolConfig.
How much to think: https://ai.google.dev/gemini-api/docs/openai#thinking (the table of `reasoning_effort`). Google's own
fields come as its OpenAI-compatible API takes them: in `google`, or in `extra_body.google`.
"""

import re
from typing import Any

from apps.inference.providers.unsupported import JSON, Lacks
from apps.inference.schemas import ChatCompletionRequest
from apps.inference.schemas.generation import OtherFormat, PlainFormat
from apps.inference.schemas.tools import AllowedToolsChoice, FunctionTool, NamedToolChoice, OtherTool, chosen_names
from llamastack.errors import BadRequest

AS_THEY_ARE = {"temperature": "temperature", "top_p": "topP", "seed": "seed"}
# These with the value that asks for nothing; not every model knows them.
BEYOND = {
    "n": ("candidateCount", 1),
    "frequency_penalty": ("frequencyPenalty", 0),
    "presence_penalty": ("presencePenalty", 0),
}
OF_THE_CONFIG = {
    "audio_timestamp": "audioTimestamp",
    "image_config": "imageConfig",
    "media_resolution": "mediaResolution",
    "response_modalities": "responseModalities",
    "speech_config": "speechConfig",
    "thinking_config": "thinkingConfig",
    "top_k": "topK",
}
OF_THE_BODY = {"cached_content": "cachedContent", "labels": "labels", "safety_settings": "safetySettings"}
CAMEL = {camel: snake for snake, camel in (OF_THE_CONFIG | OF_THE_BODY).items()}
TOOLS = {
    "code_execution": "codeExecution",
    "computer_use": "computerUse",
    "enterprise_web_search": "enterpriseWebSearch",
    "file_search": "fileSearch",
    "google_maps": "googleMaps",
    "google_search": "googleSearch",
    "google_search_retrieval": "googleSearchRetrieval",
    "retrieval": "retrieval",
    "url_context": "urlContext",
}
KNOWN = (
    *("max_tokens", "max_completion_tokens", "stop", "logprobs", "top_logprobs", "response_format"),
    *("tools", "tool_choice", "reasoning_effort", "google", "extra_body"),
    *AS_THEY_ARE,
    *BEYOND,
    *OF_THE_CONFIG,
    *OF_THE_BODY,
)
BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}  # tokens
LEVELS = frozenset({"minimal", "low", "medium", "high"})
NEWER = 3  # the first generation whose thinking has levels, and whose calls are signed
GENERATION = re.compile(r"gemini-(\d+)")
RESOLUTIONS = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}


def generation(model: str) -> int | None:
    """Of a Gemini model, as its name tells it; that of an alias, as gemini-flash-latest, is no old one."""
    found = GENERATION.search(model)
    return int(found[1]) if found else NEWER if "gemini" in model else None


def settings(request: ChatCompletionRequest, lacks: Lacks, details: set[str]) -> JSON:
    """All of the body but the conversation. `details` are those in which its images are to be seen."""
    google = _googles(request, lacks)
    body = {OF_THE_BODY[name]: value for name, value in google.items() if name in OF_THE_BODY}
    config = _config(request, lacks)
    if seen := next((RESOLUTIONS[detail] for detail in ("high", "low") if detail in details), None):
        config["mediaResolution"] = seen
    config |= {OF_THE_CONFIG[name]: value for name, value in google.items() if name in OF_THE_CONFIG}
    if request.reasoning_effort is not None:
        if "thinking_config" in google:
            raise BadRequest(
                "Give 'reasoning_effort' or Google's 'thinking_config', not both.", param="reasoning_effort"
            )
        config |= _thinking(request.reasoning_effort, request.model, lacks)
    if config:
        body["generationConfig"] = config
    return body | tooling(request, lacks)


def _config(request: ChatCompletionRequest, lacks: Lacks) -> JSON:
    config: JSON = {ours: value for name, ours in AS_THEY_ARE.items() if (value := getattr(request, name)) is not None}
    for name, (ours, nothing) in BEYOND.items():
        if (value := getattr(request, name)) not in (None, nothing):
            config[ours] = value
    if request.limit is not None:
        config["maxOutputTokens"] = request.limit
    if request.stop:
        config["stopSequences"] = request.stops
    if request.logprobs or request.top_logprobs:
        config["responseLogprobs"] = True
        if request.top_logprobs:
            config["logprobs"] = request.top_logprobs
    return config | _format(request, lacks)


def _format(request: ChatCompletionRequest, lacks: Lacks) -> JSON:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return {}
    if isinstance(wanted, OtherFormat):
        lacks.note("response_format")
        return {}
    lacks.taken(wanted.model_extra, (), "response_format.")
    if isinstance(wanted, PlainFormat):
        return {"responseMimeType": "application/json"}
    schema = wanted.json_schema.json_schema
    if schema is None:
        return {"responseMimeType": "application/json"}
    told = {"description": wanted.json_schema.description} if wanted.json_schema.description else {}
    return {"responseMimeType": "application/json", "responseJsonSchema": told | schema}


def _thinking(effort: str, model: str, lacks: Lacks) -> JSON:
    """Gemini 2.5 has a budget for thinking. Later ones have levels, and do not leave it."""
    if generation(model) == 2 and effort in BUDGETS:
        return {"thinkingConfig": {"thinkingBudget": BUDGETS[effort], "includeThoughts": effort != "none"}}
    if generation(model) != 2 and effort in LEVELS:
        return {"thinkingConfig": {"thinkingLevel": effort.upper(), "includeThoughts": True}}
    lacks.note("reasoning_effort")
    return {}


def _googles(request: ChatCompletionRequest, lacks: Lacks) -> JSON:
    """Google's own fields, each by its name with underscores. All else that a client made up is noted."""
    given = lacks.fields(request, KNOWN)
    found = {name: value for name, value in given.items() if name in OF_THE_CONFIG or name in OF_THE_BODY}
    if "google" in given:
        found |= _within(given["google"], lacks)
    if (extra := given.get("extra_body")) is not None:
        if isinstance(extra, dict) and extra.keys() == {"google"}:
            found |= _within(extra["google"], lacks)
        else:
            lacks.note("extra_body")
    return found


def _within(google: Any, lacks: Lacks) -> JSON:
    if not isinstance(google, dict):
        raise BadRequest("Google's own fields come as an object.", param="google")
    found: JSON = {}
    for name, value in google.items():
        known = CAMEL.get(name, name)
        if known in OF_THE_CONFIG or known in OF_THE_BODY:
            found[known] = value
        else:
            lacks.note(f"google.{name}")
    return found


def tooling(request: ChatCompletionRequest, lacks: Lacks) -> JSON:
    """`tools`: the functions in one, and each of Google's own. `toolConfig`: which may, or must, be called."""
    functions, tools, strict = [], [], False
    for place, tool in enumerate(request.tools or ()):
        if isinstance(tool, FunctionTool):
            functions.append(_function(tool, f"tools[{place}]", lacks))
            strict = strict or bool(tool.function.strict)
        else:
            tools += _own(tool, f"tools[{place}]", lacks)
    if functions:
        tools.insert(0, {"functionDeclarations": functions})
    if not tools:
        return {}
    mode = _mode(request, lacks, strict=strict)
    return {"tools": tools} | ({"toolConfig": {"functionCallingConfig": mode}} if mode else {})


def _function(tool: FunctionTool, where: str, lacks: Lacks) -> JSON:
    function = tool.function
    lacks.of_tool(tool, where)
    declared: JSON = {"name": function.name}
    if function.description:
        declared["description"] = function.description
    if function.parameters is not None:
        declared["parametersJsonSchema"] = function.parameters
    return declared


def _own(tool: OtherTool, where: str, lacks: Lacks) -> list[JSON]:
    """A tool that Google runs: {"type": "google_search"}, with what it shall know under that name."""
    name = TOOLS.get(tool.type)
    beyond = tool.model_extra or {}
    if name is None or beyond.keys() - {tool.type}:
        lacks.note(f"{where}.type" if name is None else f"{where}.{min(beyond.keys() - {tool.type})}")
        return []
    return [{name: beyond.get(tool.type) or {}}]


def _mode(request: ChatCompletionRequest, lacks: Lacks, *, strict: bool) -> JSON:
    """VALIDATED is AUTO with calls that follow their schemas, and with names that may be called."""
    choice = request.tool_choice
    match choice:
        case "none":
            return {"mode": "NONE"}
        case "required":
            return {"mode": "ANY"}
        case None | "auto":
            return {"mode": "VALIDATED"} if strict else {"mode": "AUTO"} if choice else {}
        case NamedToolChoice():
            return {"mode": "ANY", "allowedFunctionNames": chosen_names(choice)}
        case AllowedToolsChoice():
            if len(names := chosen_names(choice)) < len(choice.allowed_tools.tools):
                lacks.note("tool_choice.allowed_tools.tools")
            mode = "ANY" if choice.allowed_tools.mode == "required" else "VALIDATED"
            return {"mode": mode} | ({"allowedFunctionNames": names} if names else {})
    lacks.note("tool_choice")
    return {}
