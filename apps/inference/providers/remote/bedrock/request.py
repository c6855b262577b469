"""A chat completion of OpenAI's as the body of Converse and of ConverseStream.

Format: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

import re
from collections.abc import Mapping
from typing import Any

from apps.inference.providers.remote.bedrock import claude
from apps.inference.providers.remote.bedrock.conversation import Conversation
from apps.inference.providers.remote.bedrock.families import Family, family
from apps.inference.providers.remote.bedrock.tools import tooling
from apps.inference.providers.unsupported import JSON, GeneratesConfig, Lacks, to_drop
from apps.inference.schemas import ChatCompletionRequest
from llamastack.errors import BadRequest

# Converse's own fields, which a request may have beside OpenAI's.
OWN: Mapping[str, type] = {
    "additionalModelRequestFields": dict,
    "additionalModelResponseFieldPaths": list,
    "guardrailConfig": dict,
    "performanceConfig": dict,
    "promptVariables": dict,
    "requestMetadata": dict,
}
KNOWN = (
    *("max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "tools", "tool_choice"),
    *("response_format", "reasoning_effort", "user", "safety_identifier", "service_tier", "top_k", "thinking", *OWN),
)
TIERS = ("default", "flex", "priority", "reserved")
USER = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,\-.]{1,256}")
MOST_HEAT = 1  # where OpenAI's temperature goes to 2
NOVA = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}


def body(request: ChatCompletionRequest, upstream: str, config: GeneratesConfig) -> tuple[JSON, str | None]:
    """The body, and the name of the tool whose input is the answer. Raises UnsupportedParameter."""
    lacks, own = Lacks(upstream), family(request.model)
    lacks.fields(request, KNOWN)
    talk = Conversation(request.messages, lacks)
    tools = tooling(request, talk.called, own, lacks)
    made: JSON = {"messages": talk.turns, **tools.body, **_own(request)}
    if talk.system:
        made["system"] = talk.system
    made["inferenceConfig"] = _inference(request)
    _sample(made, request, own, lacks)
    _extras(request, own, lacks, made)
    if not made["inferenceConfig"]:
        del made["inferenceConfig"]
    to_drop(lacks, config)
    return made, tools.answer


def _own(request: ChatCompletionRequest) -> JSON:
    found: JSON = {}
    extra = request.model_extra or {}
    for name, kind in OWN.items():
        if extra.get(name):
            if not isinstance(extra[name], kind):
                raise BadRequest(f"'{name}' is to be {'a list' if kind is list else 'an object'}.", param=name)
            # What comes from the client stays as it is; the model's fields are added to.
            found[name] = dict(extra[name]) if kind is dict else extra[name]
    return found


def _inference(request: ChatCompletionRequest) -> JSON:
    made: JSON = {}
    if request.limit is not None:
        made["maxTokens"] = request.limit
    if request.stop:
        made["stopSequences"] = request.stops
    return made


def _sample(made: JSON, request: ChatCompletionRequest, own: Family, lacks: Lacks) -> None:
    """How to sample, and how much to reason: in the words of each family."""
    if own.claude:
        claude.ask(made, request, lacks)
        return
    inference = made.setdefault("inferenceConfig", {})
    if request.temperature is not None and request.temperature > MOST_HEAT:
        lacks.note("temperature", f"It goes to {MOST_HEAT} on Amazon Bedrock.")
    elif request.temperature is not None:
        inference["temperature"] = request.temperature
    if request.top_p is not None:
        inference["topP"] = request.top_p
    if (request.model_extra or {}).get("thinking") is not None:
        lacks.note("thinking")
    if request.reasoning_effort is not None:
        _reason(made, request.reasoning_effort, own, lacks)


def _reason(made: JSON, effort: str, own: Family, lacks: Lacks) -> None:
    if own.reasons == "effort":
        _more(made)["reasoning_effort"] = effort
    elif own.reasons == "nova" and effort in NOVA:
        _more(made)["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": NOVA[effort]}
    elif own.reasons == "nova" and effort == "none":
        _more(made)["reasoningConfig"] = {"type": "disabled"}
    elif effort != "none":
        lacks.note("reasoning_effort")


def _extras(request: ChatCompletionRequest, own: Family, lacks: Lacks, made: JSON) -> None:
    extra = request.model_extra or {}
    if extra.get("top_k") is not None:
        _top_k(extra["top_k"], own, lacks, made)
    tier = extra.get("service_tier")
    if tier in TIERS:
        made["serviceTier"] = {"type": tier}
    elif tier not in (None, "auto"):
        lacks.note("service_tier")
    for name, who in (("user", request.user), ("safety_identifier", extra.get("safety_identifier"))):
        if isinstance(who, str) and USER.fullmatch(who):  # a hint: what Bedrock would not take is not sent
            made["requestMetadata"] = {name: who} | made.get("requestMetadata", {})


def _top_k(top_k: Any, own: Family, lacks: Lacks, made: JSON) -> None:
    if not own.top_k:
        lacks.note("top_k")
        return
    *groups, name = own.top_k
    place = _more(made)
    for group in groups:
        place[group] = dict(place.get(group) or {})
        place = place[group]
    place[name] = top_k


def _more(made: JSON) -> JSON:
    """What the model knows beyond Converse."""
    more: JSON = made.setdefault("additionalModelRequestFields", {})
    return more
