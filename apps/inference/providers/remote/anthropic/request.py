"""A chat completion of OpenAI's asked in the words of the Messages API.

Format: https://platform.claude.com/docs/en/api/messages. The same body, without `model` and with `anthropic_version`,
is what Claude is asked on Vertex AI.
"""

from typing import Any, NamedTuple

from apps.inference.providers.remote.anthropic.conversation import conversation
from apps.inference.providers.remote.anthropic.families import family
from apps.inference.providers.remote.anthropic.sampling import sample, think
from apps.inference.providers.remote.anthropic.schemas import formatted
from apps.inference.providers.remote.anthropic.tools import tools
from apps.inference.providers.unsupported import JSON, GeneratesConfig, Lacks, to_drop
from apps.inference.schemas import ChatCompletionRequest

# Anthropic's own fields, which are sent as they are.
OWN = ("top_k", "thinking", "output_config", "cache_control", "container", "inference_geo", "speed", "diagnostics")
KNOWN = (
    *("max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "tools", "tool_choice"),
    *("parallel_tool_calls", "response_format", "reasoning_effort", "user", "safety_identifier", "service_tier", *OWN),
)
TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
LONGEST_USER = 512


class Asked(NamedTuple):
    """A body, and the name of the tool by which the answer comes as JSON, where there is one."""

    body: JSON
    answer_tool: str | None


def asked(
    request: ChatCompletionRequest, upstream: str, config: GeneratesConfig, max_tokens: int | None = None
) -> Asked:
    """`max_tokens` is asked for where the request gives no limit; without it, the most that the model gives."""
    able, lacks = family(request.model), Lacks(upstream)
    given = lacks.fields(request, KNOWN)
    spoken = conversation(request.messages, lacks)
    limit = request.limit or max_tokens or able.limit
    body: JSON = {"model": request.model, "max_tokens": limit, "messages": spoken.turns}
    if spoken.system:
        body["system"] = spoken.system
    if request.stream:
        body["stream"] = True
    if request.stop:
        body["stop_sequences"] = request.stops
    body |= {name: given[name] for name in OWN if name in given}
    body |= _identity(given) | _tier(given.get("service_tier"), lacks)
    body |= tools(request, spoken.turns, able, lacks)
    answer_tool = formatted(body, request.response_format, able, lacks)
    think(body, request, able, lacks)
    sample(body, request, able, lacks)
    to_drop(lacks, config)
    return Asked(body, answer_tool)


def _identity(given: JSON) -> JSON:
    """Who asks, by the newer name of it before the older. It is a hint: what Anthropic would not take is not sent."""
    for name in ("safety_identifier", "user"):
        if isinstance(who := given.get(name), str) and 0 < len(who) <= LONGEST_USER:
            return {"metadata": {"user_id": who}}
    return {}


def _tier(tier: Any, lacks: Lacks) -> JSON:
    if tier is None or (isinstance(tier, str) and tier in TIERS):
        return {"service_tier": TIERS[tier]} if tier else {}
    lacks.note("service_tier")
    return {}
