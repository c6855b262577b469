"""What Anthropic says: whole messages and the events of streamed ones, from https://platform.claude.com/docs."""

from typing import Any

JSON = dict[str, Any]
MODEL = "claude-sonnet-4-5"
USAGE: JSON = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 3,
    "cache_read_input_tokens": 7,
    "output_tokens": 5,
    "service_tier": "standard",
}
STOPPED: JSON = {"stop_reason": "end_turn", "stop_sequence": None}
DELTAS = {"text": "text_delta", "thinking": "thinking_delta", "signature": "signature_delta"}


def text(words: str, **more: Any) -> JSON:
    return {"type": "text", "text": words, **more}


def thought(words: str, signature: str = "c2lnbmVk") -> JSON:
    return {"type": "thinking", "thinking": words, "signature": signature}


def use(name: str, call: str = "toolu_1", **arguments: Any) -> JSON:
    return {"type": "tool_use", "id": call, "name": name, "input": arguments}


def message(*content: JSON, **more: Any) -> JSON:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": list(content)}
    return head | STOPPED | {"usage": USAGE} | more


def begun() -> JSON:
    first = message(stop_reason=None, usage=USAGE | {"output_tokens": 1})
    return {"type": "message_start", "message": first}


def piece(index: int, kind: str, **more: Any) -> JSON:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **more}}


def block(index: int, start: JSON, *pieces: JSON) -> list[JSON]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *pieces,
        {"type": "content_block_stop", "index": index},
    ]


def ended(reason: str = "end_turn", **more: Any) -> list[JSON]:
    delta = STOPPED | {"stop_reason": reason} | more
    usage = {"output_tokens": 5}
    return [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]


def spoken(*words: str, reason: str = "end_turn") -> list[JSON]:
    """A streamed text."""
    pieces = [piece(0, "text_delta", text=each) for each in words]
    return [begun(), {"type": "ping"}, *block(0, text(""), *pieces), *ended(reason)]


def error(kind: str, words: str) -> JSON:
    return {"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_1"}
