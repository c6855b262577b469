"""One call whose bytes go on as they come: the lean way through an Egress, for who reads and repeats nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from llamastack.egress.bodies import error_body, too_long
from llamastack.egress.breaker import Admitted
from llamastack.egress.failures import FAILURES, Asked, Refusal, in_short, is_outage, meaning
from llamastack.egress.reading import EVENT_STREAM, at_once, events, parsed
from llamastack.egress.transport import Outgoing, Reply
from llamastack.egress.waiting import Moving
from llamastack.errors import Unavailable

if TYPE_CHECKING:
    from llamastack.egress.client import Egress

NO_FIRST_BYTE, NO_ANSWER, SILENCE = "sent no first byte within", "did not answer within", "sent nothing for"
DRAIN_SECONDS = 0.5


class Forward:
    """An `async with` block of `task` with the reply of one try, under its Egress's breaker, room and limits of time.

    What is wrong is a StackError as everywhere, and its cause is what it was: who retries elsewhere may look at that.
    `again` says of a failure whether the call is made once more after it: the breaker counts calls, not tries.
    The reply is read by `whole` or by `piece`.
    """

    __slots__ = (
        *("_admitted", "_again", "_callers", "_count", "_egress", "_exchange", "_first", "_limit", "_pieces"),
        *("outgoing", "reply"),
    )

    reply: Reply
    _pieces: AsyncIterator[bytes]

    def __init__(
        self,
        egress: "Egress",
        task: "asyncio.Task[Any]",
        outgoing: Outgoing,
        again: Callable[[Exception], bool],
        callers: frozenset[str] = frozenset(),
    ) -> None:
        self.outgoing = outgoing
        self._again = again
        self._egress = egress
        self._callers = callers
        self._admitted: Admitted | None = None
        self._limit = Moving(task)
        self._exchange: AbstractAsyncContextManager[Reply] | None = None
        self._first: bytes | None = None
        self._count = 0

    async def __aenter__(self) -> Self:
        egress, timeouts, streamed = self._egress, self._egress.timeouts, self.outgoing.streamed
        if egress.closed:
            raise Unavailable(f"{egress.upstream} was stopped before it answered.", retry_after=1)
        self._admitted = egress.breaker.admit()
        egress.retries.called()
        await self._enter_room()
        try:
            limit = self._limit
            limit.begin(timeouts.first_byte if streamed else timeouts.total, NO_FIRST_BYTE if streamed else NO_ANSWER)
            exchange = egress.transport.send(self.outgoing)
            self.reply = reply = await exchange.__aenter__()
            self._exchange, self._pieces = exchange, reply.pieces
            if reply.status >= 300:
                raise Refusal(reply, await error_body(reply.pieces))
            if streamed:
                self._first = await anext(self._pieces, b"")
                limit.rest()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        egress.breaker.answered(self._admitted)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._limit.end()
            error = self._limit.passed() or error
            if self._exchange is not None:
                await self._exchange.__aexit__(kind, error, trace)
        finally:
            await self._egress.room.__aexit__(None, None, None)
            self._tell(error)
        if isinstance(error, FAILURES):
            raise meaning(self._asked(), error) from error

    async def whole(self) -> bytes:
        """The whole body."""
        most, count, parts = self._egress.max_reply_bytes, 0, []
        async for piece in self._pieces:
            count += len(piece)
            if count > most:
                raise too_long(most)
            parts.append(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def parsed(self, data: bytes, *, done: bool) -> Any:
        """A whole body as JSON; a list of events, of an upstream that streams all the same."""
        if self.reply.media_type == EVENT_STREAM:
            return [event async for event in events(at_once(data), self.reply, done)]
        return parsed(data, self.reply)

    async def piece(self) -> bytes | None:
        """The next piece of a stream's body; None at its end. The time until the next call is the caller's own."""
        piece, self._first = self._first, None
        if piece is None:
            limit = self._limit
            limit.begin(self._egress.timeouts.idle, SILENCE)
            piece = await anext(self._pieces, None)
            limit.rest()
        if piece is not None:
            self._count += len(piece)
            if self._count > self._egress.max_stream_bytes:
                raise too_long(self._egress.max_stream_bytes)
        return piece

    async def drain(self) -> None:
        """Wait a moment for the end of a body of which nothing more is read, so that its connection can be kept."""
        limit = self._limit
        limit.begin(DRAIN_SECONDS, SILENCE)
        try:
            await anext(self._pieces, None)
        except asyncio.CancelledError:
            if limit.passed() is None:
                raise
        except FAILURES:  # it is closed then
            return
        finally:
            limit.rest()

    async def _enter_room(self) -> None:
        """None of the limits of time is for a call that waits for room: it is not yet asking."""
        try:
            await self._egress.room.__aenter__()
        except BaseException:
            assert self._admitted is not None
            self._egress.breaker.abandoned(self._admitted)
            raise

    def _tell(self, error: BaseException | None) -> None:
        breaker, admitted = self._egress.breaker, self._admitted
        assert admitted is not None
        if error is None:
            breaker.succeeded(admitted)
        elif not isinstance(error, FAILURES):
            breaker.abandoned(admitted)
        elif is_outage(error) and not self._again(error):
            breaker.failed(admitted, in_short(self._asked(), error))
        elif isinstance(error, Refusal) and not is_outage(error):
            breaker.answered(admitted)
        else:
            breaker.abandoned(admitted)

    def _asked(self) -> Asked:
        return Asked(self._egress.upstream, self._egress.address, self.outgoing, self._callers)
