"""The tokens of a call, as its provider tells them."""

from typing import Any

from pydantic import BaseModel

from apps.inference.lane.replies import Usage
from llamastack.call import Outcome


def tally(outcome: Outcome, usage: Any, events: int = 0) -> None:
    """`usage` is a struct, an object of ours, or JSON; where there is none, a stream's events are counted instead."""
    if isinstance(usage, Usage):
        prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
        outcome.input_tokens, outcome.output_tokens = usage.prompt_tokens, usage.completion_tokens
        outcome.cached_tokens = prompt.cached_tokens if prompt else None
        outcome.reasoning_tokens = completion.reasoning_tokens if completion else None
        return
    told = usage.model_dump() if isinstance(usage, BaseModel) else usage
    if isinstance(told, dict):
        outcome.input_tokens, outcome.output_tokens = whole(told, "prompt_tokens"), whole(told, "completion_tokens")
        outcome.cached_tokens = whole(told.get("prompt_tokens_details"), "cached_tokens")
        outcome.reasoning_tokens = whole(told.get("completion_tokens_details"), "reasoning_tokens")
    elif events:
        outcome.output_tokens, outcome.estimated = events, True


def whole(told: Any, name: str) -> int | None:
    number = told.get(name) if isinstance(told, dict) else None
    return number if isinstance(number, int) else None
