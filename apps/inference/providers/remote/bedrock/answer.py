"""What Converse answers, whole or streamed, as OpenAI would.

Format: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_ResponseSyntax,
…/API_runtime_ConverseStreamOutput.html (its events).
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import orjson

from apps.inference.dialect import Malformed
from apps.inference.dialect.fields import count_at, number_at, object_at, objects_at, text_at
from apps.inference.providers.remote.bedrock.request import body
from apps.inference.providers.remote.translation import JSON, Translation
from apps.inference.providers.unsupported import GeneratesConfig
from apps.inference.schemas import ChatCompletionRequest

FAILED = frozenset({"message", "Message", "error"})  # what an answer says that is none


class Converse(Translation):
    """One conversation. Where a tool's input is the answer (`tools.py`), what is said beside it is left out."""

    def __init__(self, request: ChatCompletionRequest, upstream: str, config: GeneratesConfig) -> None:
        made, self.answer_tool = body(request, upstream, config)
        operation = "converse-stream" if request.stream else "converse"
        # As botocore writes it, down to the colons: a signature is one of the path as it is sent.
        super().__init__(request, f"model/{quote(request.model, safe='')}/{operation}", made)
        self.model = request.model
        self.calls: dict[int, int] = {}  # the index of each tool call, by that of its block
        self.answering: set[int] = set()  # blocks whose input is the answer
        self.empty: set[int] = set()  # calls that have no input so far
        self.thoughts: dict[int, JSON] = {}  # reasoning with its signature, of blocks that have not ended

    def is_reply(self, answer: JSON) -> bool:
        """Events of other names may come to be, and say nothing here."""
        return "output" in answer or not FAILED & answer.keys()

    def whole(self, answer: JSON) -> JSON:
        content = objects_at(object_at(object_at(answer, "output"), "message"), "content")
        said, answered, thought, thoughts, calls = "", "", "", [], []
        for block in content:
            said += _text_of(block)
            if "reasoningContent" in block:
                thoughts.append(_thinking(object_at(block, "reasoningContent")))
                thought += thoughts[-1].get("thinking", "")
            if "toolUse" in block:
                use = object_at(block, "toolUse")
                if use.get("name") == self.answer_tool:
                    answered += _written(use.get("input"))
                else:
                    calls.append(_call(use))
        if self.answer_tool and not calls:
            said = answered or said
        message: JSON = {"role": "assistant", "content": said if said or not calls else None}
        message |= {"reasoning_content": thought} if thought else {}
        message |= {"thinking_blocks": thoughts} if thoughts else {}
        message |= {"tool_calls": calls} if calls else {}
        ended = self._ended(answer, called=bool(calls))
        choice = {"index": 0, "message": message | _refusal(answer), **ended}
        return self._head(answer) | {"choices": [choice], "usage": usage(answer.get("usage"))}

    def chunks(self, event: JSON) -> Iterator[JSON]:
        if "output" in event:
            yield self.whole(event)
            return
        for name, said in event.items():
            if not isinstance(said, dict):
                raise Malformed(f"'{name}' is no object")
            match name:
                # Of a message that starts nothing is said yet: what fails now can still be told, or asked elsewhere.
                case "contentBlockStart":
                    yield from self._started(number_at(said, "contentBlockIndex"), object_at(said, "start"))
                case "contentBlockDelta":
                    yield from self._added(number_at(said, "contentBlockIndex"), object_at(said, "delta"))
                case "contentBlockStop":
                    yield from self._stopped(number_at(said, "contentBlockIndex"))
                case "messageStop":
                    yield self._head(said) | _chunk({}, **self._ended(said, called=bool(self.calls)))
                case "metadata":
                    yield self._head(said) | {"choices": [], "usage": usage(said.get("usage"))}

    def _started(self, block: int, start: JSON) -> Iterator[JSON]:
        if "toolUse" not in start:
            return
        use = object_at(start, "toolUse")
        self.empty.add(block)
        if use.get("name") == self.answer_tool:
            self.answering.add(block)
            return
        self.calls[block] = len(self.calls)
        function = {"name": text_at(use, "name"), "arguments": ""}
        begun = {"index": self.calls[block], "id": text_at(use, "toolUseId"), "type": "function", "function": function}
        yield _chunk({"tool_calls": [begun]})

    def _added(self, block: int, delta: JSON) -> Iterator[JSON]:
        if "text" in delta and not self.answer_tool:
            yield _chunk({"content": text_at(delta, "text")})
        elif "toolUse" in delta:
            yield from self._input(block, text_at(object_at(delta, "toolUse"), "input"))
        elif "reasoningContent" in delta:
            yield from self._thought(block, object_at(delta, "reasoningContent"))

    def _input(self, block: int, piece: str) -> Iterator[JSON]:
        if not piece:
            return
        self.empty.discard(block)
        if block in self.answering:
            yield _chunk({"content": piece})
        elif block in self.calls:
            yield _chunk({"tool_calls": [{"index": self.calls[block], "function": {"arguments": piece}}]})
        else:
            raise Malformed("an input belongs to no tool call")

    def _thought(self, block: int, delta: JSON) -> Iterator[JSON]:
        """A piece of reasoning is told at once; the block with its signature, once it has ended."""
        if "redactedContent" in delta:
            whole = self.thoughts.setdefault(block, {"type": "redacted_thinking", "data": ""})
            whole["data"] = whole.get("data", "") + text_at(delta, "redactedContent")
            return
        whole = self.thoughts.setdefault(block, {"type": "thinking", "thinking": ""})
        if delta.get("signature"):
            whole["signature"] = whole.get("signature", "") + text_at(delta, "signature")
        if delta.get("text"):
            whole["thinking"] = whole.get("thinking", "") + text_at(delta, "text")
            yield _chunk({"reasoning_content": delta["text"]})

    def _stopped(self, block: int) -> Iterator[JSON]:
        """A call without input is one with no arguments: `{}`."""
        if block in self.thoughts:
            yield _chunk({"thinking_blocks": [self.thoughts.pop(block)]})
        if block in self.empty:
            yield from self._input(block, "{}")

    def _ended(self, said: JSON, *, called: bool) -> JSON:
        """In Bedrock's own word, which the dialect reads; of an answer that was a tool's input, in OpenAI's."""
        reason = text_at(said, "stopReason")
        if reason == "tool_use" and self.answer_tool and not called:
            reason = "stop"
        return {"finish_reason": reason}

    def _head(self, said: JSON) -> JSON:
        """What Bedrock tells of the call beside its answer."""
        tier = said.get("serviceTier")
        told = {name: said[name] for name in ("trace", "additionalModelResponseFields") if said.get(name)}
        return {"model": self.model, **told} | ({"service_tier": tier.get("type")} if isinstance(tier, dict) else {})


