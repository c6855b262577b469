"""The fast lane: requests and answers of OpenAI's dialect go through as bytes, where nothing of them needs changing.

It authenticates and admits by the doors of the other lane, makes one try, and stores and counts what came of it. What
it cannot carry it hands to Django's lane, with nothing left behind and the body to be read again.
"""

import asyncio
import logging
import time
from typing import Any

from apps.access.service import admit, authenticate, settle
from apps.inference import stored
from apps.inference.homes import DIMENSION, affinity, check_dimension
from apps.inference.lane import answers
from apps.inference.lane.assembled import assembled
from apps.inference.lane.clients import Client, Clients
from apps.inference.lane.flow import Flow
from apps.inference.lane.operations import OPERATIONS, Operation
from apps.inference.lane.passage import Passage
from apps.inference.lane.replies import conforming, renamed
from apps.inference.lane.requests import Chat, Embedded, Refused, Request, decoded, encode
from apps.inference.lane.tally import tally
from apps.inference.pace import Pace
from apps.inference.protocol import Elsewhere
from apps.inference.providers.remote.openai_compatible import OpenAICompatible
from apps.inference.schemas import completion_id
from apps.inference.settling import ended_by, estimate
from apps.registry.live import Live
from llamastack import metrics, settings
from llamastack.apis import ALIASES
from llamastack.call import TRIED, Call, Outcome
from llamastack.egress.forward import Forward
from llamastack.egress.reading import EVENT_STREAM
from llamastack.errors import StackError
from llamastack.flusher import Flusher
from llamastack.guards import DISCONNECT
from llamastack.provider_data import HEADERS, ProviderData, from_headers
from llamastack.sse import DONE, dump, encode_error

DATA_HEADERS, NOTHING = {name.decode() for name in HEADERS}, ProviderData()
UNEXPECTED = "The server failed to answer this request; its log says more."
logger = logging.getLogger(__name__)


async def nobody() -> Any:
    """What a client tells that has no connection."""
    return DISCONNECT


