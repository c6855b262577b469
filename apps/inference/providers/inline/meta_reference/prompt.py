"""A request as the engine needs it: the prompt's tokens and how to sample. What cannot be honoured is refused here."""

from typing import Any

from jinja2 import TemplateError

from apps.inference.schemas import ChatCompletionRequest, Message, TextPart
from llamastack.errors import BadRequest, UnsupportedParameter
from llamastack.sampling import SamplingParams, strategy

PROVIDER = "inline::meta-reference"
MAX_STOP = 1000  # characters of one stop string

# Fields without a meaning for the tokens of an answer, and values that say the same as leaving a field out.
HARMLESS = {
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "top_k",
}
NEUTRAL: dict[str, Any] = {
    "frequency_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "min_p": 0,
    "modalities": ["text"],
    "presence_penalty": 0,
    "repetition_penalty": 1,
    "response_format": {"type": "text"},
    "tools": [],
    "top_logprobs": 0,
}


def refuse_unsupported(request: ChatCompletionRequest) -> None:
    """Raise UnsupportedParameter for the first field that is set, matters, and cannot be honoured."""
    fields = {name: getattr(request, name) for name in NEUTRAL if name in ChatCompletionRequest.model_fields}
    for name, value in (fields | (request.model_extra or {})).items():
        if value is not None and name not in HARMLESS and value != NEUTRAL.get(name):
            raise UnsupportedParameter(name, PROVIDER)
    if request.tool_choice not in (None, "none", "auto"):
        raise UnsupportedParameter("tool_choice", PROVIDER)


def sampling(
    request: ChatCompletionRequest, temperature: float | None = None, max_tokens: int | None = None
) -> SamplingParams:
    """The request's sampling parameters; `max_completion_tokens` is OpenAI's newer name and wins.

    `temperature` and `max_tokens` hold for a request that names none.
    """
    heat = temperature if request.temperature is None else request.temperature
    return SamplingParams(
        strategy=strategy(heat, request.top_p, _top_k(request)),
        max_tokens=request.max_completion_tokens or request.max_tokens or max_tokens,
        stop=_stops(request),
        seed=request.seed,
    )


def encode(tokenizer: Any, messages: list[Message]) -> list[int]:
    """The conversation through the model's own chat template, ready for its answer."""
    if not tokenizer.chat_template:
        raise BadRequest("This model has no chat template, so it cannot chat; use an instruct model.", param="model")
    turns = [_turn(index, message) for index, message in enumerate(messages)]
    try:
        text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:
        raise BadRequest(f"The model's chat template refuses these messages: {error}", param="messages") from error
    tokens: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return tokens


def _turn(index: int, message: Message) -> dict[str, str]:
    """A message as templates know it; `developer` is OpenAI's newer word for `system`."""
    if message.role in ("tool", "function") or message.tool_calls:
        raise UnsupportedParameter(f"messages[{index}]", PROVIDER, "This provider does not call tools.")
    role = "system" if message.role == "developer" else message.role
    turn = {"role": role, "content": _content(index, message)}
    return turn | {"name": message.name} if message.name else turn


def _content(index: int, message: Message) -> str:
    if not isinstance(message.content, list):
        return message.content or ""
    texts = []
    for place, part in enumerate(message.content):
        if not isinstance(part, TextPart):
            field = f"messages[{index}].content[{place}]"
            raise UnsupportedParameter(field, PROVIDER, f"It reads text; this part is '{part.type}'.")
        texts.append(part.text)
    return "".join(texts)


def _top_k(request: ChatCompletionRequest) -> int | None:
    top_k = (request.model_extra or {}).get("top_k")
    if top_k is None:
        return None
    if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1:
        raise BadRequest("'top_k' must be a whole number of at least 1.", param="top_k")
    return top_k


def _stops(request: ChatCompletionRequest) -> tuple[str, ...]:
    stops = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    if not all(0 < len(stop) <= MAX_STOP for stop in stops):
        raise BadRequest(f"A stop string must have 1 to {MAX_STOP} characters.", param="stop")
    return stops
