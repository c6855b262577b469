"""The fast lane for requests that came by no connection of their own, such as the lines of a batch."""

import asyncio
from typing import Any

from apps.inference.lane import exchange
from apps.inference.lane.clients import Client
from apps.inference.lane.operations import OPERATIONS
from apps.inference.lane.requests import Chat, Embedded, Refused
from apps.inference.pace import Pace
from apps.inference.protocol import Elsewhere
from apps.inference.settling import ended_by
from apps.registry.live import Live
from llamastack import settings
from llamastack.call import Call, Outcome
from llamastack.errors import StackError
from llamastack.flusher import Flusher
from llamastack.guards import DISCONNECT


async def nobody() -> Any:
    """What a client tells that has no connection."""
    return DISCONNECT


class Unattended:
    def __init__(self, live: Live, flusher: Flusher, pace: Pace) -> None:
        self.live = live
        self.flusher = flusher
        self.pace = pace

    async def answer(self, call: Call, path: str, body: bytes) -> tuple[bytes, Outcome]:
        """The whole answer to a request that came by no connection of its own, such as a line of a batch.

        It is stored only where it asks for that. Raises Elsewhere where the service has to be asked instead.
        """
        task = asyncio.current_task()
        assert task is not None
        try:
            passage = exchange.admitted(self.live, OPERATIONS[path], call, body, Client(nobody, task))
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
            data = await exchange.answered(self.flusher, passage)
            exchange.record(self.flusher, passage, whole=True)
        except BaseException as error:
            outcome.status, outcome.error = ended_by(error)
            if isinstance(error, StackError) and await passage.hands_over(error):
                passage.settled = True  # by whoever answers instead
                raise Elsewhere({passage.place.name: error}) from error
            raise
        finally:
            exchange.record(self.flusher, passage)
            passage.running.given_back()
        return data, outcome
