"""What benchmarks/gateway.py asks, and what is right of an answer: no two requests are the same."""

from collections.abc import Iterator
from typing import Any

import orjson

from benchmarks import _echo, _upstream
from benchmarks._load import body_of

WORDS = " word" * 28
EVENTS = 34  # of a stream: the role, the 32 words of the answer, the end
JSON = dict[str, Any]


class Calls:
    """One kind of call to one server."""

    path = "chat/completions"
    model = _echo.MODEL
    stream = False
    operation, tokens = "chat", 8  # of its usage record
    stored = True
    events = 1

    def __init__(self, port: int, key: str, numbers: Iterator[int], prefix: str = "", headers: str = "") -> None:
        """`prefix`: what this server has before the names of models; `headers`: what else it wants, by the line."""
        self.numbers = numbers
        self.model = prefix + self.model
        self.head = (
            f"POST /v1/{self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n{headers}"
            "User-Agent: bench\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: "
        ).encode()

    def next(self) -> tuple[int, bytes]:
        number = next(self.numbers)
        body = orjson.dumps({"model": self.model} | self.asked(number))
        return number, b"%b%d\r\n\r\n%b" % (self.head, len(body), body)

    def asked(self, number: int) -> JSON:
        stream = {"stream": True} if self.stream else {}
        return {"messages": [{"role": "user", "content": said(number)}], **stream}

    def kept(self, number: int, answer: bytes) -> bytes:
        return answer

    def checked(self, number: int, answer: bytes) -> str:
        """The id of a right answer. Raises for any other."""
        reply = orjson.loads(body_of(answer))
        right(reply["choices"][0]["message"]["content"] == f"You said: {said(number)}", answer)
        right(reply["choices"][0]["finish_reason"] == "stop" and reply["usage"]["total_tokens"] == 16, answer)
        return str(reply["id"])


class Chat(Calls):
    name = "chat"


class Streams(Calls):
    name = "stream"
    stream = True
    events = EVENTS

    def checked(self, number: int, answer: bytes) -> str:
        *events, done, rest = body_of(answer).split(b"\n\n")
        right((done, rest) == (b"data: [DONE]", b""), answer)
        chunks = [orjson.loads(event.removeprefix(b"data: ")) for event in events]
        choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
        text = "".join(choice["delta"].get("content") or "" for choice in choices)
        right(text.rstrip() == f"You said: {said(number)}", answer)
        right([choice["finish_reason"] for choice in choices] == [None] * (EVENTS - 1) + ["stop"], answer)
        return str(chunks[0]["id"])


class Paced(Streams):
    name = "paced"
    model = _upstream.PACED


class Slow(Streams):
    """Of whom a thousand are open at once."""

    name = "slow"
    model = _upstream.SLOW


class Loose(Streams):
    """Of other servers, who may join events, leave some out, add some, and say no [DONE]: the text ends once."""

    def checked(self, number: int, answer: bytes) -> str:
        *events, rest = body_of(answer).removesuffix(b"data: [DONE]\n\n").split(b"\n\n")
        right(not rest, answer)
        chunks = [orjson.loads(event.removeprefix(b"data: ")) for event in events]
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        text = "".join(choice["delta"].get("content") or "" for choice in choices)
        right(text.rstrip() == f"You said: {said(number)}", answer)
        right([choice["finish_reason"] for choice in choices if choice.get("finish_reason")] == ["stop"], answer)
        return str(chunks[0]["id"])


class Embeddings(Calls):
    """Their answers are large, and the same again and again: the first one of each is read, the others are compared."""

    name = "embeddings"
    path = "embeddings"
    model = _upstream.VECTORS
    operation, tokens = "embedding", 64
    stored = False

    def __init__(self, port: int, key: str, numbers: Iterator[int], prefix: str = "", headers: str = "") -> None:
        super().__init__(port, key, numbers, prefix, headers)
        self.known: dict[int, bytes] = {}
        self.good: set[int] = set()

    def asked(self, number: int) -> JSON:
        return {"input": [f"number {number} text {place}" for place in range(_upstream.INPUTS)]}

    def kept(self, number: int, answer: bytes) -> bytes:
        which = number % _upstream.ANSWERS
        if not answer.startswith(b"HTTP/1.1 200 "):
            return answer
        if which not in self.known:
            self.known[which] = body_of(answer)
        known = self.known[which]
        return known if answer.endswith(known) else answer

    def checked(self, number: int, answer: bytes) -> str:
        which = number % _upstream.ANSWERS
        is_known = answer is self.known.get(which)
        if not is_known or which not in self.good:
            body = answer if is_known else body_of(answer)
            vectors = [item["embedding"] for item in orjson.loads(body)["data"]]
            right(vectors == _upstream.vectors(which), answer[:300])
            self.good |= {which} if is_known else set()
        return ""


def said(number: int) -> str:
    return f"number {number}{WORDS}"


def right(is_so: bool, answer: bytes) -> None:
    if not is_so:
        raise ValueError(answer)


KINDS: dict[str, type[Any]] = {kind.name: kind for kind in (Chat, Streams, Paced, Embeddings)}
