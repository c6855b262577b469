"""What of an upstream's whole answers can go on as it is: those that say all that ours say, in our words."""

import re
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Reason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]
LARGEST = 2**63 - 1  # beyond which an integer may be none for who reads it as JSON
Count = Annotated[int, Meta(ge=0, le=LARGEST)]
Index = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
Id = Annotated[str, Meta(min_length=1)]
Positive = Annotated[int, Meta(gt=0, le=LARGEST)]
JSON = dict[str, Any]
# The beginning of an object up to its model, where what stands before that is simple, and its end from its model on.
SIMPLE = rb'\s*"(?!id"|model")[^"\\]*"\s*:\s*(?:"[^"\\]*"|[^\s"{}\[\],]+)\s*,'
HEAD = re.compile(
    rb'\s*\{(?:%b)*+(?:\s*"id"\s*:\s*("[^"\\]*")\s*,)?+(?:%b)*+\s*"model"\s*:\s*("[^"\\]*")' % (SIMPLE, SIMPLE)
)
TAIL = re.compile(rb'"model"\s*:\s*("[^"\\]*")\s*(?:,\s*"usage"\s*:\s*\{[^{}]*\}\s*)?\}\s*\Z')
TAIL_BYTES = 2048
# What stands before a field that many servers leave out, wherever it belongs. No string holds either: a quote within
# one has a backslash before it.
ROLE = re.compile(rb'"role"\s*:\s*"assistant"')
REASON = re.compile(rb'"finish_reason"\s*:\s*(?:"[a-z_]+"|null)')
NO_REFUSAL, NO_LOGPROBS = rb'\g<0>,"refusal":null', rb'\g<0>,"logprobs":null'


class PromptDetails(Struct):
    cached_tokens: Count | None = None


class CompletionDetails(Struct):
    reasoning_tokens: Count | None = None


class Usage(Struct):
    prompt_tokens: Count
    total_tokens: Count
    completion_tokens: Count | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    served_by: str | None = None


class ChatUsage(Usage, kw_only=True):
    completion_tokens: Count


class FunctionCall(Struct):
    name: str
    arguments: str


class ToolCall(Struct):
    id: Id
    type: Literal["function"]
    function: FunctionCall


class Message(Struct):
    """Of vLLM's: no reasoning is null there, and no calls an empty list."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class Choice(Struct):
    index: Index
    message: Message
    finish_reason: Reason | None
    logprobs: JSON | UnsetType | None = UNSET


class TextChoice(Struct):
    index: Index
    text: str
    finish_reason: Reason | None
    logprobs: JSON | UnsetType | None = UNSET


class ChatReply(Struct):
    id: Id
    object: Literal["chat.completion"]
    created: Positive
    model: Id
    choices: list[Choice]
    usage: ChatUsage | UnsetType = UNSET

    @property
    def is_whole(self) -> bool:
        """Who has called tools says so as the reason why it ended."""
        return all(not c.message.tool_calls or c.finish_reason != "stop" for c in self.choices)

    def filled(self, data: bytes) -> bytes | None:
        refusals = _filled(data, ROLE, NO_REFUSAL, [choice.message.refusal for choice in self.choices])
        return refusals and _filled(refusals, REASON, NO_LOGPROBS, [choice.logprobs for choice in self.choices])


class TextReply(Struct):
    id: Id
    object: Literal["text_completion"]
    created: Positive
    model: Id
    choices: list[TextChoice]
    usage: ChatUsage | UnsetType = UNSET

    @property
    def is_whole(self) -> bool:
        return True

    def filled(self, data: bytes) -> bytes | None:
        return _filled(data, REASON, NO_LOGPROBS, [choice.logprobs for choice in self.choices])


class Vector(Struct):
    object: Literal["embedding"]
    index: Index
    embedding: Raw

    @property
    def is_whole(self) -> bool:
        """A list of numbers, or base64: looked at without reading them."""
        raw = bytes(self.embedding)
        if raw[:1] == b"[":
            others = b'"' in raw or b"{" in raw or b"l" in raw or b"u" in raw  # as in null and false, null and true
            return raw.rfind(b"[") == 0 and not others
        return raw[:1] == b'"' and b"\\" not in raw


class Vectors(Struct):
    object: Literal["list"]
    data: list[Vector]
    model: Id
    usage: Usage | UnsetType = UNSET

    @property
    def is_whole(self) -> bool:
        return all(vector.is_whole for vector in self.data)

    def filled(self, data: bytes) -> bytes | None:
        return data


Reply = ChatReply | TextReply | Vectors


def conforming(decoder: "msgspec.json.Decoder[Any]", data: bytes) -> tuple[Any, bytes]:
    """The reply, or None where it has to be put right first, and its bytes: those that came, but for nulls left out."""
    try:
        if not data.isascii():
            data.decode()
        reply = decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None, data
    filled = reply.filled(data) if reply.is_whole else None
    return (None, data) if filled is None else (reply, filled)


def _filled(data: bytes, before: re.Pattern[bytes], field: bytes, values: list[Any]) -> bytes | None:
    """The same with a field that all choices leave out; None where that is not as simple."""
    if UNSET not in values:
        return data
    filled, count = before.subn(field, data)
    return filled if count == len(values) == values.count(UNSET) else None


def renamed(data: bytes, model: str, own_id: str | None = None, home: str | None = None) -> bytes:
    """The same answer under another model's name and, where they are given, with another id and who has served it."""
    if home is not None:
        return _rewritten(data, model, own_id, home)
    name = orjson.dumps(model)
    head = HEAD.match(data)
    if head is not None and own_id is None:
        return b"".join((data[: head.start(2)], name, memoryview(data)[head.end(2) :]))
    if head is not None and own_id is not None and head[1] is not None:
        between = data[head.end(1) : head.start(2)]
        return b'%b"%b"%b%b%b' % (data[: head.start(1)], own_id.encode(), between, name, data[head.end(2) :])
    tail = TAIL.search(data, max(0, len(data) - TAIL_BYTES)) if own_id is None else None
    if tail is not None:
        return data[: tail.start(1)] + name + data[tail.end(1) :]
    return _rewritten(data, model, own_id, None)


def _rewritten(data: bytes, model: str, own_id: str | None, home: str | None) -> bytes:
    answer = orjson.loads(data)
    answer["model"] = model
    if own_id is not None:
        answer["id"] = own_id
    if home is not None and answer.get("usage"):
        answer["usage"]["served_by"] = home
    return orjson.dumps(answer)
