"""The fast lane: requests and answers of OpenAI's dialect go through as bytes, where nothing of them needs changing.

It authenticates and admits by the doors of the other lane, makes one try, and stores and counts what came of it. What
it cannot carry it hands to Django's lane, with nothing left behind and the body to be read again.
"""

import asyncio
import logging
from typing import Any

from apps.access.service import authenticate
from apps.inference.lane import answers, exchange
from apps.inference.lane.assembled import assembled
from apps.inference.lane.clients import Client, Clients
from apps.inference.lane.flow import Flow
from apps.inference.lane.operations import OPERATIONS, Operation
from apps.inference.lane.passage import Passage
from apps.inference.lane.requests import Embedded, Refused
from apps.inference.pace import Pace
from apps.inference.settling import ended_by
from apps.registry.live import Live
from llamastack import metrics, settings
from llamastack.apis import ALIASES
from llamastack.call import TRIED, Call
from llamastack.egress.forward import Forward
from llamastack.egress.reading import EVENT_STREAM
from llamastack.errors import StackError
from llamastack.flusher import Flusher
from llamastack.provider_data import HEADERS, ProviderData, from_headers
from llamastack.sse import DONE, encode_error

DATA_HEADERS, NOTHING = {name.decode() for name in HEADERS}, ProviderData()
UNEXPECTED = "The server failed to answer this request; its log says more."
logger = logging.getLogger(__name__)


class Gateway:
    def __init__(self, live: Live, flusher: Flusher, pace: Pace) -> None:
        self.live = live
        self.flusher = flusher
        self.pace = pace
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
        return exchange.admitted(self.live, operation, Call(principal, provider_data=data), body, client)

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
        data = await exchange.answered(self.flusher, passage)
        self._settle(passage, whole=True)
        await answers.whole(passage, data, send)

    async def _stream(self, passage: Passage, send: Any) -> None:
        async with await exchange.asked(passage) as forward:
            flow = Flow(passage, forward.reply)
            try:
                await self._pass_on(passage, forward, flow, send)
                rest = flow.finish()
            finally:
                flow.tell(passage.outcome)
            passage.answered = True
            if passage.own_id is not None and flow.kept:
                await exchange.store(self.flusher, passage, await assembled(flow.kept, passage.request.choices))
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
        exchange.record(self.flusher, passage, whole=whole)
        outcome, seconds = passage.outcome, passage.sent - passage.began if passage.sent else passage.outcome.seconds
        metrics.answered("fast", outcome.operation, 200 if passage.sent else outcome.status, seconds)