def usage(told: Any) -> JSON | None:
    """Bedrock counts what came from a cache, and what went into one, apart from the other tokens."""
    if not isinstance(told, dict):
        return None
    read, written = count_at(told, "cacheReadInputTokens"), count_at(told, "cacheWriteInputTokens")
    prompt, made = count_at(told, "inputTokens") + read + written, count_at(told, "outputTokens")
    counted: JSON = {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
    if read or written:
        counted["prompt_tokens_details"] = {"cached_tokens": read, "cache_creation_tokens": written}
    return counted


def _chunk(delta: JSON, **ended: Any) -> JSON:
    return {"choices": [{"index": 0, "delta": delta, **ended}]}


def _text_of(block: JSON) -> str:
    if "citationsContent" in block:
        return "".join(text_at(part, "text") for part in objects_at(object_at(block, "citationsContent"), "content"))
    return text_at(block, "text") if "text" in block else ""


def _thinking(content: JSON) -> JSON:
    if "redactedContent" in content:
        return {"type": "redacted_thinking", "data": text_at(content, "redactedContent")}
    told = object_at(content, "reasoningText")
    signature = {"signature": text_at(told, "signature")} if told.get("signature") else {}
    return {"type": "thinking", "thinking": text_at(told, "text"), **signature}


def _call(use: JSON) -> JSON:
    function = {"name": text_at(use, "name"), "arguments": _written(use.get("input"))}
    return {"id": text_at(use, "toolUseId"), "type": "function", "function": function}


def _written(given: Any) -> str:
    return orjson.dumps({} if given is None else given).decode()


def _refusal(answer: JSON) -> JSON:
    """Why a guardrail stepped in, where Bedrock was asked for its trace."""
    trace = answer.get("trace")
    guardrail = trace.get("guardrail") if isinstance(trace, dict) else None
    reason = guardrail.get("actionReason") if isinstance(guardrail, dict) else None
    stepped_in = answer.get("stopReason") == "guardrail_intervened"
    return {"refusal": reason} if isinstance(reason, str) and reason and stepped_in else {}
