"""The fast lane: requests and answers of OpenAI's dialect go through as bytes, where nothing of them needs changing.

It authenticates and admits by the doors of the other lane, makes one try, and stores and counts what came of it. What
it cannot carry it hands to Django's lane before anything is reserved: with the body to be read again.
"""

import asyncio
import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import msgspec
import orjson
from msgspec import UNSET

from apps.access.service import Route, admit, authenticate
from apps.inference import stored
from apps.inference.dialect import ChatStream, TextStream
from apps.inference.homes import affinity
from apps.inference.lane.clients import Client, Clients
from apps.inference.lane.replies import ChatReply, TextReply, Vectors, conforming, renamed
from apps.inference.lane.requests import Chat, Embedded, Prompt, Refused, Request, decoded, encode
from apps.inference.providers.remote.openai_compatible import OpenAICompatible
from apps.inference.providers.remote.translation import Translation
from apps.inference.schemas import ChatCompletion, Completion, EmbeddingResponse, completion_id
from apps.registry.live import Live
from llamastack import settings
from llamastack.apis import ALIASES
from llamastack.call import LANE, SERVED_BY, Call
from llamastack.egress.retries import worthwhile
from llamastack.errors import StackError, headers, render
from llamastack.flusher import Flusher
from llamastack.middleware import PRINTED
from llamastack.pool import Running
from llamastack.provider_data import HEADERS, ProviderData, from_headers
from llamastack.snapshot import Place
from llamastack.sse import dump

JSON, EVENTS = b"application/json", b"text/event-stream"
DATA_HEADERS = {name.decode() for name in HEADERS}
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Operation:
    """What is asked for at one path: the types of its requests and replies, and of the models that answer it."""

    path: str
    model_type: str
    request: "msgspec.json.Decoder[Any]"
    reply: "msgspec.json.Decoder[Any]"


OPERATIONS = {
    f"{prefix}/{operation.path}": operation
    for prefix in ("/v1", ALIASES)
    for operation in (
        Operation("chat/completions", "llm", msgspec.json.Decoder(Chat), msgspec.json.Decoder(ChatReply)),
        Operation("completions", "llm", msgspec.json.Decoder(Prompt), msgspec.json.Decoder(TextReply)),
        Operation("embeddings", "embedding", msgspec.json.Decoder(Embedded), msgspec.json.Decoder(Vectors)),
    )
}


@dataclass(slots=True)
class Passage:
    """One request on its way through."""

    operation: Operation
    call: Call
    request: Any
    route: Route
    place: Place
    running: Running
    provider: OpenAICompatible
    answered: bool = False  # from here on no other can answer in its place


class Gateway:
    def __init__(self, live: Live, flusher: Flusher) -> None:
        self.live = live
        self.flusher = flusher
        self.clients = Clients()

    async def carries(self, scope: Any, told: dict[str, str], client: Client, send: Any) -> bool:
        """Whether the request has been answered here. `told` are its headers by their names."""
        try:
            passage = await self._admitted(OPERATIONS[scope["path"]], scope, told, client)
        except (Refused, StackError):
            return False
        passage.running.taken()
        self.clients.add(client)
        try:
            await self._whole(passage, send)
        except asyncio.CancelledError:
            if not client.left():
                raise
        except StackError as error:
            if not passage.answered and hands_over(passage, error):
                return False
            await refuse(passage, error, send)
        finally:
            self.clients.remove(client)
            passage.running.given_back()
        return True

    async def _admitted(self, operation: Operation, scope: Any, told: dict[str, str], client: Client) -> Passage:
        """Raises Refused, or the StackError that the other lane would find too."""
        snapshot = self.live.snapshot
        principal = authenticate(told, snapshot, required=settings.AUTH_REQUIRED)
        call = Call(principal, provider_data=from_headers(scope["headers"]) if DATA_HEADERS & told.keys() else NOTHING)
        request: Request = decoded(operation.request, await client.body())
        route = admit(call, snapshot, request.model, operation.model_type)
        place = route.only or route.in_order(principal.tenant, affinity(route.model, request))[0]
        running = self.live.pool.live(place.provider.key)
        if running is None or not isinstance(running.provider, OpenAICompatible):
            raise Refused
        passage = Passage(operation, call, request, route, place, running, running.provider)
        if running.provider.refuses or not passes(passage):
            raise Refused
        return passage

    async def _whole(self, passage: Passage, send: Any) -> None:
        provider, request, call = passage.provider, passage.request, passage.call
        own_id = completion_id() if isinstance(request, Chat) and request.store is not False else None
        body = outgoing(request, passage.place.provider_model_id)
        headers = await provider.call_headers(call)
        async with provider.egress.forward(passage.operation.path, body, headers) as forward:
            data = await forward.whole()
            reply = conforming(passage.operation.reply, data)
            if reply is None:
                reply = await mended(passage, await forward.parsed(data, done=provider.ends_with_done))
                data = dump(reply)
        passage.answered = True
        call.served.by = passage.place.name
        if own_id is not None or reply.model != request.model or passage.route.only is None:
            data = renamed(data, request.model, own_id, call.served.by if passage.route.only is None else None)
        if own_id is not None:
            await self._store(passage, own_id, data)
        await send({"type": "http.response.start", "status": 200, "headers": head(passage, JSON, len(data))})
        await send({"type": "http.response.body", "body": data})

    async def _store(self, passage: Passage, own_id: str, completion: bytes) -> None:
        request = passage.request
        said, metadata = encode(request.messages), encode(request.metadata or {})
        row = stored.row_of_bytes(passage.call.principal, own_id, request.model, metadata, said, completion)
        if request.store:
            await self.flusher.commit(row, row.size)
        else:
            self.flusher.offer(row, row.size)


