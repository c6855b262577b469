"""How a model thinks and samples, and what it takes of one beside the other.

https://platform.claude.com/docs/en/build-with-claude/extended-thinking, …/adaptive-thinking, …/effort
"""

from apps.inference.providers.remote.anthropic.families import Family
from apps.inference.providers.remote.anthropic.schemas import configure
from apps.inference.providers.remote.anthropic.tools import forces
from apps.inference.providers.unsupported import JSON, Lacks
from apps.inference.schemas import ChatCompletionRequest
from llamastack.errors import BadRequest

LEAST_BUDGET = 1024
# Of a model that thinks by a budget, as tokens.
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768, "max": 65_536}
SCALE = "Claude's go from 0 to 1."
AT_ONE = "Claude thinks at 1 alone: leave it out, or leave out what makes it think."
BY_ITSELF = "This model samples as it finds right: leave it out."
FORCED = "Claude does not think where it has to call a tool, or answers in JSON by one: leave one of them out."
ALWAYS = "This model always thinks: ask for 'low'."
LEAST_TOP_P = 0.95  # of a model that thinks
NEARLY_ALL = 0.99  # of a model that samples by itself, which takes this for 1


def think(body: JSON, request: ChatCompletionRequest, able: Family, lacks: Lacks) -> None:
    effort = request.reasoning_effort
    if effort is not None and "thinking" in body:
        raise BadRequest("'thinking' and 'reasoning_effort' say the same: give one of them.", param="reasoning_effort")
    if effort == "none":
        _be_quiet(body, able, lacks)
    elif forces(body.get("tool_choice")):
        _call_without(body, effort, able, lacks)
    elif effort is None:
        return
    elif able.thinking == "none" or effort not in BUDGETS:
        lacks.note("reasoning_effort")
    elif able.thinking == "adaptive":
        # Newer models show none of their thoughts unless they are asked to.
        body["thinking"] = {"type": "adaptive", "display": "summarized"}
        configure(body, "effort", _effort(effort, able), "reasoning_effort")
    else:
        body["thinking"] = {"type": "enabled", "budget_tokens": _budget(effort, body["max_tokens"])}


def _be_quiet(body: JSON, able: Family, lacks: Lacks) -> None:
    """Older models think only where they are asked to."""
    if able.quiet is not None:
        body["thinking"] = {"type": able.quiet}
    elif able.thinking == "adaptive":
        lacks.note("reasoning_effort", ALWAYS)


def _call_without(body: JSON, effort: str | None, able: Family, lacks: Lacks) -> None:
    """Who has to call a tool does not think. A model that does so unasked is asked not to."""
    if effort is not None:
        lacks.note("reasoning_effort", FORCED)
    if thinks(body):
        del body["thinking"]
        lacks.note("thinking", FORCED)
    if able.thinks_unasked and able.quiet is not None:
        body.setdefault("thinking", {"type": able.quiet})


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
            f"Claude thinks with at least {LEAST_BUDGET} tokens, which are part of the limit: ask for more, or leave "
            "out 'reasoning_effort'.",
            param="max_completion_tokens",
        )
    return max(LEAST_BUDGET, min(BUDGETS[effort], limit // 2))


def sample(body: JSON, request: ChatCompletionRequest, able: Family, lacks: Lacks) -> None:
    """`temperature` and `top_p`, where they ask for anything: 1 is what happens without them."""
    temperature, top_p = request.temperature, request.top_p
    if temperature is not None and temperature != 1:
        if (remedy := _wrong_temperature(temperature, body, able)) is None:
            body["temperature"] = temperature
        else:
            lacks.note("temperature", remedy)
    if top_p is not None and top_p < (1 if able.samples else NEARLY_ALL):
        if (remedy := _wrong_top_p(top_p, body, able)) is None:
            body["top_p"] = top_p
        else:
            lacks.note("top_p", remedy)


def _wrong_temperature(temperature: float, body: JSON, able: Family) -> str | None:
    """Why the model does not take it."""
    if not able.samples:
        return BY_ITSELF
    if thinks(body):
        return AT_ONE
    return SCALE if temperature > 1 else None


def _wrong_top_p(top_p: float, body: JSON, able: Family) -> str | None:
    if not able.samples:
        return BY_ITSELF
    if thinks(body) and top_p < LEAST_TOP_P:
        return f"Claude thinks with one of at least {LEAST_TOP_P}."
    if "temperature" in body and not able.samples_by_both:
        return "Claude takes it or 'temperature', and not both."
    return None
