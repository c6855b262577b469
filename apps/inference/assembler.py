"""A streamed chat completion put together again."""

from typing import Any

from apps.inference.schemas import ChatCompletionChunk, ChunkChoice

JSON = dict[str, Any]
# What a tool call or an audio delta sends in fragments; everything else in them comes whole.
FRAGMENTS = {"arguments", "input", "data", "transcript"}
OF_EACH_CHUNK = {"id", "object", "created", "model", "choices", "usage"}


class Assembler:
    """Collects the chunks of one stream of `choices` choices."""

    def __init__(self, choices: int) -> None:
        self.expected = choices
        self.first: ChatCompletionChunk | None = None
        self.choices: dict[int, AssembledChoice] = {}
        self.beyond: JSON = {}

    def add(self, chunk: ChatCompletionChunk) -> None:
        self.first = self.first or chunk
        for choice in chunk.choices:
            self.choices.setdefault(choice.index, AssembledChoice(choice.index)).add(choice)
        beyond = chunk.model_dump(exclude=OF_EACH_CHUNK, exclude_none=True)
        if chunk.usage:
            beyond["usage"] = chunk.usage.model_dump()
        self.beyond.update(beyond)

    @property
    def finished(self) -> bool:
        """Whether every choice has said why it ended. Usage may still follow."""
        ended = sum(choice.finish_reason is not None for choice in self.choices.values())
        return ended >= self.expected

    def completion(self) -> JSON | None:
        """The whole of it, as the JSON of a `ChatCompletion`; None where nothing came."""
        if self.first is None:
            return None
        head = {"id": self.first.id, "object": "chat.completion", "created": self.first.created}
        choices = [self.choices[index].whole() for index in sorted(self.choices)]
        return head | {"model": self.first.model, "choices": choices} | self.beyond


class AssembledChoice:
    def __init__(self, index: int) -> None:
        self.index = index
        self.texts: dict[str, list[str]] = {}  # fields of the message that come in pieces
        self.tool_calls: list[JSON] = []
        self.places: dict[int, int] = {}  # of the tool calls, by their index in the chunks
        self.others: JSON = {}
        self.finish_reason: str | None = None
        self.logprobs: JSON | None = None
        self.beyond: JSON = {}  # what a vendor adds to the choice

    def add(self, choice: ChunkChoice) -> None:
        for name, value in choice.delta.model_dump(exclude_none=True).items():
            if name == "tool_calls":
                for call in value:
                    self._add_call(call)
            elif isinstance(value, str) and name != "role":
                self.texts.setdefault(name, []).append(value)
            else:
                self.others[name] = joined(self.others.get(name), value)
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
        if choice.logprobs:
            self.logprobs = joined(self.logprobs, choice.logprobs)
        self.beyond |= {name: value for name, value in (choice.model_extra or {}).items() if value not in (None, {})}

    def _add_call(self, call: JSON) -> None:
        """Some vendors give all calls the index 0: one that has another id is another call."""
        index = call.pop("index")
        known = self.tool_calls[self.places[index]] if index in self.places else None
        if known is None or (known.get("id") and call.get("id") and known["id"] != call["id"]):
            self.places[index] = len(self.tool_calls)
            self.tool_calls.append(call)
        else:
            self.tool_calls[self.places[index]] = joined(known, call)

    def whole(self) -> JSON:
        message: JSON = {"role": "assistant", "content": None, "refusal": None} | self.others
        message |= {name: "".join(pieces) for name, pieces in self.texts.items()}
        if self.tool_calls:
            message["tool_calls"] = self.tool_calls
            message["content"] = message["content"] or None
        ended = {"finish_reason": self.finish_reason, "logprobs": self.logprobs}
        return {"index": self.index, "message": message, **ended, **self.beyond}


def joined(old: Any, new: Any) -> Any:
    """What came so far and what comes now: lists grow, objects are joined field by field, fragments of text too.

    Any other value comes whole, and the newest that says something holds.
    """
    if isinstance(old, list) and isinstance(new, list):
        return old + new
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {name: _joined_field(name, old.get(name), value) for name, value in new.items()}
    return old if new in (None, "") else new


def _joined_field(name: str, old: Any, new: Any) -> Any:
    if name in FRAGMENTS and isinstance(old, str) and isinstance(new, str):
        return old + new
    return joined(old, new)
