"""A stream put right, event by event."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from apps.inference.assembler import Assembler
from apps.inference.dialect.answers import (
    JSON,
    Malformed,
    call_id,
    head,
    index_of,
    known_usage,
    logprobs_of,
    mended,
    mended_call,
    mended_message,
    objects,
    reason_of,
    text_of,
    without_null,
)
from apps.inference.schemas import ChatCompletionChunk, now
from llamastack.ids import new_id


class Stream(ABC):
    """The chunks of one reply as OpenAI sends them: one id and time, each choice begun and ended once.

    Usage comes at the end in a chunk of its own, if it is wanted and the vendor told it. A chunk that has neither
    choices nor usage goes with the next one that has (Azure's filter of the prompt comes so, before any other:
    https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-streaming).
    """

    prefix: str

    def __init__(self, model: str, choices: int, wants_usage: bool) -> None:
        self.model = model
        self.expected = choices
        self.wants_usage = wants_usage
        self.usage: JSON | None = None
        self.begun: set[int] = set()
        self.ended: set[int] = set()
        self._head: JSON = {}
        self._held: JSON = {}

    @property
    def finished(self) -> bool:
        """Whether every choice has said why it ended."""
        return len(self.ended) >= self.expected

    @property
    def closed(self) -> bool:
        """Whether every choice that has begun has said why it ended. A vendor may begin fewer than were asked for."""
        return bool(self.begun) and self.begun == self.ended

    def resume(self, head: JSON) -> None:
        """Go on with a stream whose chunks have passed by, and shared this `head`."""
        self._head = head

    def ends(self, chunk: JSON) -> bool:
        """Whether a chunk says that a choice has ended, or follows one that did."""
        return any(choice["index"] in self.ended for choice in chunk["choices"])

    def chunks(self, event: JSON) -> Iterator[JSON]:
        """The chunks that an event stands for. One that is a whole answer stands for several."""
        parts = [event] if self._is_part(event) else self._parts(mended(event, self.model))
        for part in parts:
            self.usage = known_usage(part.get("usage")) or self.usage
            said = head(part, self.model)
            choices = [self._choice(choice, place) for place, choice in enumerate(objects(part.get("choices")))]
            if choices:
                yield self._held | said | self._shared(said) | {"choices": choices}
                self._held = {}
            else:
                self._held |= said

    def end(self) -> Iterator[JSON]:
        if self.usage is not None and self.wants_usage:
            yield self._held | self._shared(self._held) | {"choices": [], "usage": self.usage}

    def whole(self, events: Iterable[JSON]) -> JSON:
        """The whole answer that all events of a stream make."""
        chunks = [chunk for event in events for chunk in self.chunks(event)]
        return self._assembled([*chunks, *self.end()])

    @abstractmethod
    def _assembled(self, chunks: list[JSON]) -> JSON: ...

    def _shared(self, said: JSON) -> JSON:
        """What is the same in each chunk, as the first one says it."""
        if not self._head:
            known = {name: said[name] for name in ("id", "created", "model") if name in said}
            self._head = {"id": new_id(self.prefix), "created": now()} | known
        return self._head

    def _choice(self, choice: JSON, place: int) -> JSON:
        index = index_of(choice, place)
        self.begun.add(index)
        kept = choice | {"index": index} | logprobs_of(choice) | self._said(choice, index)
        kept |= reason_of(choice, called=self._called(index))
        if kept["finish_reason"] is not None and index in self.ended:
            kept["finish_reason"] = None
        elif kept["finish_reason"] is not None:
            self.ended.add(index)
        return kept

    def _called(self, index: int) -> bool:
        return False

    @abstractmethod
    def _is_part(self, event: JSON) -> bool:
        """Whether an event is a part of an answer, and not all of it."""

    @abstractmethod
    def _parts(self, whole: JSON) -> Iterable[JSON]:
        """A whole answer as the events that a stream of it has at least."""

    @abstractmethod
    def _said(self, choice: JSON, index: int) -> JSON:
        """What a choice adds to the answer."""


class TextStream(Stream):
    prefix = "cmpl-"

    def _is_part(self, event: JSON) -> bool:
        return True

    def _parts(self, whole: JSON) -> Iterable[JSON]:
        return [whole]

    def _said(self, choice: JSON, index: int) -> JSON:
        return {"text": text_of(choice)}

    def _assembled(self, chunks: list[JSON]) -> JSON:
        whole: JSON = {}
        choices: dict[int, JSON] = {}
        for chunk in chunks:
            whole |= {name: value for name, value in chunk.items() if name != "choices"}
            for choice in chunk["choices"]:
                known = choices.setdefault(choice["index"], {"text": ""})
                text = known["text"] + choice["text"]
                known |= without_null(choice) | {"text": text}
        return whole | {"choices": [choices[index] for index in sorted(choices)]}


class ChatStream(Stream):
    prefix = "chatcmpl-"

    def __init__(self, model: str, choices: int, wants_usage: bool) -> None:
        super().__init__(model, choices, wants_usage)
        self.calls: dict[int, Calls] = {}  # of each choice that has begun

    def _is_part(self, event: JSON) -> bool:
        return not any("message" in choice for choice in objects(event.get("choices")))

    def _parts(self, whole: JSON) -> Iterable[JSON]:
        shared = {name: value for name, value in whole.items() if name not in ("choices", "usage")}
        for choice in whole["choices"]:
            said = {name: value for name, value in choice.items() if "finish_reason" not in name and name != "message"}
            yield shared | {"choices": [said | {"delta": choice["message"]}]}
        for choice in whole["choices"]:
            ended = {name: value for name, value in choice.items() if "finish_reason" in name or name == "index"}
            yield shared | {"choices": [ended | {"delta": {}}]}
        yield shared | {"choices": [], "usage": whole.get("usage")}

    def _said(self, choice: JSON, index: int) -> JSON:
        delta = mended_message(choice.get("delta"))
        if index not in self.calls:
            delta = {"role": "assistant"} | delta
        known = self.calls.setdefault(index, Calls())
        calls = [known.put_right(call) for call in objects(delta.pop("tool_calls", None))]
        return {"delta": delta | ({"tool_calls": calls} if calls else {})}

    def _assembled(self, chunks: list[JSON]) -> JSON:
        assembler = Assembler(self.expected)
        for chunk in chunks:
            assembler.add(ChatCompletionChunk.model_validate(chunk))
        return assembler.completion() or {}

    def _called(self, index: int) -> bool:
        return bool(self.calls[index].begun)


class Calls:
    """The tool calls of one choice: each is begun once, with its index, id and name, and goes on with its index alone.

    Gemini sends calls whole, without an index and at times without an id
    (https://discuss.ai.google.dev/t/openai-compatibilioty-with-jnodejs-error/50746); others give all the index 0, or
    repeat id and name, which clients would add up.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []  # the vendor's id of each
        self._places: dict[int | None, int] = {}  # in `begun`, by the vendor's index

    def put_right(self, call: JSON) -> JSON:
        kept = mended_call(call)
        function = kept.get("function", {})
        own, name, index = call_id(call), function.get("name"), call.get("index")
        if not isinstance(index, int | None):
            raise Malformed("the 'index' of a call is no number")
        if self._begins(own, name, index):
            self._places[index] = len(self.begun)
            self.begun.append(own)
            return {"type": "function"} | kept | {"index": self._places[index], "id": own or new_id("call_")}
        place = self._places[index]
        going_on = {field: value for field, value in kept.items() if field not in ("id", "type", "function")}
        added = {field: value for field, value in function.items() if field != "name"}
        return going_on | {"index": place} | ({"function": added} if added else {})

    def takes(self, index: int, own: str, name: str, kind: str) -> bool:
        """Take a delta in which nothing need be put right: one that begins the next call, or that goes on with one."""
        if index in self._places:
            return not (own or name or kind)
        if index != len(self.begun) or not (own and name and kind):
            return False
        self._places[index] = index
        self.begun.append(own)
        return True

    def _begins(self, own: str, name: Any, index: int | None) -> bool:
        if index not in self._places:
            return True
        known = self.begun[self._places[index]]
        if own and known:
            return own != known
        return index is None and bool(name)
