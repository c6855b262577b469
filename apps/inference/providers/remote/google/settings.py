"""How to generate, in Google's words: generationConfig, safetySettings, tools and toolConfig.

Formats: https://ai.google.dev/api/generate-content#generationconfig, https://ai.google.dev/api/caching#ToolConfig.
How much to think: https://ai.google.dev/gemini-api/docs/openai#thinking (the table of `reasoning_effort`). Google's own
fields come as its OpenAI-compatible API takes them: in `google`, or in `extra_body.google`.
"""

import re
from collections.abc import Callable
from typing import Any

from apps.inference.schemas import ChatCompletionRequest
from apps.inference.schemas.generation import OtherFormat, PlainFormat
from apps.inference.schemas.tools import AllowedToolsChoice, FunctionTool, NamedToolChoice, OtherTool, chosen_names
from llamastack.errors import BadRequest

JSON = dict[str, Any]
Refuse = Callable[[str], None]
AS_THEY_ARE = {"temperature": "temperature", "top_p": "topP", "seed": "seed"}
# These with the value that asks for nothing; not every model knows them.
BEYOND = {
    "n": ("candidateCount", 1),
    "frequency_penalty": ("frequencyPenalty", 0),
    "presence_penalty": ("presencePenalty", 0),
}
# Fields that Google has no word for, each with the values that ask for nothing.
WITHOUT_A_WORD: dict[str, tuple[object, ...]] = {"logit_bias": ({},), "parallel_tool_calls": (True,), "user": ("",)}
# The same of OpenAI's fields that our schema does not name.
NEUTRAL: dict[str, tuple[object, ...]] = {"service_tier": ("auto", "default"), "modalities": (["text"],)}
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
BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}  # tokens
LEVELS = frozenset({"minimal", "low", "medium", "high"})
NEWER = 3  # the first generation whose thinking has levels, and whose calls are signed
GENERATION = re.compile(r"gemini-(\d+)")
RESOLUTIONS = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}


def generation(model: str) -> int | None:
    """Of a Gemini model, as its name tells it; that of an alias, as gemini-flash-latest, is no old one."""
    found = GENERATION.search(model)
    return int(found[1]) if found else NEWER if "gemini" in model else None


def settings(request: ChatCompletionRequest, refuse: Refuse, details: set[str]) -> JSON:
    """All of the body but the conversation. `details` are those in which its images are to be seen."""
    google = _googles(request, refuse)
    body = {OF_THE_BODY[name]: value for name, value in google.items() if name in OF_THE_BODY}
    config = _config(request, refuse)
    if seen := next((RESOLUTIONS[detail] for detail in ("high", "low") if detail in details), None):
        config["mediaResolution"] = seen
    config |= {OF_THE_CONFIG[name]: value for name, value in google.items() if name in OF_THE_CONFIG}
    if request.reasoning_effort is not None:
        if "thinking_config" in google:
            raise BadRequest(
                "Give 'reasoning_effort' or Google's 'thinking_config', not both.", param="reasoning_effort"
            )
        config |= _thinking(request.reasoning_effort, request.model, refuse)
    if config:
        body["generationConfig"] = config
    return body | tooling(request, refuse)


def _config(request: ChatCompletionRequest, refuse: Refuse) -> JSON:
    given = {name: getattr(request, name) for name in request.model_fields_set if name in WITHOUT_A_WORD}
    for name, value in given.items():
        if value is not None and value not in WITHOUT_A_WORD[name]:
            refuse(name)
    config: JSON = {ours: value for name, ours in AS_THEY_ARE.items() if (value := getattr(request, name)) is not None}
    for name, (ours, nothing) in BEYOND.items():
        if (value := getattr(request, name)) not in (None, nothing):
            config[ours] = value
    if request.limit is not None:
        config["maxOutputTokens"] = request.limit
    if request.stop:
        config["stopSequences"] = [request.stop] if isinstance(request.stop, str) else request.stop
    if request.logprobs or request.top_logprobs:
        config["responseLogprobs"] = True
        if request.top_logprobs:
            config["logprobs"] = request.top_logprobs
    return config | _format(request, refuse)


