"""How the next token is chosen. OpenAI's parameters map to a strategy here, in one place."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Greedy:
    type: Literal["greedy"] = "greedy"


@dataclass(frozen=True, slots=True)
class TopP:
    """Nucleus sampling: the smallest set of tokens whose probability reaches `top_p`.

    Tokens less likely than `min_p` times the likeliest are left out beforehand.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    min_p: float = 0.0
    type: Literal["top_p"] = "top_p"


@dataclass(frozen=True, slots=True)
class TopK:
    """The `top_k` likeliest tokens, of those the nucleus `top_p`; `min_p` as above."""

    top_k: int
    temperature: float = 1.0
    top_p: float = 1.0
    min_p: float = 0.0
    type: Literal["top_k"] = "top_k"


Strategy = Greedy | TopP | TopK


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an answer's text must be: JSON of a schema, a whole match of a regular expression, or of a Lark grammar.

    `field` is where the request says so; errors name it.
    """

    type: Literal["json_schema", "regex", "grammar"]
    text: str
    field: str


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """What an engine needs to know about one generation. `max_tokens` counts generated tokens."""

    strategy: Strategy = Greedy()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None  # how many of the likeliest tokens to name beside each; None: say no logprobs
    prompt_logprobs: bool = False
    constraint: Constraint | None = None


def strategy(temperature: float | None, top_p: float | None, top_k: int | None = None, min_p: float = 0.0) -> Strategy:
    """OpenAI's parameters as a strategy: both default to 1; a 0 of either (or top_k of 1) is greedy."""
    heat = 1.0 if temperature is None else temperature
    if heat == 0 or top_p == 0 or top_k == 1:
        return Greedy()
    nucleus = 1.0 if top_p is None else top_p
    if top_k is not None:
        return TopK(top_k, heat, nucleus, min_p)
    return TopP(heat, nucleus, min_p)
