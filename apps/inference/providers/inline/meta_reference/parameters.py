"""A request's parameters as the engine needs them: how to sample. What cannot be honoured is refused here."""

from collections.abc import Iterator
from typing import Any, TypeVar

from apps.inference.providers.inline.meta_reference import formats
from apps.inference.providers.unsupported import REMEDY, GeneratesConfig, to_drop
from apps.inference.schemas import (
    ChatCompletionRequest,
    CompletionRequest,
    GenerationRequest,
    OtherTool,
    OtherToolCall,
    OtherToolChoice,
)
from llamastack.errors import BadRequest, UnsupportedParameter
from llamastack.sampling import SamplingParams, strategy

R = TypeVar("R", ChatCompletionRequest, CompletionRequest)
PROVIDER = "inline::meta-reference"
MAX_DIGITS = 12  # of a token id
MAX_STOP = 1000  # characters of one stop string
COMPLETION_TOKENS = 16  # of a completion that names none, as the API reference says

# Fields without a meaning for the tokens of an answer, and values that say the same as leaving a field out.
HARMLESS = formats.FIELDS | {
    "metadata",
    "min_p",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "repetition_penalty",
    "safety_identifier",
    "service_tier",
    "store",
    "top_k",
}
NEUTRAL_IN_CHATS: dict[str, Any] = {
    "modalities": ["text"],
}
NEUTRAL_IN_COMPLETIONS: dict[str, Any] = {"suffix": ""}
REMEDIES = {
    "function_call": "Use 'tool_choice' in its place.",
    "functions": "Use 'tools' in its place.",
    "suffix": f"It writes what follows a prompt, and cannot fill a gap. {REMEDY}",
}
ONLY_FUNCTIONS = "It calls tools of the type 'function'."


def honoured(request: R, config: GeneratesConfig) -> R:
    """The request with nothing in it that cannot be honoured. Raises UnsupportedParameter, as the config says."""
    dropped = to_drop(unsupported(request), config)
    if not dropped:
        return request
    return type(request).model_validate(request.model_dump(exclude_unset=True, exclude=dropped))


def unsupported(request: ChatCompletionRequest | CompletionRequest) -> Iterator[UnsupportedParameter]:
    """A refusal of each field that is set, matters, and cannot be honoured."""
    chat = isinstance(request, ChatCompletionRequest)
    neutral = NEUTRAL_IN_CHATS if chat else NEUTRAL_IN_COMPLETIONS
    fields = {name: getattr(request, name) for name in neutral if name in type(request).model_fields}
    for name, value in (fields | (request.model_extra or {})).items():
        if value is not None and name not in HARMLESS and value != neutral.get(name):
            yield UnsupportedParameter(name, PROVIDER, REMEDIES.get(name, REMEDY))
    if isinstance(request, ChatCompletionRequest):
        _refuse_other_tools(request)
    else:
        yield from _other_best_of(request)


def _refuse_other_tools(request: ChatCompletionRequest) -> None:
    """Whatever the config says: without them, the request would be another one."""
    for index, tool in enumerate(request.tools or ()):
        if isinstance(tool, OtherTool):
            raise UnsupportedParameter(f"tools[{index}]", PROVIDER, ONLY_FUNCTIONS)
    if isinstance(request.tool_choice, OtherToolChoice):
        raise UnsupportedParameter("tool_choice", PROVIDER, ONLY_FUNCTIONS)
    for index, message in enumerate(request.messages):
        if any(isinstance(call, OtherToolCall) for call in message.tool_calls or ()):
            raise UnsupportedParameter(f"messages[{index}].tool_calls", PROVIDER, ONLY_FUNCTIONS)


def _other_best_of(request: CompletionRequest) -> Iterator[UnsupportedParameter]:
    best_of = request.best_of or request.choices
    if best_of < request.choices:
        raise BadRequest(f"'best_of' is {best_of}, and 'n' asks for {request.choices} of them.", param="best_of")
    if best_of > request.choices:
        yield UnsupportedParameter("best_of", PROVIDER, f"It ranks no answers. {REMEDY}")


def sampling(
    request: ChatCompletionRequest | CompletionRequest, temperature: float | None = None, max_tokens: int | None = None
) -> SamplingParams:
    """The request's sampling parameters; `temperature` and `max_tokens` hold for a request that names none."""
    heat = temperature if request.temperature is None else request.temperature
    return SamplingParams(
        strategy=strategy(heat, request.top_p, _top_k(request), _number(request, "min_p", 0, 1, 0)),
        max_tokens=max_tokens if request.limit is None else request.limit,
        stop=_stops(request),
        seed=request.seed,
        frequency_penalty=request.frequency_penalty or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        repetition_penalty=_number(request, "repetition_penalty", 0.01, 100, 1),
        logit_bias=tuple((_token(name), bias) for name, bias in (request.logit_bias or {}).items()),
        logprobs=_logprobs(request),
        prompt_logprobs=isinstance(request, CompletionRequest) and bool(request.echo) and request.logprobs is not None,
        constraint=formats.constraint(request, PROVIDER),
    )


def refuse_foreign_tokens(sampling: SamplingParams, vocabulary: int) -> None:
    """Raise BadRequest where a token is biased that the model does not have."""
    largest = max((token for token, _ in sampling.logit_bias), default=0)
    if largest >= vocabulary:
        raise BadRequest(f"Token {largest} is none: the model has {vocabulary} tokens.", param="logit_bias")


def _logprobs(request: ChatCompletionRequest | CompletionRequest) -> int | None:
    if isinstance(request, CompletionRequest):
        return request.logprobs
    return request.top_logprobs or 0 if request.logprobs else None


def _token(name: str) -> int:
    if not (name.isascii() and name.isdigit() and len(name) < MAX_DIGITS):
        raise BadRequest("The keys of 'logit_bias' must be token ids, such as \"42\".", param="logit_bias")
    return int(name)


def _number(request: GenerationRequest, name: str, least: float, most: float, default: float) -> float:
    """A field that is not OpenAI's, and so not checked yet."""
    value = (request.model_extra or {}).get(name)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise BadRequest(f"'{name}' must be a number from {least:g} to {most:g}.", param=name)
    return float(value)


def _top_k(request: GenerationRequest) -> int | None:
    top_k = (request.model_extra or {}).get("top_k")
    if top_k is None:
        return None
    if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1:
        raise BadRequest("'top_k' must be a whole number of at least 1.", param="top_k")
    return top_k


def _stops(request: GenerationRequest) -> tuple[str, ...]:
    stops = tuple(request.stops)
    if not all(0 < len(stop) <= MAX_STOP for stop in stops):
        raise BadRequest(f"A stop string must have 1 to {MAX_STOP} characters.", param="stop")
    return stops
