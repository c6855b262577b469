"""A chat completion of OpenAI's asked in the words of the Messages API.

Format: https://platform.claude.com/docs/en/api/messages. The same body, without `model` and with `anthropic_version`, is
what Claude is asked on Vertex AI.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from apps.inference.providers.remote.anthropic.conversation import conversation
from apps.inference.providers.remote.anthropic.families import Family, family
from apps.inference.providers.remote.anthropic.lacks import JSON, Lacks
from apps.inference.providers.remote.anthropic.schemas import formatted
from apps.inference.providers.remote.anthropic.tools import forces, tools
from apps.inference.providers.unsupported import GeneratesConfig, to_drop
from apps.inference.schemas import ChatCompletionRequest
from llamastack.errors import BadRequest

# OpenAI's fields that Anthropic has none for, each with the values that ask for nothing.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "seed": (None,),
}
NEUTRAL_EXTRA: Mapping[str, tuple[Any, ...]] = {"modalities": (["text"],), "verbosity": ("medium",)}
# Anthropic's own fields, which are sent as they are.
OWN = ("top_k", "thinking", "cache_control", "container", "inference_geo", "speed", "diagnostics")
KNOWN = (*OWN, "service_tier", "safety_identifier")
TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
LONGEST_USER = 512
LEAST_BUDGET = 1024
# Of a model that thinks by a budget, as tokens.
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768, "max": 65_536}
SCALE = "Claude's go from 0 to 1."
AT_ONE = "Claude thinks at 1 alone: leave it out, or leave out what makes it think."
BY_ITSELF = "This model samples as it finds right: leave it out."
FORCED = "Claude does not think where it has to call a tool, or answers in JSON by one: leave one of them out."


class Asked(NamedTuple):
    """A body, and the name of the tool by which the answer comes as JSON, where there is one."""

    body: JSON
    answer_tool: str | None


def asked(
    request: ChatCompletionRequest, upstream: str, config: GeneratesConfig, max_tokens: int | None = None
) -> Asked:
    """`max_tokens` is asked for where the request gives no limit; without it, the most that the model gives."""
    able, lacks = family(request.model), Lacks(upstream)
    extra = _extra(request, lacks)
    spoken = conversation(request.messages, lacks)
    limit = request.limit or max_tokens or able.limit
    body: JSON = {"model": request.model, "max_tokens": limit, "messages": spoken.turns}
    if spoken.system:
        body["system"] = spoken.system
    if request.stream:
        body["stream"] = True
    if request.stop:
        body["stop_sequences"] = [request.stop] if isinstance(request.stop, str) else list(request.stop)
    body |= {name: extra[name] for name in OWN if name in extra}
    body |= _identity(request, extra, lacks)
    body |= tools(request, spoken.turns, lacks)
    answer_tool = formatted(body, request.response_format, able, lacks)
    _think(body, request, able, lacks)
    _sample(body, request, able, lacks)
    to_drop(lacks, config)
    return Asked(body, answer_tool)


def _extra(request: ChatCompletionRequest, lacks: Lacks) -> JSON:
    """The fields that OpenAI has and the schema does not name, and Anthropic's own."""
    for name, neutral in NEUTRAL.items():
        if getattr(request, name) not in neutral:
            lacks.note(name)
    if request.stream_options is not None:
        lacks.taken(request.stream_options.model_extra, (), "stream_options.")
    given = request.model_extra or {}
    told = {name: value for name, value in given.items() if value not in NEUTRAL_EXTRA.get(name, ())}
    return lacks.taken(told, KNOWN, "")


def _identity(request: ChatCompletionRequest, extra: JSON, lacks: Lacks) -> JSON:
    """Who asks, and at which tier."""
    said: JSON = {}
    user = request.user or extra.get("safety_identifier")
    if isinstance(user, str) and user:
        if len(user) > LONGEST_USER:
            raise BadRequest(f"Anthropic takes a 'user' of at most {LONGEST_USER} characters.", param="user")
        said["metadata"] = {"user_id": user}
    tier = extra.get("service_tier")
    if tier in TIERS:
        said["service_tier"] = TIERS[tier]
    elif tier is not None:
        lacks.note("service_tier")
    return said


def _think(body: JSON, request: ChatCompletionRequest, able: Family, lacks: Lacks) -> None:
    effort = request.reasoning_effort
    if effort is None:
        if thinks(body) and forces(body.get("tool_choice")):
            del body["thinking"]
            lacks.note("thinking", FORCED)
        return
    if "thinking" in body:
        raise BadRequest("'thinking' and 'reasoning_effort' say the same: give one of them.", param="reasoning_effort")
    if effort == "none":
        if able.thinking == "adaptive":
            body["thinking"] = {"type": "disabled"}
    elif able.thinking == "none" or effort not in BUDGETS:
        lacks.note("reasoning_effort")
    elif forces(body.get("tool_choice")):
        lacks.note("reasoning_effort", FORCED)
    elif able.thinking == "adaptive":
        # Newer models show none of their thoughts unless they are asked to.
        body["thinking"] = {"type": "adaptive", "display": "summarized"}
        body.setdefault("output_config", {})["effort"] = _effort(effort, able)
    else:
        body["thinking"] = {"type": "enabled", "budget_tokens": _budget(effort, body["max_tokens"])}


def thinks(body: JSON) -> bool:
    thinking = body.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")


def _effort(effort: str, able: Family) -> str:
    if effort in able.efforts:
        return effort
    return "low" if effort == "minimal" else "max"


def _budget(effort: str, limit: int) -> int:
    """It is part of the limit, of which half is left for the answer."""
    if limit <= LEAST_BUDGET:
        raise BadRequest(
            f"Claude thinks with at least {LEAST_BUDGET} tokens, which are part of the limit: ask for more, or leave out "
            "'reasoning_effort'.",
            param="max_completion_tokens",
        )
    return max(LEAST_BUDGET, min(BUDGETS[effort], limit // 2))


def _sample(body: JSON, request: ChatCompletionRequest, able: Family, lacks: Lacks) -> None:
    """`temperature` and `top_p`, where they ask for anything: 1 is what happens without them."""
    temperature, top_p = request.temperature, request.top_p
    if temperature is not None and temperature != 1:
        if not able.samples:
            lacks.note("temperature", BY_ITSELF)
        elif thinks(body):
            lacks.note("temperature", AT_ONE)
        elif temperature > 1:
            lacks.note("temperature", SCALE)
        else:
            body["temperature"] = temperature
    if top_p is not None and top_p != 1:
        if not able.samples:
            if top_p < 0.99:
                lacks.note("top_p", BY_ITSELF)
        elif thinks(body) and top_p < 0.95:
            lacks.note("top_p", "Claude thinks with one of at least 0.95.")
        elif "temperature" in body and not able.samples_by_both:
            lacks.note("top_p", "Claude takes it or 'temperature', and not both.")
        else:
            body["top_p"] = top_p
