"""What is known of a model beside its name: how much it reads and writes, and what that costs."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MOST_TOKENS = 1_000_000_000
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
Price = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


class Rates(Strict):
    """US dollars for a million tokens of text; None where it is not known. Embeddings have `input` alone.

    `cached_input` is read from the vendor's cache, `cache_write` is kept in it for the usual time (five minutes at
    Anthropic), `cache_write_1h` for an hour.
    """

    input: Price | None = None
    cached_input: Price | None = None
    cache_write: Price | None = None
    cache_write_1h: Price | None = None
    output: Price | None = None


class LongRates(Rates):
    """What all tokens of a request cost whose input is longer than `above` tokens. What it lacks costs the usual."""

    above: Tokens


class Prices(Rates):
    long: Annotated[tuple[LongRates, ...], Field(strict=False, max_length=10)] = ()


class ModelFacts(BaseModel):
    """`context_length` is the longest input; of models whose input and output share one window, that window."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, defer_build=True)

    context_length: Tokens | None = None
    max_output_tokens: Tokens | None = None
    prices: Prices | None = None


FACTS = tuple(ModelFacts.model_fields)
NOTHING = ModelFacts.model_construct()  # built when a model first says something, not when the server starts


def facts_in(metadata: Mapping[str, Any]) -> ModelFacts:
    """What a model's metadata says. What cannot be read, as of a provider's listing, is not known."""
    said = {name: metadata[name] for name in FACTS if metadata.get(name) is not None}
    if not said:
        return NOTHING
    try:
        return ModelFacts.model_validate(said)
    except ValidationError as error:
        wrong = {problem["loc"][0] for problem in error.errors(include_input=False)}
        return ModelFacts.model_validate({name: value for name, value in said.items() if name not in wrong})


def problem_in(metadata: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first of its facts that is wrong, as the path to it and a sentence; None where all are right."""
    try:
        ModelFacts.model_validate({name: metadata[name] for name in FACTS if metadata.get(name) is not None})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        names = f"There is no such price; there are {', '.join(Prices.model_fields)}"
        said = names if first["type"] == "extra_forbidden" else first["msg"]
        return ".".join(map(str, ("metadata", *first["loc"]))), said
    return None
