"""What a vendor's server is asked and answers, as a table says it: OpenAI's own, but for what is said otherwise."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

JSON = dict[str, Any]

KEY = "sk-of-the-vendor"
WRONG_KEY = "sk-of-somebody-else"
CHAT, COMPLETIONS, EMBEDDINGS = "chat/completions", "completions", "embeddings"
MAX_TOKENS_ALONE = frozenset({"max_tokens"})
EVERYTHING = frozenset({CHAT, COMPLETIONS, EMBEDDINGS})
CREATED = 1_750_000_000
USAGE = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}

# How a stream tells its usage: in a last chunk of its own where it is asked for, with the finish reason, in each chunk
# as it grows, or not at all.
Usage = Literal["alone", "with the end", "in each chunk", "never"]
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
    query            demanded with each call
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
    """

    provider_type: str
    source: str
    config: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = "/v1"
    address: str | None = None
    key_name: str = "api_key"
    authorization: tuple[str, str] = ("Authorization", "Bearer {key}")
    query: Mapping[str, str] = field(default_factory=dict)
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

    def whole(self, said: JSON, reason: str, body: JSON, *, chat: bool) -> JSON:
        """A whole answer, whose choices all say the same."""
        kind = "chat.completion" if chat else "text_completion"
        choice = {**said, "finish_reason": self.reasons.get(reason, reason), **self.choice}
        head = {"id": "reply-1", "object": kind, "created": self.created, "model": body["model"], **self.head}
        choices = [{"index": index, **choice} for index in range(body.get("n") or 1)]
        return head | {"choices": choices, "usage": USAGE | self.extras}

    def chunks(self, deltas: list[JSON], reason: str, body: JSON, *, chat: bool) -> Iterator[JSON]:
        """A streamed answer, each delta in a chunk of each choice."""
        indexes = range(body.get("n") or 1)
        told = {"usage": USAGE | self.extras}
        yield from self.opening
        for place, delta in enumerate(deltas):
            for index in indexes:
                yield self._chunk({"index": index, **_said(delta, chat)}, self.going_on, body, chat, grown=place)
        ending = self.reasons.get(reason, reason)
        for index in indexes:
            last = self._chunk({"index": index, **_said({}, chat)}, ending, body, chat, grown=4)
            yield last | (told if self.usage == "with the end" and index == indexes[-1] else {})
        if self.usage == "alone" and (body.get("stream_options") or {}).get("include_usage"):
            yield last | {"choices": self.no_choices} | told

    def _chunk(self, said: JSON, reason: str | None, body: JSON, chat: bool, grown: int) -> JSON:
        kind = "chat.completion.chunk" if chat else "text_completion"
        head = {
            "id": "reply-1",
            "object": kind,
            "created": self.created,
            "model": body["model"],
            **self.head,
            **self.chunk,
        }
        if self.usage == "in each chunk":
            head["usage"] = USAGE | {"completion_tokens": grown, "total_tokens": 5 + grown} | self.extras
        return head | {"choices": [{**self.chunk_choice, **said, "finish_reason": reason}]}

    def encoded(self, event: JSON) -> bytes:
        return self.noise + b"data: " + json.dumps(event).encode() + self.line_end * 2

    @property
    def end(self) -> bytes:
        return b"data: [DONE]" + self.line_end * 2 if self.done else b""


def _said(delta: JSON, chat: bool) -> JSON:
    return {"delta": delta} if chat else {"text": ""} | delta


def sentence(told: tuple[int, Any]) -> str:
    """The vendor's own words in an error of its table."""
    body = told[1][0] if isinstance(told[1], list) else told[1]
    if isinstance(body, str):
        return body
    inner = body.get("error") or body
    return str(inner if isinstance(inner, str) else inner.get("message") or inner.get("detail") or inner.get("title"))
