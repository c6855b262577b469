"""Vendors that do not speak OpenAI's dialect: each a class below `Native`, and its table an instance. anthropic.py is
the example.

What such a class says, from the vendor's documentation alone and never with the provider's own code:

asking      which path and query mean which operation; the model and whether to stream, where the path says them
question    what the body asks, in OpenAI's words (a chat completion's fields, without what `asking` told). It is as
            strict as the vendor's server: `only` refuses fields that it does not know, and values of a wrong type are
            errors. The script answers by what this returns, and the tests compare it with what their caller asked.
whole       an answer (script.answered) as the vendor writes it, `USAGE` counted in its words, with `extras` beside it
            said in its words too
events      the same as the events of a stream. After `beginning` of them a first word has been said, and no end. The
            last event ends the last choice; where it has to be followed by something, that is `end`
encoded     an event as it travels; `media_type` and `malformed` (an event cut in the middle) belong to it
failing     the event `broken` as it travels, where errors travel otherwise than events
knows       whether a request has the key, where that is more than one header; a signature is only looked for
aside       what it answers without a key: a token for one
vectors     vectors as it writes them, where `offers` has EMBEDDINGS; `question` gives {"input": [texts]} then

The table says the rest as for any vendor: where the format is from, `reasons` (its word for each of OpenAI's finish
reasons: `stop`, `length`, `tool_calls`, `content_filter`; replies keep it as `native_finish_reason`), the errors,
`told` or `elsewhere` (its list of models: `model` alone), `thinks`, `several`, `nonsense`, `places`. Where `several` is
false, n = 2 must be the error that says so. Two fields are of native dialects alone:

asks        what `tests.conversations.requests` is told of it: whether an image may be an address, and so on
novelties   events that a newer server may send between the others, and that change nothing

It joins NATIVES in __init__.py when its provider is built, and runs all of test_vendors*.py and test_native_*.py from
then on.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.conformance.vendors.vendor import CHAT, JSON, Answer, Asking, NotUnderstood, Usage, Vendor


@dataclass(frozen=True)
class Native(Vendor, ABC):
    native: ClassVar[bool] = True

    offers: frozenset[str] = frozenset({CHAT})
    limits: frozenset[str] = frozenset({"max_tokens"})  # as `question` calls it
    developer: bool = False
    several: bool = False
    done: bool = False
    usage: Usage = "always"
    embedding_usage: JSON | None = None
    nonsense: tuple[JSON, ...] = ({}, {"message": "It ran out of memory."}, {"type": 7})
    novelties: tuple[JSON, ...] = ()
    asks: Mapping[str, Any] = field(default_factory=dict)

    @abstractmethod
    def asking(self, path: str, query: Mapping[str, str]) -> Asking | None: ...

    @abstractmethod
    def question(self, operation: str, body: JSON) -> JSON: ...

    @abstractmethod
    def whole(self, answer: Answer) -> JSON: ...

    @abstractmethod
    def events(self, answer: Answer) -> list[JSON]: ...

    def newer(self, event: JSON) -> JSON:
        """An event of a newer server, whose every object has a field more."""
        return with_more(event)


OPEN = ("args", "arguments", "input", "parameters")  # objects whose fields are the model's


def with_more(value: Any) -> Any:
    if isinstance(value, list):
        return [with_more(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {name: inner if name in OPEN else with_more(inner) for name, inner in value.items()}
    return kept | {"novelty": {"a": [1]}}


def only(item: Any, *names: str) -> JSON:
    """An object that has no fields but these."""
    if not isinstance(item, dict):
        raise NotUnderstood(f"{item!r} is no object")
    if odd := item.keys() - set(names):
        raise NotUnderstood(f"Extra inputs are not permitted: {sorted(odd)}")
    return item


def needed(item: JSON, name: str, kind: type) -> Any:
    if not isinstance(item.get(name), kind):
        raise NotUnderstood(f"{name}: {item.get(name)!r} is no {kind.__name__}")
    return item[name]


def content(parts: Iterable[JSON]) -> str | list[JSON] | None:
    """Parts of OpenAI's as the simplest content that says the same."""
    listed = list(parts)
    if all(part.keys() == {"type", "text"} for part in listed) and len(listed) <= 1:
        return listed[0]["text"] if listed else None
    return listed


def text(said: str) -> JSON:
    return {"type": "text", "text": said}


def image(media_type: str, data: str) -> JSON:
    """An image that is sent itself, in base64."""
    return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}}


def image_at(url: str) -> JSON:
    return {"type": "image_url", "image_url": {"url": url}}


def call(identifier: str, name: str, arguments: Any) -> JSON:
    """A tool call, of arguments that the vendor has as an object."""
    return {
        "id": identifier,
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments, separators=(",", ":"))},
    }


def tool(name: str, parameters: Any, description: str | None = None) -> JSON:
    described = {} if description is None else {"description": description}
    given = {} if parameters is None else {"parameters": parameters}
    return {"type": "function", "function": {"name": name, **described, **given}}


def schema(parameters: Any, name: str = "answer") -> JSON:
    """The response format of a schema."""
    return {"type": "json_schema", "json_schema": {"name": name, "schema": parameters}}
