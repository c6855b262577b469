"""One request on its way through the fast lane: what it asks, whom, and how that goes."""

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from apps.access.service import Route
from apps.inference.dialect import ChatStream, Stream, TextStream
from apps.inference.lane.clients import Client
from apps.inference.lane.operations import Operation
from apps.inference.lane.requests import Chat, Embedded, Generation, StreamOptions, encode
from apps.inference.providers.remote.openai_compatible import OpenAICompatible
from apps.inference.providers.remote.translation import Translation
from apps.inference.schemas import ChatCompletion, Completion, EmbeddingResponse
from llamastack.call import Call, Outcome
from llamastack.errors import StackError
from llamastack.pool import Running
from llamastack.snapshot import Place

WITH_USAGE = StreamOptions(include_usage=True)


@dataclass(slots=True)
class Passage:
    """`answered`: from here on, no other can answer in this one's place. `began` is of the clock of durations."""

    operation: Operation
    client: Client
    call: Call
    request: Any
    route: Route
    place: Place
    running: Running
    provider: OpenAICompatible
    outcome: Outcome
    began: float
    own_id: str | None = None
    done: bytes = b""
    answered: bool = False
    parts: int = 0  # of a stream: those that said something
    settled: bool = False
    pause: float | None = None  # before another try
    sent: float = 0.0  # when the head of the answer was, on the same clock

    @property
    def home(self) -> str | None:
        """What usage says of who has served it: of a model that has several homes alone."""
        return self.place.name if self.route.only is None else None

    @property
    def compares(self) -> bool:
        """Whether the vectors of several homes are looked at, which must be of one length."""
        return self.route.only is None and isinstance(self.request, Embedded)

    def passes(self) -> bool:
        """Whether the provider is sent just what the client has sent, and nobody but it is asked."""
        provider, request, data = self.provider, self.request, self.call.provider_data
        if provider.refuses or not provider.passes(self.operation.path):
            return False
        if data and any(name != provider.data_key and data.get(name) not in (None, "") for name in provider.reads()):
            return False
        if provider.renamed and any(getattr(request, name, UNSET) is not UNSET for name in provider.renamed):
            return False
        for name, neutral in provider.ignored.items():
            value = getattr(request, name, None)
            if value is not None and value is not UNSET and value not in neutral:
                return False
        if provider.developer_role or not isinstance(request, Chat):
            return True
        return all(message.role != "developer" for message in request.messages)

    def outgoing(self) -> bytes:
        """What is sent: what is for our store alone stays here, and a stream is asked for its usage."""
        request = self.request
        changes: dict[str, Any] = {"model": self.place.provider_model_id}
        if isinstance(request, Chat) and (request.store is not UNSET or request.metadata is not UNSET):
            changes |= {"store": UNSET, "metadata": UNSET}
        if isinstance(request, Generation) and request.stream:
            changes["stream_options"] = WITH_USAGE
        if len(changes) > 1 or request.model != changes["model"]:
            request = msgspec.structs.replace(request, **changes)
        return encode(request)

    def stream(self) -> Stream:
        """What puts the provider's answer right, where it has to be."""
        kind = ChatStream if isinstance(self.request, Chat) else TextStream
        return kind(self.place.provider_model_id, self.request.choices, True)

    def translation(self) -> Translation:
        """As far as an answer is read with it."""
        request: Any = msgspec.structs.replace(self.request, model=self.place.provider_model_id)
        return Translation(request, self.operation.path, None)

    async def mended(self, answer: Any) -> ChatCompletion | Completion | EmbeddingResponse:
        """A whole answer that does not conform, put right as in the other lane."""
        provider, call, sent = self.provider, self.call, self.translation()
        if isinstance(self.request, Embedded):
            return await provider.vectors(call, sent, answer)
        kind = ChatCompletion if isinstance(self.request, Chat) else Completion
        return await provider.read(call, kind, sent, self.stream(), answer)

    async def hands_over(self, error: StackError) -> bool:
        """Whether another try, or another home, may answer after this error: the other lane knows how to ask them.

        A further try of the same home is one of those that its egress allows, and waits as long as any of them.
        """
        if self.answered or self.sent:
            return False
        if self.route.only is None or error.code == "breaker_open":
            return True
        cause = error.__cause__
        if not isinstance(cause, Exception) or not self.asks_again(cause):
            return False
        await asyncio.sleep(self.pause or 0)
        return True

    def asks_again(self, cause: Exception) -> bool:
        """Whether the other lane asks the same home once more after this failure, in `pause` seconds."""
        if self.answered or self.sent or self.route.only is None:
            return False
        if self.pause is None:
            self.pause = self.provider.egress.retries.pause(cause, 1)
        return self.pause is not None
