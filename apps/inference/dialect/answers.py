"""A whole answer put right. Every function takes an upstream's JSON, in which anything may be of any type."""

from typing import Any, get_args

import orjson

from apps.inference.schemas import FinishReason
from llamastack.ids import new_id

JSON = dict[str, Any]

KNOWN_REASONS = frozenset(get_args(FinishReason))
# What other vendors call OpenAI's finish reasons, in lower case. Together: https://docs.together.ai/reference (`eos`);
# TGI: router/src/lib.rs (`eos_token`, `stop_sequence`); Gemini: https://ai.google.dev/api/generate-content#FinishReason.
FINISH_REASONS = {
    "complete": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "stop_token": "stop",
    "max_length": "length",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "model_length": "length",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "blocklist": "content_filter",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "image_prohibited_content": "content_filter",
    "image_recitation": "content_filter",
    "image_safety": "content_filter",
    "language": "content_filter",
    "model_armor": "content_filter",
    "prohibited_content": "content_filter",
    "recitation": "content_filter",
    "safety": "content_filter",
    "spii": "content_filter",
}
# An answer that ended so is none. vLLM: `abort`, `error`; DeepSeek:
# https://api-docs.deepseek.com/api/create-chat-completion (`insufficient_system_resource`); Bedrock:
# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (`malformed_model_output`,
# `malformed_tool_use`); the others are Gemini's.
FAILURES = frozenset(
    {
        *("abort", "error", "insufficient_system_resource", "malformed_function_call", "malformed_response"),
        *("malformed_model_output", "malformed_tool_use", "missing_thought_signature", "too_many_tool_calls"),
        "unexpected_tool_call",
    }
)


class AnswerFailed(Exception):
    """An answer that says by its finish reason, the argument, that it is none."""


class Malformed(ValueError):
    """An answer that is nothing which any vendor means."""


def mended(answer: JSON, model: str) -> JSON:
    """A whole chat completion or completion."""
    choices = [_choice(choice, place) for place, choice in enumerate(objects(answer.get("choices")))]
    return with_usage(head(answer, model) | {"choices": choices}, answer.get("usage"))


def mended_embeddings(answer: JSON, model: str) -> JSON:
    """Vectors without an index are in the order of the inputs."""
    vectors = [{"index": place} | without_null(item) for place, item in enumerate(objects(answer.get("data")))]
    return with_usage(head(answer, model) | {"data": vectors}, answer.get("usage"))


def head(answer: JSON, model: str) -> JSON:
    """All but choices and usage. Left out where it is empty: id, time and object, for which we have our own."""
    kept = {name: value for name, value in answer.items() if name not in ("object", "choices", "usage")}
    created = kept.pop("created", None)
    if isinstance(created, int | float) and created > 0:
        kept["created"] = int(created)
    if not isinstance(kept.get("id"), str) or not kept["id"]:
        kept.pop("id", None)
    return kept | {"model": kept.get("model") or model}


def with_usage(answer: JSON, usage: Any) -> JSON:
    known = known_usage(usage)
    return answer if known is None else answer | {"usage": known}


def known_usage(usage: Any) -> JSON | None:
    """Usage that says something, its missing total added up. An empty one is none, not one of zero tokens."""
    if not isinstance(usage, dict | None):
        raise Malformed("'usage' is no object")
    if not isinstance(usage, dict) or not isinstance(usage.get("prompt_tokens"), int):
        return None
    counted = without_null(usage)
    told = [counted[name] for name in ("prompt_tokens", "completion_tokens") if isinstance(counted.get(name), int)]
    return {"total_tokens": sum(told)} | counted


def _choice(choice: JSON, place: int) -> JSON:
    kept = choice | {"index": index_of(choice, place)} | logprobs_of(choice)
    if "text" in choice and "message" not in choice:
        return kept | {"text": text_of(choice)} | reason_of(choice)
    message = mended_message(choice.get("message"))
    if calls := tool_calls(message.pop("tool_calls", None)):
        message["tool_calls"] = calls
    return kept | {"message": message} | reason_of(choice, called=bool(calls))


