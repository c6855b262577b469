"""What a vendor's server is asked and answers, as a table says it: OpenAI's own, but for what is said otherwise.

A vendor that speaks another dialect is a class: native.py.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

JSON = dict[str, Any]

KEY = "sk-of-the-vendor"
WRONG_KEY = "sk-of-somebody-else"
CHAT, COMPLETIONS, EMBEDDINGS, RERANK = "chat/completions", "completions", "embeddings", "rerank"
MAX_TOKENS_ALONE = frozenset({"max_tokens"})
EVERYTHING = frozenset({CHAT, COMPLETIONS, EMBEDDINGS})
CREATED = 1_750_000_000
# What no vendor shall be sent: it is for our own store alone.
OURS = {"store", "metadata"}
USAGE = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}

# How a stream tells its usage: in a last chunk of its own where it is asked for, with the finish reason, in each chunk
# as it grows, not at all, or in its own words without being asked.
Usage = Literal["alone", "with the end", "in each chunk", "never", "always"]
# How a stream tells a tool call: name first and then its arguments in pieces, whole in one chunk, whole and without
# index and id, whole and each with the index 0, or in pieces that repeat id and name.
Calls = Literal["in pieces", "whole", "bare", "at zero", "repeating"]


@dataclass(frozen=True)
class Ranking:
    """How a vendor reranks: where, and its names of what it is asked and answers. `parted`: texts are objects there."""

    path: str = "/v1/rerank"
    documents: str = "documents"
    most: str | None = "top_n"
    results: str | None = "results"
    score: str = "relevance_score"
    parted: bool = False

    def answer(self, body: JSON) -> JSON | list[JSON]:
        """Documents by the words that they share with the query, the last one first."""
        asked = [body["query"], *body[self.documents]]
        query, *documents = [text["text"] for text in asked] if self.parted else asked
        scores = [len(set(query.split()) & set(document.split())) for document in documents]
        ranked: list[JSON] = [{"index": i, self.score: scores[i] / 4} for i in reversed(range(len(scores)))]
        return {self.results: ranked} if self.results else ranked


@dataclass(frozen=True)
class Asking:
    """What a path asks for; the model and whether to stream, where the path says them and not the body."""

    operation: str
    model: str | None = None
    stream: bool | None = None


@dataclass(frozen=True)
class Answer:
    """What the script lets a vendor say.

    body      the question in OpenAI's words; `model` is always in it
    words     the text, as it is streamed; none where tools are called
    thoughts  what it reasons before that
    calls     whole tool calls, as OpenAI writes them
    reason    why it ends, as OpenAI says it; `stop` is the stop sequence at which it does
    """

    body: JSON
    words: list[str]
    thoughts: list[str] = field(default_factory=list)
    calls: list[JSON] = field(default_factory=list)
    reason: str = "stop"
    stop: str | None = None
    chat: bool = True

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def text(self) -> str:
        return "".join(self.words)

    @property
    def thought(self) -> str:
        return "".join(self.thoughts)

    @property
    def choices(self) -> int:
        return self.body.get("n") or 1


class NotUnderstood(Exception):
    """A question that the vendor's server refuses: an unknown field, a value of the wrong type."""


