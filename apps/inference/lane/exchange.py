"""A request of the fast lane and its provider: whom it is for, what is asked and answered, what is kept of it."""

import time
from typing import Any

from apps.access.service import admit, settle
from apps.inference import stored
from apps.inference.homes import DIMENSION, affinity, check_dimension
from apps.inference.lane.clients import Client
from apps.inference.lane.operations import Operation
from apps.inference.lane.passage import Passage
from apps.inference.lane.replies import conforming, renamed
from apps.inference.lane.requests import Chat, Refused, Request, decoded, encode
from apps.inference.lane.tally import tally
from apps.inference.providers.remote.openai_compatible import OpenAICompatible
from apps.inference.schemas import completion_id
from apps.inference.settling import estimate
from apps.registry.live import Live
from llamastack.call import Call, Outcome
from llamastack.egress.forward import Forward
from llamastack.flusher import Flusher
from llamastack.sse import dump


def admitted(live: Live, operation: Operation, call: Call, body: bytes, client: Client) -> Passage:
    """Raises Refused, or the StackError that the other lane would find too."""
    request: Request = decoded(operation.request, body)
    route = admit(call, live.snapshot, request.model, operation.model_type)
    place = route.only or route.in_order(call.principal.tenant, affinity(route.model, request))[0]
    running = live.pool.live(place.provider.key)
    if running is None or not isinstance(running.provider, OpenAICompatible):
        raise Refused
    outcome, began = Outcome(operation.name, route.model.identifier, place, lane="fast"), time.perf_counter()
    passage = Passage(operation, client, call, request, route, place, running, running.provider, outcome, began)
    if not passage.passes():
        raise Refused
    if isinstance(request, Chat) and request.store is not False:
        passage.own_id = completion_id()
    return passage


async def answered(flusher: Flusher, passage: Passage) -> bytes:
    """A whole answer, as it is told and stored."""
    provider, request, own_id = passage.provider, passage.request, passage.own_id
    async with await asked(passage) as forward:
        reply: Any
        data = await forward.whole()
        reply, data = (None, data) if passage.compares else conforming(passage.operation.reply, data)
        if reply is None:
            reply = await passage.mended(await forward.parsed(data, done=provider.ends_with_done))
            data = dump(reply)
    tally(passage.outcome, reply.usage or None)
    if passage.compares:
        check_dimension(reply, request.dimensions or passage.route.model.metadata.get(DIMENSION), passage.place)
    passage.answered = True
    if own_id is not None or reply.model != request.model or passage.home is not None:
        data = renamed(data, request.model, own_id, passage.home)
    if own_id is not None:
        await store(flusher, passage, data)
    return data


async def asked(passage: Passage) -> Forward:
    provider, streamed = passage.provider, passage.outcome.streamed
    headers = await provider.call_headers(passage.call)
    task, path, body = passage.client.task, passage.operation.path, passage.outgoing()
    return provider.egress.forward(task, path, body, headers, streamed=streamed, again=passage.asks_again)


async def store(flusher: Flusher, passage: Passage, completion: bytes) -> None:
    request, own_id = passage.request, passage.own_id
    assert own_id is not None
    said, metadata = encode(request.messages), encode(request.metadata or {})
    row = stored.row_of_bytes(passage.call.principal, own_id, request.model, metadata, said, completion)
    if request.store:
        await flusher.commit(row, row.size)
    else:
        flusher.offer(row, row.size)


def record(flusher: Flusher, passage: Passage, *, whole: bool = False) -> None:
    """Once, whoever does it first."""
    if passage.settled:
        return
    outcome = passage.outcome
    passage.settled, outcome.whole, outcome.seconds = True, whole, time.perf_counter() - passage.began
    estimate(outcome, passage.parts)
    flusher.note(settle(passage.call, outcome))
