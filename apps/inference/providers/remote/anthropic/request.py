"""A chat completion of OpenAI's asked in the words of the Messages API.

Format: https://platform.claude.com/docs/en/api/messages. The same body, without `model` and with `anthropic_version`,
is what Claude is asked on Vertex AI.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from apps.inference.providers.remote.anthropic.conversation import conversation
from apps.inference.providers.remote.anthropic.families import family
from apps.inference.providers.remote.anthropic.lacks import JSON, NOTHING, Lacks
from apps.inference.providers.remote.anthropic.sampling import sample, think
from apps.inference.providers.remote.anthropic.schemas import formatted
from apps.inference.providers.remote.anthropic.tools import tools
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
# Anthropic's own fields, which are sent as they are.
OWN = ("top_k", "thinking", "output_config", "cache_control", "container", "inference_geo", "speed", "diagnostics")
KNOWN = (*OWN, "service_tier", "safety_identifier")
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
    body |= tools(request, spoken.turns, able, lacks)
    answer_tool = formatted(body, request.response_format, able, lacks)
    think(body, request, able, lacks)
    sample(body, request, able, lacks)
    to_drop(lacks, config)
    return Asked(body, answer_tool)


def _extra(request: ChatCompletionRequest, lacks: Lacks) -> JSON:
    """The fields that OpenAI has and the schema does not name, and Anthropic's own."""
    for name, neutral in NEUTRAL.items():
        if getattr(request, name) not in neutral:
            lacks.note(name)
    if request.stream_options is not None:
        lacks.taken(request.stream_options.model_extra, (), "stream_options.")
    return lacks.taken(request.model_extra, KNOWN, "")


def _identity(request: ChatCompletionRequest, extra: JSON, lacks: Lacks) -> JSON:
    """Who asks, and at which tier."""
    said: JSON = {}
    user, newer = request.user, extra.get("safety_identifier")
    if user and newer and user != newer:
        raise BadRequest("Anthropic takes one id of a user: give 'user' or 'safety_identifier'.", param="user")
    user = user or newer
    if user not in NOTHING:
        if not isinstance(user, str) or len(user) > LONGEST_USER:
            raise BadRequest(f"Anthropic takes a 'user' of at most {LONGEST_USER} characters.", param="user")
        said["metadata"] = {"user_id": user}
    tier = extra.get("service_tier")
    if isinstance(tier, str) and tier in TIERS:
        said["service_tier"] = TIERS[tier]
    elif tier is not None:
        lacks.note("service_tier")
    return said
