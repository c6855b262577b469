"""The tokens of a call, as its provider tells them."""

from typing import Any

from apps.inference import settling
from apps.inference.lane.replies import Usage
from llamastack.call import Outcome


def tally(outcome: Outcome, usage: Any) -> None:
    """As in the other lane; `usage` may also be a struct."""
    if not isinstance(usage, Usage):
        settling.tally(outcome, usage)
        return
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    outcome.input_tokens, outcome.output_tokens = usage.prompt_tokens, usage.completion_tokens
    outcome.cached_tokens = prompt.cached_tokens if prompt else None
    outcome.reasoning_tokens = completion.reasoning_tokens if completion else None
