"""What a provider speaks to its upstream through: JSON asked and answered, and streams of events."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from dataclasses import replace
from typing import Any

import orjson
from yarl import URL

from llamastack.egress import reading
from llamastack.egress.bodies import MAX_REPLY_BYTES, MAX_STREAM_BYTES, after, capped, error_body, never_silent
from llamastack.egress.breaker import Admitted, Breaker
from llamastack.egress.failures import FAILURES, Asked, Refusal, in_short, is_outage, meaning
from llamastack.egress.forward import Forward
from llamastack.egress.frames import FRAMES
from llamastack.egress.lean import LeanTransport
from llamastack.egress.reading import EVENT_STREAM
from llamastack.egress.recorder import with_recording
from llamastack.egress.retries import Retries
from llamastack.egress.routes import Network
from llamastack.egress.signing import Signer, Signing
from llamastack.egress.transport import Outgoing, Reply, Timeouts, Transport
from llamastack.egress.waiting import Within
from llamastack.encryption import without_password
from llamastack.errors import BadRequest, Unavailable
from llamastack.sse import lines

IS_JSON = {"Content-Type": "application/json"}
DOTS = frozenset({".", ".."})  # what URLs read as a way, also where it is a quoted name, such as a model's
Origin = tuple[str, str | None, int | None] | None  # scheme, host and port; None of an address that leads nowhere


class Egress:
    """HTTP to one upstream, named `upstream` in errors, reached as `network` says.

    `headers` go with every request to the base address's origin, and to no other; those of a single call, such as the
    caller's own key, are laid over them, and `signer` adds some to each try, wherever it goes. A call that fails before
    anything came is made again (`retries`), and an upstream that is down is left alone (`breaker`, and one for each
    other origin that is asked).
    """

    def __init__(
        self,
        base_url: str,
        upstream: str,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        network: Network | None = None,
        signer: Signer | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.address = shown(self.base_url)
        self.origin = origin(self.base_url)
        self.upstream = upstream
        self.headers = headers or {}
        self.timeouts = timeouts or Timeouts()
        live = LeanTransport(self.timeouts, network)
        self.transport: Transport = with_recording(live if signer is None else Signing(live, signer))
        self.breakers: defaultdict[Origin, Breaker] = defaultdict(lambda: Breaker(upstream))
        self.breaker = self.breakers[self.origin]
        self.retries = Retries()
        self.closed = False
        self.max_reply_bytes, self.max_stream_bytes = MAX_REPLY_BYTES, MAX_STREAM_BYTES
        # A call that waits for room is not yet asking: none of the limits of time is for that.
        self.room = asyncio.Semaphore(network.requests) if network and network.requests else nullcontext()
        self._targets: dict[str, tuple[str, dict[str, str]]] = {}

    async def close(self) -> None:
        self.closed = True
        await self.transport.close()

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON answer to a GET. `path` is one below the base address, or a whole URL."""
        return await self._json("GET", path, None, headers)

    async def page(self, path: str, header: str, headers: Mapping[str, str] | None = None) -> tuple[Any, str]:
        """The same, and what the reply's `header` says, such as where the next page begins; "" where it has none."""
        async with self._exchange("GET", path, None, headers) as reply:
            return reading.parsed(await self._read(reply), reply), reply.headers.get(header, "")

    async def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None, *, done: bool = True) -> Any:
        """The JSON answer to a POST of JSON, or of bytes whose type `headers` say.

        An upstream that answers with an event stream all the same gives the list of its events; `done` as in `stream`.
        """
        return await self._json("POST", path, body, headers, done)

    async def stream(
        self, path: str, body: Any, headers: Mapping[str, str] | None = None, *, done: bool = True
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The JSON objects of an event stream, up to `[DONE]`. Of an upstream that answers with JSON, the one object.

        Raises where the stream ends without it or carries an error: a cut stream is never a short answer. With `done`
        false it may lack `[DONE]`, and the caller checks that all has come. Closing the iterator closes the connection.
        Amazon's frames (frames.py) have no `[DONE]` either; theirs is a frame's object under the name of its event.
        """
        async with self._exchange("POST", path, body, headers, streamed=True) as reply:
            if reply.media_type == FRAMES:
                async with aclosing(reading.framed(capped(reply.pieces, self.max_stream_bytes), reply)) as events:
                    async for event in events:
                        yield event
                return
            if reply.media_type not in ("", EVENT_STREAM):
                yield reading.event(await self._read(reply), reply)
                return
            async with aclosing(reading.events(capped(reply.pieces, self.max_stream_bytes), reply, done)) as events:
                async for event in events:
                    yield event

    async def lines(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> AsyncGenerator[Any, None]:
        """The JSON values of a reply that has one a line. Whether all have come, the caller checks."""
        async with (
            self._exchange("POST", path, body, headers, streamed=True) as reply,
            aclosing(lines(capped(reply.pieces, self.max_stream_bytes))) as values,
        ):
            async for line in values:
                if line:
                    yield reading.parsed(line, reply)

    async def whole(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[Reply, bytes]:
        """A reply that is no refusal, and its whole body, which may be of any type."""
        async with self._exchange(method, path, body, headers) as reply:
            return reply, bytes(await self._read(reply))

    def download(self, path: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Reply]:
        """The reply to a GET that is no refusal, and whose pieces are a file's: there may be any number of them."""
        return self._exchange("GET", path, None, headers, streamed=True)

    async def exchange(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[Reply, bytes]:
        """A reply of any status and its whole body, for an SDK that reads and repeats it by itself."""
        outgoing = self._outgoing(method, url, body, headers, False)
        asked = Asked(self.upstream, shown(outgoing.url), outgoing, frozenset(name.lower() for name in headers))
        with _told(asked, self.breakers[origin(outgoing.url)]):
            async with Within(self.timeouts.total, "did not answer within"), self.transport.send(outgoing) as reply:
                return reply, bytes(await self._read(reply))

    def forward(
        self,
        task: "asyncio.Task[Any]",
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        streamed: bool = False,
        again: Callable[[Exception], bool] = lambda error: False,
    ) -> Forward:
        """A POST of JSON by the current task, made once, whose reply is handed on as it comes.

        `again` tells of a failure whether the caller has the call made once more.
        """
        if headers:
            outgoing = self._outgoing("POST", path, body, {**headers, **IS_JSON}, streamed)
            return Forward(self, task, outgoing, again, frozenset(name.lower() for name in headers))
        if (target := self._targets.get(path)) is None:
            outgoing = self._outgoing("POST", path, body, IS_JSON, streamed)
            target = self._targets[path] = outgoing.url, dict(outgoing.headers)
        return Forward(self, task, Outgoing("POST", *target, body, streamed, lasting=True), again)

    async def _json(
        self, method: str, path: str, body: Any, headers: Mapping[str, str] | None, done: bool = True
    ) -> Any:
        async with self._exchange(method, path, body, headers) as reply:
            data = await self._read(reply)
            if reply.media_type == FRAMES:
                return [event async for event in reading.framed(reading.at_once(data), reply)]
            if reply.media_type == EVENT_STREAM:
                return [event async for event in reading.events(reading.at_once(data), reply, done)]
            return reading.parsed(data, reply)

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, body: Any, headers: Mapping[str, str] | None, *, streamed: bool = False
    ) -> AsyncIterator[Reply]:
        """One call, whatever it takes: the reply of the first try that is answered."""
        outgoing = self._outgoing(method, path, body, headers or {}, streamed)
        place = origin(outgoing.url)
        address = self.address if place == self.origin else shown(outgoing.url)
        asked = Asked(self.upstream, address, outgoing, frozenset(name.lower() for name in headers or ()))
        breaker = self.breakers[place]
        # A stream is read by one task after another, which a limit of time does not survive; it has its own.
        limit = None if streamed else self.timeouts.total
        with _told(asked, breaker) as admitted:
            async with self.room, Within(limit, "did not answer within") as time, AsyncExitStack() as exchange:
                reply = await self._reply(outgoing, breaker, admitted, exchange, time)
                breaker.answered(admitted)
                yield reply

    async def _reply(
        self, outgoing: Outgoing, breaker: Breaker, admitted: Admitted, exchange: AsyncExitStack, time: Within
    ) -> Reply:
        """Try until there is one, which `exchange` closes. A probe is one try."""
        self.retries.called()
        for tries in itertools.count(1):
            try:
                async with AsyncExitStack() as attempt:
                    reply = await self._attempt(outgoing, attempt)
                    exchange.push_async_exit(attempt.pop_all())
                    return reply
            except FAILURES as error:
                once = admitted.probe or breaker.is_open
                pause = None if once else self.retries.pause(error, tries, time.left)
                if pause is None:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError  # the count has no end

    async def _attempt(self, outgoing: Outgoing, attempt: AsyncExitStack) -> Reply:
        """A reply that is no refusal; of a stream, with its first piece."""
        if self.closed:  # since the last try
            raise Unavailable(f"{self.upstream} was stopped before it answered.", retry_after=1)
        first_byte = self.timeouts.first_byte if outgoing.streamed else None
        async with Within(first_byte, "sent no first byte within"):
            reply = await attempt.enter_async_context(self.transport.send(outgoing))
            if reply.status >= 300:
                raise Refusal(reply, await error_body(reply.pieces))
            if not outgoing.streamed:
                return reply
            first = await anext(reply.pieces, b"")
        return replace(reply, pieces=after(first, never_silent(reply.pieces, self.timeouts.idle)))

    async def _read(self, reply: Reply) -> bytearray:
        data = bytearray()
        async for piece in capped(reply.pieces, self.max_reply_bytes):
            data += piece
        return data

    def _outgoing(self, method: str, path: str, body: Any, headers: Mapping[str, str], streamed: bool) -> Outgoing:
        below = path.removeprefix("../")  # beside the address: a provider's own way, as Ollama's to /api
        if not DOTS.isdisjoint(below.partition("?")[0].split("/")):
            raise BadRequest("'.' and '..' are no names: an address would lead elsewhere by them.", param="model")
        url = path if path.startswith(("http://", "https://")) else f"{self.base_url}/{path.lstrip('/')}"
        own = self.headers if origin(url) == self.origin else {}
        taken = {name.lower() for name in headers}
        laid = {name: value for name, value in own.items() if name.lower() not in taken} | dict(headers)
        # A key that was read from a file ends in a line break, which no header may hold.
        sent = {name: value.strip() for name, value in laid.items()}
        if body is None:
            return Outgoing(method, url, sent, None, streamed)
        if isinstance(body, bytes):
            return Outgoing(method, url, sent, body, streamed)
        return Outgoing(method, url, sent | {"Content-Type": "application/json"}, orjson.dumps(body), streamed)


@contextmanager
def _told(asked: Asked, breaker: Breaker) -> Iterator[Admitted]:
    """Every failure as a StackError, and to the breaker."""
    admitted = breaker.admit()
    try:
        yield admitted
    except FAILURES as error:
        if is_outage(error):
            breaker.failed(admitted, in_short(asked, error))
        elif isinstance(error, Refusal):
            breaker.answered(admitted)
        else:
            breaker.abandoned(admitted)
        raise meaning(asked, error) from error
    except BaseException:  # the caller has gone, or has failed itself
        breaker.abandoned(admitted)
        raise
    else:
        breaker.succeeded(admitted)


def shown(url: str) -> str:
    """An address as errors name it: neither a password nor a query, which may hold a key."""
    return without_password(url.partition("?")[0])


def origin(url: str) -> Origin:
    """As the transport will read it."""
    try:
        read = URL(url)
        return read.scheme, read.host, read.port
    except ValueError:
        return None
