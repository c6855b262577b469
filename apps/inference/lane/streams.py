"""Streams on their way through the fast lane: event by event as bytes, as long as each is one that OpenAI might send.

From the first event that is none on, the whole rest goes through the same functions as in Django's lane (dialect):
they are told what has come so far.
"""

from typing import Any, Literal

import msgspec
import orjson
from msgspec import UNSET, Struct, UnsetType

from apps.inference.dialect import Calls, ChatStream, Stream, known_usage
from apps.inference.lane.replies import HEAD, ChatUsage, Count, Id, Positive, Reason


class FunctionDelta(Struct):
    name: Id | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class CallDelta(Struct):
    index: Count
    id: Id | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionDelta | UnsetType = UNSET


class Delta(Struct):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET
    tool_calls: list[CallDelta] | UnsetType = UNSET


class ChunkChoice(Struct):
    index: Count
    delta: Delta
    finish_reason: Reason | None
    logprobs: dict[str, Any] | UnsetType | None = UNSET


class TextChoice(Struct):
    index: Count
    text: str
    finish_reason: Reason | None
    logprobs: dict[str, Any] | None


class Chunk(Struct):
    """What is looked at of each chunk; `error` is what some tell a failure by."""

    choices: list[ChunkChoice]
    usage: ChatUsage | UnsetType | None = UNSET
    error: None = None


class TextChunk(Struct):
    choices: list[TextChoice]
    usage: ChatUsage | UnsetType | None = UNSET
    error: None = None


class Head(Struct):
    """What is looked at of the first one alone: the others begin with the same bytes."""

    id: Id
    object: Literal["chat.completion.chunk", "text_completion"]
    created: Positive
    model: Id


heads = msgspec.json.Decoder(Head)
WRONG = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Passing:
    """The events of one stream: `passed` gives those that go on as they are, under another model's name and id.

    `stream` is kept as if it had read them. What says that a choice has ended is in `held`, and the usage in `usage`.
    """

    def __init__(self, stream: Stream, model: str, own_id: str | None) -> None:
        self.stream = stream
        self.chat = isinstance(stream, ChatStream)
        self.decode = (CHUNKS if self.chat else TEXT_CHUNKS).decode
        self.model, self.own_id = model, own_id
        self.begins = self.own = b""  # the head of each event, upstream's and ours
        self.ended = False
        self.parts = 0  # of them: those that said something
        self.usage: ChatUsage | None = None
        self.told = b""  # the event that told it

    def passed(self, data: bytes) -> bytes | None:
        """The event as it goes on, empty where it only tells the usage; None where it has to be put right.

        `ended` is whether it says that a choice has ended, or follows one that did.
        """
        if b"\n" in data:  # told in several lines, and to be told in one
            return None
        try:
            chunk = self.decode(data if data.isascii() else data.decode())
        except WRONG:
            return None
        if not self.begins and not self._begun(data):
            return None
        if not data.startswith(self.begins) or not self._conforms(chunk):
            return None
        event = self.own + data[len(self.begins) :]
        if chunk.choices:
            return event
        self.told = event
        return b""

    def give_way(self) -> None:
        """To the stream, which reads all that follows: the usage it knows with all that was told of it."""
        if self.told:
            self.stream.usage = known_usage(orjson.loads(self.told)["usage"])

    def _begun(self, data: bytes) -> bool:
        """Take the head of the first event: its id, time and model."""
        found = HEAD.match(data)
        if found is None or found[1] is None or b'"created"' not in found[0] or b'"object"' not in found[0]:
            return False
        try:
            head = heads.decode(data)
        except WRONG:
            return False
        name = found[1] if self.own_id is None else b'"%b"' % self.own_id.encode()
        between = data[found.end(1) : found.start(2)]
        self.own = b"%b%b%b%b" % (data[: found.start(1)], name, between, orjson.dumps(self.model))
        self.begins = found[0]
        self.stream.resume({"id": head.id, "created": head.created, "model": head.model})
        return True

    def _conforms(self, chunk: Any) -> bool:
        """Whether the stream may go on so; it has been told then."""
        if len(chunk.choices) != 1:
            return self._is_usage(chunk)
        choice, stream = chunk.choices[0], self.stream
        index = choice.index
        if chunk.usage or (choice.finish_reason is not None and index in stream.ended):
            return False
        if self.chat:
            if not self._said(choice):
                return False
        elif choice.text:
            self.parts += 1
        stream.begun.add(index)
        if choice.finish_reason is not None:
            stream.ended.add(index)
        self.ended = index in stream.ended
        return True

    def _is_usage(self, chunk: Any) -> bool:
        if chunk.choices or not chunk.usage:
            return False
        self.usage = chunk.usage
        return True

    def _said(self, choice: ChunkChoice) -> bool:
        """A choice begins with its role, and a call with its id and name; neither is repeated."""
        index, delta, stream = choice.index, choice.delta, self.stream
        assert isinstance(stream, ChatStream)
        known = stream.calls.get(index)
        if (delta.role is UNSET) == (known is None):
            return False
        calls = known or Calls()
        if delta.tool_calls:
            if len(delta.tool_calls) > 1 or choice.finish_reason == "stop" or not takes(calls, delta.tool_calls[0]):
                return False
        elif choice.finish_reason == "stop" and calls.begun:
            return False
        stream.calls[index] = calls
        if delta.content or delta.tool_calls or delta.reasoning_content:
            self.parts += 1
        return True


def takes(calls: Calls, call: CallDelta) -> bool:
    name = call.function.name if call.function else UNSET
    return calls.takes(call.index, call.id or "", name or "", call.type or "")


CHUNKS, TEXT_CHUNKS = msgspec.json.Decoder(Chunk), msgspec.json.Decoder(TextChunk)