@dataclass(frozen=True)
class Vendor:
    """One vendor's wire format.

    provider_type    its key in PROVIDERS
    source           where the format is from
    config           what its provider needs beside the address and the key
    variant          of several formats of one vendor, which
    prefix, address  where the dialect's paths begin at its server, as a pattern, and what its config says of it (the
                     same, if not told)
    key_name         the config's name of the key
    authorization    the header, and its value with {key}
    query, headers   demanded with each call; of a header a pattern of its value
    offers           the operations that it has
    head, choice     what it adds to each answer, and to each choice; `chunk`, `chunk_choice`: in streams
    usage, extras    how a stream tells usage, and what counts beside the tokens
    reasons          its words for OpenAI's finish reasons
    going_on         the finish reason of a choice that goes on
    opening          events before the first chunk
    calls            how a stream tells tool calls; `call_ends` is the finish reason after them
    line_end, noise  of its event streams: what ends lines, and what stands between events
    done             whether its streams end in [DONE]
    repeats_role     whether each delta has its role
    errors           the status and the body of each error: of a wrong key, an unknown model, too many calls, a failure
    broken           the event with which a stream tells that it failed
    limits           the names by which it knows the limit of tokens; others it ignores
    developer        whether it knows messages of that role
    several          whether it gives several choices
    embedding_usage  what its embeddings count; None where it does not tell
    ranking          how it reranks, where it does
    told             what it answers at other paths: where and how it lists its models, if not as OpenAI does
    created          its idea of a time
    no_choices       the choices of a chunk that has none
    beginning        how many events a stream has when it has said a word
    thinks           whether it reasons where it is asked to
    chooses          whether it reads which tool must be called
    sees             whether it reads images
    places           where in its body each field of a chat is found, as dotted paths of what changes with it: "stop" at
                     ("stop_sequences",). A field that is not here must be the error that names provider and field
                     (test_native_fields.py has a value for each). Empty where fields are passed as they are
    nonsense         events and answers that mean nothing, beside those that mean nothing in any dialect
    """

    provider_type: str
    source: str
    config: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = "/v1"
    address: str | None = None
    key_name: str = "api_key"
    authorization: tuple[str, str] = ("Authorization", "Bearer {key}")
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    offers: frozenset[str] = EVERYTHING
    model: str = "sky"
    head: JSON = field(default_factory=dict)
    choice: JSON = field(default_factory=dict)
    chunk: JSON = field(default_factory=dict)
    chunk_choice: JSON = field(default_factory=dict)
    usage: Usage = "alone"
    extras: JSON = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    going_on: str | None = None
    opening: tuple[JSON, ...] = ()
    calls: Calls = "in pieces"
    call_ends: str = "tool_calls"
    line_end: bytes = b"\n"
    noise: bytes = b""
    done: bool = True
    repeats_role: bool = False
    unauthorized: tuple[int, Any] = (401, {"error": {"message": "Incorrect API key provided.", "type": "auth"}})
    unknown_model: tuple[int, Any] = (404, {"error": {"message": "There is no such model.", "code": "model_not_found"}})
    too_many: tuple[int, Any] = (429, {"error": {"message": "Slow down."}})
    failure: tuple[int, Any] = (500, {"error": {"message": "The server had an error."}})
    broken: JSON = field(default_factory=lambda: {"error": {"message": "It ran out of memory."}})
    limits: frozenset[str] = frozenset({"max_tokens", "max_completion_tokens"})
    developer: bool = True
    several: bool = True
    embedding_usage: JSON | None = field(default_factory=lambda: {"prompt_tokens": 3, "total_tokens": 3})
    ranking: Ranking | None = None
    told: Mapping[str, Any] = field(default_factory=dict)
    variant: str = ""
    created: float = CREATED
    no_choices: list[JSON] | None = field(default_factory=list)
    beginning: int = 3
    thinks: bool = False
    chooses: bool = True
    sees: bool = True
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    nonsense: tuple[JSON, ...] = ()

    # What a class for another dialect may say otherwise: native.py.

    media_type: ClassVar[str] = "text/event-stream"
    malformed: ClassVar[bytes] = b'data: {"id": "reply-1", "choi\n\n'
    native: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return self.provider_type.removeprefix("remote::") + self.variant

    @property
    def elsewhere(self) -> Mapping[str, Any]:
        """What it answers beside the operations, by path."""
        models = {"object": "list", "data": [{"id": self.model, "object": "model"}]}
        return {f"{self.prefix}/models": models, **self.told}

    def config_at(self, url: str, key: str = KEY) -> JSON:
        """The config of a provider whose vendor's server is at `url`."""
        address = self.prefix if self.address is None else self.address
        return {"base_url": url + address, self.key_name: key, **self.config}

    def aside(self, path: str, body: bytes) -> tuple[int, Any] | None:
        """The status and the JSON of what it answers anybody, such as a token for a key."""
        return None

    def knows(self, headers: Mapping[str, str]) -> bool:
        header, value = self.authorization
        return headers.get(header) == value.format(key=KEY)

    def asking(self, path: str, query: Mapping[str, str]) -> Asking | None:
        """None for a path that it does not have."""
        if dict(query) != dict(self.query):
            return None
        operation = re.sub(f"^{self.prefix}/", "", path)
        ranks = self.ranking is not None and path == self.ranking.path
        return Asking(RERANK if ranks else operation) if ranks or operation in self.offers else None

    def question(self, operation: str, body: JSON) -> JSON:
        """A body in OpenAI's words. Raises NotUnderstood, where the vendor would refuse it."""
        if odd := OURS & body.keys():
            raise NotUnderstood(f"Unknown fields: {odd}")
        if "stream_options" in body and not body.get("stream"):
            raise NotUnderstood("stream_options is of streams alone")
        if not self.developer and any(turn["role"] == "developer" for turn in body.get("messages", ())):
            raise NotUnderstood("'developer' is not one of the roles")
        return body

    def whole(self, answer: Answer) -> JSON:
        """A whole answer, whose choices all say the same."""
        kind = "chat.completion" if answer.chat else "text_completion"
        choice = {**self._content(answer), "finish_reason": self._reason(answer), **self.choice}
        head = {"id": "reply-1", "object": kind, "created": self.created, "model": answer.model, **self.head}
        choices = [{"index": index, **choice} for index in range(answer.choices)]
        return head | {"choices": choices, "usage": USAGE | self.extras}

    def events(self, answer: Answer) -> list[JSON]:
        """A streamed answer, each delta in a chunk of each choice."""
        return list(self._chunks(answer))

    def vectors(self, body: JSON, vectors: list[list[float]]) -> JSON:
        """The answer to a question for embeddings."""
        data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
        return {"object": "list", "data": data, "model": body["model"], "usage": self.embedding_usage}

    def encoded(self, event: JSON) -> bytes:
        return self.noise + b"data: " + json.dumps(event).encode() + self.line_end * 2

    def failing(self, event: JSON) -> bytes:
        """The event with which a stream tells that it failed."""
        return self.encoded(event)

    @property
    def end(self) -> bytes:
        return b"data: [DONE]" + self.line_end * 2 if self.done else b""

    def _reason(self, answer: Answer) -> str:
        reason = self.call_ends if answer.calls else answer.reason
        return self.reasons.get(reason, reason)

    def _content(self, answer: Answer) -> JSON:
        if not answer.chat:
            return {"text": answer.text}
        message: JSON = {"role": "assistant", "content": None if answer.calls else answer.text}
        if answer.thoughts:
            message["reasoning_content"] = answer.thought
        if answer.calls:
            bare = self.calls == "bare"
            message["tool_calls"] = [{k: v for k, v in call.items() if k != "id" or not bare} for call in answer.calls]
        return {"message": message}

    def _chunks(self, answer: Answer) -> Iterator[JSON]:
        indexes = range(answer.choices)
        told = {"usage": USAGE | self.extras}
        yield from self.opening
        for place, delta in enumerate(self._deltas(answer)):
            for index in indexes:
                yield self._chunk({"index": index, **_said(delta, answer)}, self.going_on, answer, grown=place)
        for index in indexes:
            last = self._chunk({"index": index, **_said({}, answer)}, self._reason(answer), answer, grown=4)
            yield last | (told if self.usage == "with the end" and index == indexes[-1] else {})
        if self.usage == "alone" and (answer.body.get("stream_options") or {}).get("include_usage"):
            yield last | {"choices": self.no_choices} | told

    def _deltas(self, answer: Answer) -> list[JSON]:
        if not answer.chat:
            return [{"text": text} for text in answer.words]
        if answer.calls:
            parts = [part for index, call in enumerate(answer.calls) for part in self._called(call, index)]
            return [{"role": "assistant", "content": None}, *({"tool_calls": [part]} for part in parts)]
        role = {"role": "assistant"} if self.repeats_role else {}
        thoughts = [{"reasoning_content": thought} for thought in answer.thoughts]
        return [{"role": "assistant", "content": ""}, *thoughts, *({"content": text} | role for text in answer.words)]

    def _called(self, call: JSON, index: int) -> list[JSON]:
        name = call["function"]["name"]
        match self.calls:
            case "bare":
                return [{"id": "", "type": "function", "function": call["function"]}]
            case "whole":
                return [call | {"index": index}]
            case "at zero":
                return [call | {"index": 0}]
            case "repeating":
                named = [{"name": name, "arguments": piece} for piece in halves(call)]
                return [call | {"index": index, "function": function} for function in named]
        begun = call | {"index": index, "function": {"name": name, "arguments": ""}}
        return [begun, *({"index": index, "function": {"arguments": piece}} for piece in halves(call))]

    def _chunk(self, said: JSON, reason: str | None, answer: Answer, grown: int) -> JSON:
        kind = "chat.completion.chunk" if answer.chat else "text_completion"
        head = {
            "id": "reply-1",
            "object": kind,
            "created": self.created,
            "model": answer.model,
            **self.head,
            **self.chunk,
        }
        if self.usage == "in each chunk":
            head["usage"] = USAGE | {"completion_tokens": grown, "total_tokens": 5 + grown} | self.extras
        return head | {"choices": [{**self.chunk_choice, **said, "finish_reason": reason}]}


def halves(call: JSON) -> list[str]:
    """The arguments of a call in two pieces."""
    arguments: str = call["function"]["arguments"]
    return [arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :]]


def _said(delta: JSON, answer: Answer) -> JSON:
    return {"delta": delta} if answer.chat else {"text": ""} | delta


def sentence(told: tuple[int, Any]) -> str:
    """The vendor's own words in an error of its table."""
    body = told[1][0] if isinstance(told[1], list) else told[1]
    if isinstance(body, str):
        return body
    inner = body.get("error") or (body.get("errors") or [body])[0]
    return str(inner if isinstance(inner, str) else inner.get("message") or inner.get("detail") or inner.get("title"))
