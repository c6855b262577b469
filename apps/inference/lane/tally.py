"""The tokens of a call, as its provider tells them."""

from typing import Any

from pydantic import BaseModel

from apps.inference.lane.replies import Usage
from apps.inference.settling import detail
from llamastack.call import Outcome


def tally(outcome: Outcome, usage: Any) -> None:
    """`usage` is a struct, an object of ours, or JSON."""
    if isinstance(usage, Usage):
        prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
        outcome.input_tokens, outcome.output_tokens = usage.prompt_tokens, usage.completion_tokens
        outcome.cached_tokens = prompt.cached_tokens if prompt else None
        outcome.reasoning_tokens = completion.reasoning_tokens if completion else None
        return
    told = usage.model_dump() if isinstance(usage, BaseModel) else usage
    if isinstance(told, dict):
        outcome.input_tokens, outcome.output_tokens = detail(told, "prompt_tokens"), detail(told, "completion_tokens")
        outcome.cached_tokens = detail(told.get("prompt_tokens_details"), "cached_tokens")
        outcome.reasoning_tokens = detail(told.get("completion_tokens_details"), "reasoning_tokens")
