"""The events of a stream as they leave for the client, those that end it last."""

from typing import Any

from pydantic import BaseModel

from apps.inference.lane.passage import Passage
from apps.inference.lane.replies import renamed
from apps.inference.lane.requests import Chat
from apps.inference.lane.streams import Passing
from apps.inference.lane.tally import tally
from apps.inference.providers.remote.translation import reading
from apps.inference.schemas import ChatCompletionChunk, CompletionChunk, Usage
from apps.inference.settling import says_something
from llamastack.call import Outcome
from llamastack.egress.reading import event
from llamastack.egress.transport import Reply
from llamastack.sse import MalformedStream, Payloads, dump, encode

DONE = b"[DONE]"


class Flow:
    """`out` is what may go to the client now, and `held` what goes once the whole stream has ended as it should."""

    def __init__(self, passage: Passage, reply: Reply) -> None:
        self.passage = passage
        self.reply = reply
        self.stream = passage.stream()
        self.passing = Passing(self.stream, passage.request.model, passage.own_id)
        self.payloads = Payloads()
        self.kind: type[ChatCompletionChunk | CompletionChunk] = (
            ChatCompletionChunk if isinstance(passage.request, Chat) else CompletionChunk
        )
        self.straight = True
        self.done = False
        self.parts = 0  # of what had to be put right
        self.usage: Usage | None = None  # as it was put right
        self.out: list[bytes] = []
        self.held: list[bytes] = []
        self.kept: list[bytes] = []  # all of them, where they are stored

    async def feed(self, piece: bytes) -> None:
        """Take the next piece of an event stream."""
        for data in self.payloads.feed(piece):
            if data == DONE:
                self.done = True
                return
            passed = self.passing.passed(data) if self.straight else None
            if passed is None:
                await self.mend(data)
            elif passed:
                self._add(passed, self.passing.ended)

    async def mend(self, data: bytes) -> None:
        """Take an event that does not conform, or a whole answer in its stead, and all that follow in the same way."""
        if self.straight:
            self.straight = False
            self.passing.give_way()
        passage, provider = self.passage, self.passage.provider
        translation = passage.translation()
        found = event(data, self.reply)
        with reading(self.kind, provider.upstream):
            for part in translation.chunks(await provider.reply(passage.call, translation, found)):
                for chunk in self.stream.chunks(part):
                    self._add(self._dumped(chunk), self.stream.ends(chunk))

    def finish(self) -> bytes:
        """What is left to send. Raises where the stream has not ended as it should."""
        passage, provider = self.passage, self.passage.provider
        if provider.ends_with_done and not self.done:
            raise MalformedStream("it ended without [DONE]")
        provider.check_end(self.stream)
        with reading(self.kind, provider.upstream):
            told = self.passing.told if self.straight else b"".join(map(self._dumped, self.stream.end()))
        if told and passage.home is not None and self.straight:
            told = renamed(told, passage.request.model, passage.own_id, passage.home)
        if told and passage.request.wants_usage:
            self._add(told, True)
        elif told and passage.own_id is not None:
            self.kept.append(told)
        return b"".join([*self.out, *self.held])

    def taken(self) -> bytes:
        """What may go now."""
        data = self.out[0] if len(self.out) == 1 else b"".join(self.out)
        self.out.clear()
        return data

    def tell(self, outcome: Outcome) -> None:
        """What is known of the tokens so far."""
        tally(outcome, self.usage or self.passing.usage)
        self.passage.parts = self.parts + self.passing.parts

    def _add(self, data: bytes, ended: bool) -> None:
        (self.held if ended else self.out).append(encode(data))
        if self.passage.own_id is not None:
            self.kept.append(data)

    def _dumped(self, chunk: dict[str, Any]) -> bytes:
        read: Any = self.kind.model_validate(chunk)
        read.model = self.passage.request.model
        self.usage = read.usage or self.usage
        self.parts += sum(says_something(choice) for choice in read.choices)
        if self.passage.own_id is not None:
            read.id = self.passage.own_id
        if self.passage.home is not None and read.usage is not None:
            read.usage.served_by = self.passage.home
        model: BaseModel = read
        return dump(model)