class Gateway:
    def __init__(self, live: Live, flusher: Flusher, pace: Pace | None = None) -> None:
        self.live = live
        self.flusher = flusher
        self.pace = pace or Pace()
        self.clients = Clients()

    async def carries(self, scope: Any, told: dict[str, str], client: Client, send: Any) -> bool:
        """Whether the request has been answered here. `told` are its headers by their names."""
        try:
            passage = await self._admitted(OPERATIONS[scope["path"]], scope, told, client)
        except (Refused, StackError):
            return False
        self.pace.live()
        passage.done = b"" if scope["path"].startswith(ALIASES) else DONE
        passage.running.taken()
        try:
            if self.flusher.full:
                await self.flusher.room()
            self.clients.add(client)
            return await self._carried(passage, scope, send)
        finally:
            self.clients.remove(client)
            passage.running.given_back()

    async def _admitted(self, operation: Operation, scope: Any, told: dict[str, str], client: Client) -> Passage:
        """Raises Refused, or the StackError that the other lane would find too."""
        body = await client.body()  # which may take a while: who asks, and for what, is looked at after it
        principal = authenticate(told, self.live.snapshot, required=settings.AUTH_REQUIRED)
        data = NOTHING if DATA_HEADERS.isdisjoint(told) else from_headers(scope["headers"])
        return self._passage(operation, Call(principal, provider_data=data), body, client)

    def _passage(self, operation: Operation, call: Call, body: bytes, client: Client) -> Passage:
        """Raises as `_admitted` does."""
        request: Request = decoded(operation.request, body)
        route = admit(call, self.live.snapshot, request.model, operation.model_type)
        place = route.only or route.in_order(call.principal.tenant, affinity(route.model, request))[0]
        running = self.live.pool.live(place.provider.key)
        if running is None or not isinstance(running.provider, OpenAICompatible):
            raise Refused
        outcome, began = Outcome(operation.name, route.model.identifier, place, lane="fast"), time.perf_counter()
        passage = Passage(operation, client, call, request, route, place, running, running.provider, outcome, began)
        if not passage.passes():
            raise Refused
        if isinstance(request, Chat) and request.store is not False:
            passage.own_id = completion_id()
        return passage

    async def answer(self, call: Call, path: str, body: bytes) -> tuple[bytes, Outcome]:
        """The whole answer to a request that came by no connection of its own, such as a line of a batch.

        It is stored only where it asks for that. Raises Elsewhere where the service has to be asked instead.
        """
        task = asyncio.current_task()
        assert task is not None
        try:
            passage = self._passage(OPERATIONS[path], call, body, Client(nobody, task))
        except (Refused, StackError) as error:
            raise Elsewhere({}) from error
        request, outcome = passage.request, passage.outcome
        if not settings.FAST_LANE or (not isinstance(request, Embedded) and request.stream):
            raise Elsewhere({})
        if isinstance(request, Chat) and not request.store:
            passage.own_id = None
        passage.running.taken()
        try:
            await self.pace.turn()
            if self.flusher.full:
                await self.flusher.room()
            data = await self._reply(passage)
            self._record(passage, whole=True)
        except BaseException as error:
            outcome.status, outcome.error = ended_by(error)
            if isinstance(error, StackError) and await passage.hands_over(error):
                passage.settled = True  # by whoever answers instead
                raise Elsewhere({passage.place.name: error}) from error
            raise
        finally:
            self._record(passage)
            passage.running.given_back()
        return data, outcome

    async def _carried(self, passage: Passage, scope: Any, send: Any) -> bool:
        outcome = passage.outcome
        try:
            outcome.streamed = passage.request.__class__ is not Embedded and bool(passage.request.stream)
            try:
                await (self._stream if outcome.streamed else self._whole)(passage, send)
            except StackError as error:
                if not await passage.hands_over(error):
                    raise
                outcome.lane, scope[TRIED] = "django", {passage.place.name: error}
                return False
        except asyncio.CancelledError as error:  # the client has gone, or the server stops: that is all, as elsewhere
            passage.client.left()
            outcome.status, outcome.error = ended_by(error)
        except StackError as error:
            await self._failed(passage, error, send)
        except Exception:  # whatever it was, the client is told
            logger.exception("A request failed in the fast lane")
            await self._failed(passage, StackError(UNEXPECTED, code="internal_error"), send)
        finally:
            if outcome.lane == "fast":
                self._settle(passage)
        return True

    async def _whole(self, passage: Passage, send: Any) -> None:
        data = await self._reply(passage)
        self._settle(passage, whole=True)
        await answers.whole(passage, data, send)

    async def _reply(self, passage: Passage) -> bytes:
        """A whole answer, as it is told and stored."""
        provider, request, own_id = passage.provider, passage.request, passage.own_id
        async with await self._asked(passage) as forward:
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
            await self._store(passage, data)
        return data

    async def _stream(self, passage: Passage, send: Any) -> None:
        async with await self._asked(passage) as forward:
            flow = Flow(passage, forward.reply)
            try:
                await self._pass_on(passage, forward, flow, send)
                rest = flow.finish()
            finally:
                flow.tell(passage.outcome)
            passage.answered = True
            if passage.own_id is not None and flow.kept:
                await self._store(passage, await assembled(flow.kept, passage.request.choices))
            self._settle(passage, whole=True)
            passage.client.ignore()  # from here on it has all, and goes when it likes
            await answers.piece(passage, rest + passage.done, send, more=False)
            await forward.drain()

    async def _pass_on(self, passage: Passage, forward: Forward, flow: Flow, send: Any) -> None:
        """The events as they come. What came before a failure goes before it, too."""
        streams = forward.reply.media_type in ("", EVENT_STREAM)
        whole: list[bytes] = []
        try:
            while not flow.done and (piece := await forward.piece()) is not None:
                if not streams:
                    whole.append(piece)
                    continue
                await flow.feed(piece)
                if flow.out:
                    await answers.piece(passage, flow.taken(), send)
            if not streams:
                flow.done = True
                await flow.mend(b"".join(whole))
        finally:
            if flow.out:
                await answers.piece(passage, flow.taken(), send)

    async def _asked(self, passage: Passage) -> Forward:
        provider, streamed = passage.provider, passage.outcome.streamed
        headers = await provider.call_headers(passage.call)
        task, path, body = passage.client.task, passage.operation.path, passage.outgoing()
        return provider.egress.forward(task, path, body, headers, streamed=streamed, again=passage.asks_again)

    async def _store(self, passage: Passage, completion: bytes) -> None:
        request, own_id = passage.request, passage.own_id
        assert own_id is not None
        said, metadata = encode(request.messages), encode(request.metadata or {})
        row = stored.row_of_bytes(passage.call.principal, own_id, request.model, metadata, said, completion)
        if request.store:
            await self.flusher.commit(row, row.size)
        else:
            self.flusher.offer(row, row.size)

    async def _failed(self, passage: Passage, error: StackError, send: Any) -> None:
        passage.outcome.status, passage.outcome.error = ended_by(error)
        self._settle(passage)
        if error.status >= 500:
            logger.error("%s (%s)", error.message, passage.call.request_id)
        if not passage.sent:
            await answers.refuse(passage, error, send)
            return
        await answers.piece(passage, encode_error(error), send, more=False)

    def _settle(self, passage: Passage, *, whole: bool = False) -> None:
        """Record the call, once: before the last byte of its answer leaves."""
        if passage.settled:
            return
        self._record(passage, whole=whole)
        outcome, seconds = passage.outcome, passage.sent - passage.began if passage.sent else passage.outcome.seconds
        metrics.answered("fast", outcome.operation, 200 if passage.sent else outcome.status, seconds)

    def _record(self, passage: Passage, *, whole: bool = False) -> None:
        if passage.settled:
            return
        outcome = passage.outcome
        passage.settled, outcome.whole, outcome.seconds = True, whole, time.perf_counter() - passage.began
        estimate(outcome, passage.parts)
        self.flusher.note(settle(passage.call, outcome))