def mended_message(message: Any) -> JSON:
    """A message, or a delta of one, without its role, which is always the assistant's. Tool calls stay as they are."""
    if not isinstance(message, dict | None):
        raise Malformed("a message is no object")
    kept = {name: value for name, value in (message or {}).items() if name != "role"}
    if isinstance(kept.get("content"), list):
        kept |= _joined_parts(objects(kept["content"]))
    return kept


def _joined_parts(parts: list[JSON]) -> JSON:
    """Databricks answers in parts where a model reasons, as other vendors are asked:
    https://docs.databricks.com/aws/en/machine-learning/model-serving/query-reason-models
    """
    thoughts = [thought for part in parts for thought in objects(part.get("summary"))]
    reasoning = "".join(str(thought.get("text", "")) for thought in thoughts)
    said = {"content": "".join(str(part["text"]) for part in parts if isinstance(part.get("text"), str))}
    return said | {"reasoning_content": reasoning} if reasoning else said


def tool_calls(calls: Any) -> list[JSON]:
    """Whole calls: each with an id of its own and arguments as text."""
    return [
        {"type": "function"} | mended_call(call) | {"id": call_id(call) or new_id("call_")} for call in objects(calls)
    ]


def mended_call(call: JSON) -> JSON:
    """A call, or a delta of one, as far as it says something. TGI 2 wrote arguments as an object."""
    kept = without_null(call)
    function = kept.get("function")
    if not isinstance(function, dict | None):
        raise Malformed("a 'function' is no object")
    if function is not None:
        kept["function"] = without_null(function | {"arguments": _as_text(function.get("arguments"))})
    return kept


def _as_text(arguments: Any) -> str | None:
    if isinstance(arguments, str | None):
        return arguments
    try:
        return orjson.dumps(arguments).decode()
    except orjson.JSONEncodeError as error:  # a number or a depth that JSON of this library has no room for
        raise Malformed("the arguments of a call cannot be written as text") from error


def call_id(call: JSON) -> str:
    """Gemini's may be empty, and TGI's was a number."""
    return str(call["id"]) if call.get("id") not in (None, "") else ""


def reason_of(choice: JSON, *, called: bool = False) -> JSON:
    """Why a choice ended, in OpenAI's word, with the vendor's own beside it. Some say "" until it has ended.

    `called`: tools were called, which Gemini and older servers tell as any other end.
    """
    native = choice.get("finish_reason")
    if not isinstance(native, str | None):
        raise Malformed("a 'finish_reason' is no text")
    if not native:
        return {"finish_reason": None}
    word = native.lower()
    if word in FAILURES:
        raise AnswerFailed(native)
    reason = word if word in KNOWN_REASONS else FINISH_REASONS.get(word, "stop")
    ours = {"finish_reason": "tool_calls" if called and reason == "stop" else reason}
    return ours if native in KNOWN_REASONS else ours | {"native_finish_reason": native}


def logprobs_of(choice: JSON) -> JSON:
    """Together streams the number of the one token: https://docs.together.ai/docs/logprobs"""
    logprobs = choice.get("logprobs")
    if logprobs is None or isinstance(logprobs, dict):
        return {}
    return {"logprobs": {"token_logprobs": logprobs if isinstance(logprobs, list) else [logprobs]}}


def text_of(choice: JSON) -> str:
    text = choice.get("text")
    if not isinstance(text, str | None):
        raise Malformed("a 'text' is none")
    return text or ""


def index_of(item: JSON, place: int) -> int:
    index = item.get("index")
    if not isinstance(index, int | None):
        raise Malformed("an 'index' is no number")
    return place if index is None else index


def objects(items: Any) -> list[JSON]:
    """The objects of a list, which some vendors write as null, or as the only one of them."""
    listed = [] if items is None else [items] if isinstance(items, dict) else items
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise Malformed("what should be a list of objects is none")
    return listed


def without_null(item: JSON) -> JSON:
    return {name: value for name, value in item.items() if value is not None}