NOTHING = ProviderData()


async def mended(passage: Passage, answer: Any) -> ChatCompletion | Completion | EmbeddingResponse:
    """An answer that does not conform, put right as in the other lane."""
    provider, request, call = passage.provider, passage.request, passage.call
    model = passage.place.provider_model_id
    sent = Translation(msgspec.structs.replace(request, model=model), passage.operation.path, None)
    if isinstance(request, Embedded):
        vectors: EmbeddingResponse = await provider.vectors(call, sent, answer)
        return vectors
    if isinstance(request, Chat):
        return await provider.read(call, ChatCompletion, sent, ChatStream(model, request.choices, True), answer)
    return await provider.read(call, Completion, sent, TextStream(model, request.choices, True), answer)


def passes(passage: Passage) -> bool:
    """Whether a provider is sent just what the client has sent, and nobody but it is asked."""
    provider, request, data = passage.provider, passage.request, passage.call.provider_data
    if request.__class__ is not Embedded and request.stream:
        return False
    if not provider.passes(passage.operation.path) or any(
        name != provider.data_key and data.get(name) for name in (provider.reads() if data else ())
    ):
        return False
    if any(getattr(request, name, UNSET) is not UNSET for name in provider.renamed):
        return False
    for name, neutral in provider.ignored.items():
        value = getattr(request, name, None)
        if value is not None and value is not UNSET and value not in neutral:
            return False
    return (
        provider.developer_role
        or request.__class__ is not Chat
        or all(message.role != "developer" for message in request.messages)
    )


def outgoing(request: Request, model: str) -> bytes:
    """What is sent: what is for our store alone stays here."""
    if not isinstance(request, Chat) or (request.store is UNSET and request.metadata is UNSET):
        asked, request.model = request.model, model
        body = encode(request)
        request.model = asked
        return body
    return encode(msgspec.structs.replace(request, model=model, store=UNSET, metadata=UNSET))


def hands_over(passage: Passage, error: StackError) -> bool:
    """Whether another try, or another home, may answer in this one's place: the other lane knows how to ask them."""
    cause = error.__cause__
    return (
        passage.route.only is None
        or error.code == "breaker_open"
        or (isinstance(cause, Exception) and worthwhile(cause))
    )


def head(passage: Passage, kind: bytes, length: int | None = None) -> list[tuple[bytes, bytes]]:
    """The head of an answer, as the other lane's has it."""
    told = [
        (b"content-type", kind),
        (b"x-request-id", passage.call.request_id.encode()),
        (LANE_NAME, b"fast"),
    ]
    if passage.call.served.by:
        told.append((SERVED_NAME, quoted(passage.call.served.by)))
    if length is not None:
        told.append((b"content-length", b"%d" % length))
    return told


LANE_NAME, SERVED_NAME = LANE.lower().encode(), SERVED_BY.lower().encode()


@lru_cache(4096)
def quoted(name: str) -> bytes:
    return quote(name, safe=PRINTED).encode()


async def refuse(passage: Passage, error: StackError, send: Any) -> None:
    status, body = render(error)
    content = orjson.dumps(body)
    passage.call.served.by = ""
    asked = [(name.lower().encode(), value.encode()) for name, value in headers(error).items()]
    told = [*head(passage, JSON, len(content)), *asked]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": content})