def _format(request: ChatCompletionRequest, refuse: Refuse) -> JSON:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return {}
    if isinstance(wanted, OtherFormat):
        refuse("response_format")
        return {}
    for name, value in (wanted.model_extra or {}).items():
        if value is not None:
            refuse(f"response_format.{name}")
    if isinstance(wanted, PlainFormat):
        return {"responseMimeType": "application/json"}
    schema = wanted.json_schema.json_schema
    if schema is None:
        return {"responseMimeType": "application/json"}
    told = {"description": wanted.json_schema.description} if wanted.json_schema.description else {}
    return {"responseMimeType": "application/json", "responseJsonSchema": told | schema}


def _thinking(effort: str, model: str, refuse: Refuse) -> JSON:
    """Gemini 2.5 has a budget for thinking. Later ones have levels, and do not leave it."""
    if generation(model) == 2 and effort in BUDGETS:
        return {"thinkingConfig": {"thinkingBudget": BUDGETS[effort], "includeThoughts": effort != "none"}}
    if generation(model) != 2 and effort in LEVELS:
        return {"thinkingConfig": {"thinkingLevel": effort.upper(), "includeThoughts": True}}
    refuse("reasoning_effort")
    return {}


def _googles(request: ChatCompletionRequest, refuse: Refuse) -> JSON:
    """Google's own fields, each by its name with underscores. All else that a client made up is refused."""
    found: JSON = {}
    for name, value in (request.model_extra or {}).items():
        if value is None or value in NEUTRAL.get(name, ()):
            continue
        if name in OF_THE_CONFIG or name in OF_THE_BODY:
            found[name] = value
        elif name == "google" or (name == "extra_body" and isinstance(value, dict) and value.keys() == {"google"}):
            found |= _within(value if name == "google" else value["google"], refuse)
        else:
            refuse(name)
    if request.stream_options and (beyond := request.stream_options.model_extra):
        for name, value in beyond.items():
            if value:
                refuse(f"stream_options.{name}")
    return found


def _within(google: Any, refuse: Refuse) -> JSON:
    if not isinstance(google, dict):
        raise BadRequest("Google's own fields come as an object.", param="google")
    found: JSON = {}
    for name, value in google.items():
        known = CAMEL.get(name, name)
        if known in OF_THE_CONFIG or known in OF_THE_BODY:
            found[known] = value
        else:
            refuse(f"google.{name}")
    return found


def tooling(request: ChatCompletionRequest, refuse: Refuse) -> JSON:
    """`tools`: the functions in one, and each of Google's own. `toolConfig`: which may, or must, be called."""
    functions, tools, strict = [], [], False
    for place, tool in enumerate(request.tools or ()):
        if isinstance(tool, FunctionTool):
            functions.append(_function(tool, f"tools[{place}]", refuse))
            strict = strict or bool(tool.function.strict)
        else:
            tools += _own(tool, f"tools[{place}]", refuse)
    if functions:
        tools.insert(0, {"functionDeclarations": functions})
    if not tools:
        return {}
    mode = _mode(request, refuse, strict=strict)
    return {"tools": tools} | ({"toolConfig": {"functionCallingConfig": mode}} if mode else {})


def _function(tool: FunctionTool, where: str, refuse: Refuse) -> JSON:
    function = tool.function
    for name, value in ((tool.model_extra or {}) | (function.model_extra or {})).items():
        if value is not None:
            refuse(f"{where}.{name}")
    declared: JSON = {"name": function.name}
    if function.description:
        declared["description"] = function.description
    if function.parameters is not None:
        declared["parametersJsonSchema"] = function.parameters
    return declared


def _own(tool: OtherTool, where: str, refuse: Refuse) -> list[JSON]:
    """A tool that Google runs: {"type": "google_search"}, with what it shall know under that name."""
    name = TOOLS.get(tool.type)
    beyond = tool.model_extra or {}
    if name is None or beyond.keys() - {tool.type}:
        refuse(f"{where}.type" if name is None else f"{where}.{min(beyond.keys() - {tool.type})}")
        return []
    return [{name: beyond.get(tool.type) or {}}]


def _mode(request: ChatCompletionRequest, refuse: Refuse, *, strict: bool) -> JSON:
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
                refuse("tool_choice.allowed_tools.tools")
            mode = "ANY" if choice.allowed_tools.mode == "required" else "VALIDATED"
            return {"mode": mode} | ({"allowedFunctionNames": names} if names else {})
    refuse("tool_choice")
    return {}
