"""The events of a streamed message as chunks of OpenAI's.

Format: https://platform.claude.com/docs/en/build-with-claude/streaming; events of types that are not known are passed
over, as https://platform.claude.com/docs/en/api/versioning asks. Thoughts come twice: piece by piece as
`reasoning_content`, and once they are signed as the block that has to come back.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from apps.inference.dialect import JSON, AnswerFailed, Malformed
from apps.inference.dialect.fields import number_at, object_at, text_at
from apps.inference.providers.remote.anthropic import answer
from llamastack.egress.sentences import sentence

PIECES = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


class Block:
    """A content block while it comes. `place` is that of a call among the calls."""

    def __init__(self, begun: JSON, place: int | None) -> None:
        self.begun = begun
        self.kind = begun.get("type")
        self.place = place
        self.pieces: dict[str, list[str]] = {}
        self.citations: list[JSON] = []

    def add(self, name: str, piece: str) -> None:
        self.pieces.setdefault(name, []).append(piece)

    def text(self, name: str) -> str:
        return "".join(self.pieces.get(name, ()))

    def whole(self) -> JSON:
        """The block as it is in an answer that is not streamed."""
        pieces = [name for name in PIECES.values() if name in self.pieces]
        told: JSON = {name: answer.text_in(self.begun, name) + self.text(name) for name in pieces}
        if written := self.text("input"):
            told["input"] = _read(written)
        return self.begun | told | ({"citations": self.citations} if self.citations else {})


class Events:
    """One stream. `answer_tool` is the name of the tool whose input is the answer."""

    def __init__(self, model: str, answer_tool: str | None) -> None:
        self.model = model
        self.answer_tool = answer_tool
        self.head: JSON = {"model": model}
        self.usage: JSON = {}
        self.blocks: dict[int, Block] = {}
        self.calls = 0
        self.length = 0  # of the text so far, in which citations have their place

    def chunks(self, event: JSON) -> Iterator[JSON]:
        match event.get("type"):
            case "content_block_delta":
                yield from self._delta(self._block(event), object_at(event, "delta"))
            case "content_block_start":
                yield from self._begin(event)
            case "content_block_stop":
                yield from self._stop(self._block(event))
            case "message_start":
                yield self._start(object_at(event, "message"))
            case "message_delta":
                yield from self._end(event)
            case "message":  # whole, where a stream was asked for
                yield answer.completion(event, self.model, self.answer_tool)
            case "error":
                raise AnswerFailed(sentence(event))

    def _start(self, message: JSON) -> JSON:
        self.head = answer.head(message, self.model)
        self.usage = _counted(message.get("usage"))
        return self._said({"role": "assistant", "content": ""})

    def _said(self, delta: JSON, **ended: Any) -> JSON:
        choice = {"index": 0, "delta": delta, "finish_reason": None} | ended
        return self.head | {"object": "chat.completion.chunk", "choices": [choice]}

    def _begin(self, event: JSON) -> Iterator[JSON]:
        begun = object_at(event, "content_block")
        answers = self.answer_tool is not None and begun.get("name") == self.answer_tool
        called = begun.get("type") == "tool_use" and not answers
        block = self.blocks[number_at(event, "index")] = Block(begun, self.calls if called else None)
        if called:
            self.calls += 1
            function = {"name": text_at(begun, "name"), "arguments": ""}
            call = {"index": block.place, "id": text_at(begun, "id"), "type": "function", "function": function}
            yield self._said({"tool_calls": [call]})
        elif block.kind == "text" and begun.get("text"):
            yield self._text(text_at(begun, "text"))
        elif block.kind == "thinking" and begun.get("thinking"):
            yield self._said({"reasoning_content": text_at(begun, "thinking")})

    def _delta(self, block: Block, delta: JSON) -> Iterator[JSON]:
        kind = delta.get("type")
        if kind == "input_json_delta":
            piece = text_at(delta, "partial_json")
            block.add("input", piece)
            if piece and block.place is not None:
                yield self._arguments(block.place, piece)
            elif piece and block.kind == "tool_use":
                yield self._text(piece)
        elif kind == "citations_delta":
            block.citations.append(object_at(delta, "citation"))
        elif isinstance(kind, str) and kind in PIECES:
            name = PIECES[kind]
            piece = text_at(delta, name)
            block.add(name, piece)
            if kind == "text_delta":
                yield self._text(piece)
            elif kind == "thinking_delta" and piece:
                yield self._said({"reasoning_content": piece})

    def _text(self, piece: str) -> JSON:
        self.length += len(piece)
        return self._said({"content": piece})

    def _arguments(self, place: int, piece: str) -> JSON:
        return self._said({"tool_calls": [{"index": place, "function": {"arguments": piece}}]})

    def _stop(self, block: Block) -> Iterator[JSON]:
        """What can be told of a block once it is whole."""
        if block.kind in answer.THINKING:
            yield self._said({"thinking_blocks": [answer.thinking(block.whole())]})
        elif block.kind == "tool_use" and not block.text("input"):
            written = answer.arguments(block.begun)
            yield self._text(written) if block.place is None else self._arguments(block.place, written)
        elif block.citations:
            start = self.length - len(answer.text_in(block.whole(), "text"))
            known = [answer.annotation(citation, start, self.length) for citation in block.citations]
            annotations = [one for one in known if one is not None]
            cited: JSON = {"citations": block.citations}
            yield self._said(cited | ({"annotations": annotations} if annotations else {}))

    def _end(self, event: JSON) -> Iterator[JSON]:
        ended = object_at(event, "delta")
        self.usage |= _counted(event.get("usage"))
        reason = answer.end(ended, called=self.calls > 0)
        refusal = answer.refusal_of(ended)
        delta: JSON = {"refusal": refusal} if refusal else {}
        if any(block.kind not in answer.OURS for block in self.blocks.values()):
            content = [self.blocks[index].whole() for index in sorted(self.blocks)]
            delta["extra_content"] = {"anthropic": {"content": content}}
        if reason["finish_reason"] or delta:
            yield self._said(delta, **reason)
        yield self.head | {"object": "chat.completion.chunk", "choices": []} | answer.usage(self.usage)

    def _block(self, event: JSON) -> Block:
        index = number_at(event, "index")
        if index not in self.blocks:
            raise Malformed(f"block {index} goes on before it has begun")
        return self.blocks[index]


def _counted(usage: Any) -> JSON:
    return {name: value for name, value in usage.items() if value is not None} if isinstance(usage, dict) else {}


def _read(written: str) -> Any:
    try:
        return orjson.loads(written)
    except orjson.JSONDecodeError as error:
        raise Malformed("the input of a call is no JSON") from error
