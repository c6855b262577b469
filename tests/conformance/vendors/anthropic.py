"""Anthropic's Messages API: the example of a native dialect."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.conformance.vendors.native import Native, call, content, image, image_at, needed, only, schema, text, tool
from tests.conformance.vendors.vendor import CHAT, JSON, KEY, USAGE, Answer, Asking, NotUnderstood

CHOICES = {"auto": "auto", "any": "required", "none": "none"}
ANY_JSON = "json_answer"
ANSWERS = (ANY_JSON, "answer", "place", "Place")  # what tests call their schemas, and no tool
EFFORTS = ("low", "medium", "high", "xhigh", "max")
FIELDS = (
    *("model", "messages", "system", "max_tokens", "stop_sequences", "stream", "temperature", "top_p", "top_k"),
    *("tools", "tool_choice", "thinking", "output_config", "metadata", "service_tier"),
)


@dataclass(frozen=True)
class Messages(Native):
    @property
    def elsewhere(self) -> Mapping[str, Any]:
        listed = {"type": "model", "id": self.model, "display_name": "Sky", "created_at": "2025-02-19T00:00:00Z"}
        return {"/v1/models": {"data": [listed], "has_more": False, "first_id": self.model, "last_id": self.model}}

    def knows(self, headers: Mapping[str, str]) -> bool:
        """By the header of its documentation, or the one that its newer clients send."""
        return super().knows(headers) or headers.get("Authorization") == f"Bearer {KEY}"

    def asking(self, path: str, query: Mapping[str, str]) -> Asking | None:
        return Asking(CHAT) if path == f"{self.prefix}/messages" and not query else None

    def question(self, operation: str, body: JSON) -> JSON:
        only(body, *FIELDS)
        needed(body, "max_tokens", int)
        asked = {name: body[name] for name in ("model", "max_tokens", "stream", "temperature", "top_p") if name in body}
        asked["messages"] = [*_system(body), *(turn for said in body["messages"] for turn in _turns(said))]
        if "stop_sequences" in body:
            asked["stop"] = needed(body, "stop_sequences", list)
        if "tools" in body:
            asked["tools"] = [_tool(one) for one in needed(body, "tools", list)]
        if "metadata" in body:
            asked["user"] = only(body["metadata"], "user_id")["user_id"]
        return _answering(asked | _choice(body) | _output(body) | _thinking(body))

    def whole(self, answer: Answer) -> JSON:
        return self._message(answer) | {"content": self._blocks(answer), "usage": self._usage()} | self._ending(answer)

    def events(self, answer: Answer) -> list[JSON]:
        opened = self._message(answer) | {"content": [], "stop_reason": None, "stop_sequence": None}
        begun = {"type": "message_start", "message": opened | {"usage": self._usage() | {"output_tokens": 1}}}
        parts = _streamed(self._as_called(answer))
        blocks = [event for index, part in enumerate(parts) for event in _block(index, part)]
        ending = {"type": "message_delta", "delta": self._ending(answer), "usage": {"output_tokens": 4}}
        return [begun, *blocks[:1], {"type": "ping"}, *blocks[1:], ending, {"type": "message_stop"}]

    def encoded(self, event: JSON) -> bytes:
        return f"event: {event.get('type', 'message')}\n".encode() + super().encoded(event)

    def _blocks(self, answer: Answer) -> list[JSON]:
        return list(_whole(self._as_called(answer)))

    def _as_called(self, answer: Answer) -> Answer:
        """Where a tool is the answer, that it is called."""
        named = (answer.body.get("response_format") or {}).get("tool")
        if named is None:
            return answer
        function = {"name": named, "arguments": answer.text}
        return replace(answer, words=[], calls=[{"id": "toolu_0", "type": "function", "function": function}])

    def _message(self, answer: Answer) -> JSON:
        return {"id": "msg_01XFD", "type": "message", "role": "assistant", "model": answer.model}

    def _ending(self, answer: Answer) -> JSON:
        reason = "stop_sequence" if answer.stop else self.reasons[answer.reason]
        reason = "tool_use" if self._as_called(answer).calls else reason
        return {"stop_reason": reason, "stop_sequence": answer.stop}

    def _usage(self) -> JSON:
        """The tokens that are read from the cache are not among the others."""
        cached = self.extras["prompt_tokens_details"]["cached_tokens"]
        told = {"input_tokens": USAGE["prompt_tokens"] - cached, "output_tokens": USAGE["completion_tokens"]}
        return told | {"cache_creation_input_tokens": 0, "cache_read_input_tokens": cached}


def _system(body: JSON) -> list[JSON]:
    said = body.get("system", [])
    parts = [text(said)] if isinstance(said, str) else [_part(block) for block in said]
    return [{"role": "system", "content": content(parts)}] if parts else []


def _turns(said: JSON) -> Iterator[JSON]:
    """A turn of the user may answer tool calls, and say something after that."""
    blocks = only(said, "role", "content")["content"]
    blocks = [text(blocks)] if isinstance(blocks, str) else blocks
    if not blocks:
        raise NotUnderstood("messages: content must not be empty")
    if said["role"] == "assistant":
        yield _assistant(blocks)
        return
    if said["role"] != "user":
        raise NotUnderstood(f"messages: unexpected role {said['role']}")
    results = [block for block in blocks if block["type"] == "tool_result"]
    if results != blocks[: len(results)]:
        raise NotUnderstood("tool_result blocks come first")
    for block in results:
        only(block, "type", "tool_use_id", "content", "is_error", "cache_control")
        parts = block.get("content", "")
        told = parts if isinstance(parts, str) else content(_part(part) for part in parts)
        yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": told or ""}
    if rest := blocks[len(results) :]:
        yield {"role": "user", "content": content(_part(block) for block in rest)}


def _assistant(blocks: list[JSON]) -> JSON:
    turn: JSON = {"role": "assistant"}
    if said := [_part(block) for block in blocks if block["type"] == "text"]:
        turn["content"] = content(said)
    if thoughts := [block for block in blocks if block["type"] in ("thinking", "redacted_thinking")]:
        turn["thinking_blocks"] = thoughts
    calls = [only(block, "type", "id", "name", "input") for block in blocks if block["type"] == "tool_use"]
    if calls:
        turn["tool_calls"] = [call(one["id"], one["name"], needed(one, "input", dict)) for one in calls]
    return turn


def _part(block: JSON) -> JSON:
    marks = {name: block[name] for name in ("cache_control",) if name in block}
    match block["type"]:
        case "text":
            only(block, "type", "text", "cache_control")
            if not block["text"]:
                raise NotUnderstood("text content blocks must be non-empty")
            return text(block["text"]) | marks
        case "image":
            source = only(block, "type", "source", "cache_control")["source"]
            if source["type"] == "url":
                return image_at(only(source, "type", "url")["url"]) | marks
            only(source, "type", "media_type", "data")
            return image(source["media_type"], source["data"]) | marks
    raise NotUnderstood(f"Unexpected block of type {block['type']}")


def _tool(given: JSON) -> JSON:
    only(given, "name", "description", "input_schema", "strict", "cache_control")
    if needed(given, "input_schema", dict).get("type") != "object":
        raise NotUnderstood("input_schema.type: Field required")
    return tool(given["name"], given["input_schema"], given.get("description"))


def _choice(body: JSON) -> JSON:
    if "tool_choice" not in body:
        return {}
    chosen = only(body["tool_choice"], "type", "name", "disable_parallel_tool_use")
    named: Any = {"type": "function", "function": {"name": chosen["name"]}} if chosen["type"] == "tool" else None
    choice = {"tool_choice": named or CHOICES[chosen["type"]]}
    return choice | ({"parallel_tool_calls": False} if chosen.get("disable_parallel_tool_use") else {})


def _answering(asked: JSON) -> JSON:
    """A question in which the input of one of the tools is the answer, which any JSON is, and that of older models."""
    functions = [tool["function"] for tool in asked.get("tools", ())]
    answer = next((function for function in functions if function["name"] in ANSWERS), None)
    if answer is None:
        return asked
    left = [tool for tool in asked["tools"] if tool["function"] is not answer]
    kept = {name: value for name, value in asked.items() if name not in ("tools", "tool_choice")}
    alone = {"tool_choice": "none"} if isinstance(asked.get("tool_choice"), dict) else {}
    kept |= {"tools": left} | alone if left else {}
    if answer["name"] == ANY_JSON:
        return kept | {"response_format": {"type": "json_object", "tool": ANY_JSON}}
    return kept | {"response_format": schema(answer["parameters"], answer["name"]) | {"tool": answer["name"]}}


def _output(body: JSON) -> JSON:
    config = only(body.get("output_config", {}), "format", "effort")
    asked: JSON = {}
    if "format" in config:
        asked["response_format"] = schema(only(config["format"], "type", "schema")["schema"])
    if "effort" in config:
        if config["effort"] not in EFFORTS:
            raise NotUnderstood("output_config.effort")
        asked["reasoning_effort"] = config["effort"]
    return asked


def _thinking(body: JSON) -> JSON:
    if "thinking" not in body:
        return {}
    thinking = only(body["thinking"], "type", "budget_tokens", "display")
    if thinking["type"] == "enabled" and not 1024 <= needed(thinking, "budget_tokens", int) < body["max_tokens"]:
        raise NotUnderstood("thinking.budget_tokens: at least 1024, and less than max_tokens")
    return {} if thinking["type"] == "adaptive" else {"reasoning_effort": thinking["type"]}


def _whole(answer: Answer) -> Iterator[JSON]:
    if answer.thoughts:
        yield {"type": "thinking", "thinking": answer.thought, "signature": "c2lnbmVk"}
    if answer.words:
        yield text(answer.text)
    for one in answer.calls:
        name, arguments = one["function"]["name"], json.loads(one["function"]["arguments"])
        yield {"type": "tool_use", "id": one["id"], "name": name, "input": arguments}


def _streamed(answer: Answer) -> Iterator[list[JSON]]:
    """Each block: how it begins, and its deltas."""
    if answer.thoughts:
        said = [{"type": "thinking_delta", "thinking": thought} for thought in answer.thoughts]
        signed = {"type": "signature_delta", "signature": "c2lnbmVk"}
        yield [{"type": "thinking", "thinking": "", "signature": ""}, *said, signed]
    if answer.words:
        yield [text(""), *({"type": "text_delta", "text": word} for word in answer.words)]
    for one in answer.calls:
        begun = {"type": "tool_use", "id": one["id"], "name": one["function"]["name"], "input": {}}
        arguments = one["function"]["arguments"]
        pieces = ["", arguments[:5], arguments[5:]]
        yield [begun, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces)]


def _block(index: int, parts: list[JSON]) -> Iterator[JSON]:
    begun, *deltas = parts
    yield {"type": "content_block_start", "index": index, "content_block": begun}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def failure(kind: str, message: str) -> JSON:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_011CSHoEeqs5"}


ANTHROPIC = Messages(
    "remote::anthropic",
    "https://platform.claude.com/docs/en/api/messages, …/build-with-claude/streaming, …/api/errors",
    address="",
    authorization=("x-api-key", "{key}"),
    headers={"anthropic-version": r"20\d\d-\d\d-\d\d"},
    model="claude-sonnet-4-5-sky",
    beginning=4,
    reasons={"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"},
    extras={"prompt_tokens_details": {"cached_tokens": 2}},
    thinks=True,
    places={
        "max_tokens": ("max_tokens",),
        "max_completion_tokens": ("max_tokens",),
        "temperature": ("temperature",),
        "top_p": ("top_p",),
        "stop": ("stop_sequences",),
        "user": ("metadata.user_id",),
        "safety_identifier": ("metadata.user_id",),
        "response_format": ("output_config.format",),
        "tools": ("tools",),
        "tool_choice": ("tool_choice",),
        "parallel_tool_calls": ("tool_choice",),
        "reasoning_effort": ("thinking",),
        "messages.content.file": ("messages",),
    },
    novelties=({"type": "novelty", "index": 0}, {"type": "ping"}),
    unauthorized=(401, failure("authentication_error", "invalid x-api-key")),
    unknown_model=(404, failure("not_found_error", "model: claude-sonnet-4-5-unknown")),
    too_many=(429, failure("rate_limit_error", "This request would exceed your rate limit.")),
    failure=(500, failure("api_error", "Internal server error")),
    broken=failure("overloaded_error", "It ran out of memory."),
)

# A model that thinks as much as it finds right, and samples by itself.
ANTHROPIC_ADAPTIVE = replace(
    ANTHROPIC,
    variant="-adaptive",
    model="claude-opus-4-7-sky",
    places={
        **{name: place for name, place in ANTHROPIC.places.items() if name not in ("temperature", "top_p")},
        "reasoning_effort": ("thinking", "output_config.effort"),
    },
)
# Any model behind another server that speaks the Messages API: its JSON comes by a tool.
ANTHROPIC_COMPATIBLE = replace(
    ANTHROPIC,
    variant="-compatible",
    model="sky",
    places=ANTHROPIC.places | {"response_format": ("tools", "tool_choice")},
)
