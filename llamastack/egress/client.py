"""What a provider speaks to its upstream through: JSON asked and answered, and streams of events."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from yarl import URL

from llamastack.egress.failures import beginning, refusal, sentence, told
from llamastack.egress.recorder import kept
from llamastack.egress.transport import LiveTransport, Outgoing, Reply, Timeouts, Transport
from llamastack.egress.ways import Network
from llamastack.encryption import without_password
from llamastack.errors import UpstreamError
from llamastack.sse import MalformedStream, lines, payloads

MAX_REPLY_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
EVENT_STREAM = "text/event-stream"


class Egress:
    """HTTP to one upstream, named `upstream` in errors, reached as `network` says.

    `headers` go with every request to the base address's origin, and to no other; those of a single call, such as the
    caller's own key, are laid over them.
    """

    def __init__(
        self,
        base_url: str,
        upstream: str,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        network: Network | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.address = without_password(self.base_url)
        self.origin = origin(self.base_url)
        self.upstream = upstream
        self.headers = headers or {}
        self.transport: Transport = kept(LiveTransport(timeouts or Timeouts(), network))

    async def close(self) -> None:
        await self.transport.close()

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON answer to a GET. `path` is one below the base address, or a whole URL."""
        return await self._json("GET", path, None, headers)

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
        """
        async with self._exchange("POST", path, body, headers, streamed=True) as reply:
            if reply.media_type not in ("", EVENT_STREAM):
                yield self._event(await self._read(reply), reply)
                return
            async for event in self._events(reply.pieces, reply, done):
                yield event

    async def lines(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> AsyncGenerator[Any, None]:
        """The JSON values of a reply that has one a line. Whether all have come, the caller checks."""
        async with self._exchange("POST", path, body, headers, streamed=True) as reply:
            async for line in lines(reply.pieces):
                if line:
                    yield self._parse(line, reply)

    async def _events(self, pieces: AsyncIterator[bytes], reply: Reply, done: bool) -> AsyncIterator[dict[str, Any]]:
        async for data in payloads(pieces):
            if data == b"[DONE]":
                return
            yield self._event(data, reply)
        if done:
            raise MalformedStream("it ended without [DONE]")

    async def _json(
        self, method: str, path: str, body: Any, headers: Mapping[str, str] | None, done: bool = True
    ) -> Any:
        async with self._exchange(method, path, body, headers) as reply:
            data = await self._read(reply)
            if reply.media_type == EVENT_STREAM:
                return [event async for event in self._events(_at_once(data), reply, done)]
            return self._parse(data, reply)

    async def _read(self, reply: Reply) -> bytes:
        data = bytearray()
        async for piece in reply.pieces:
            data += piece
            if len(data) > MAX_REPLY_BYTES:
                raise UpstreamError(f"{self.upstream} answered with more than {MAX_REPLY_BYTES} bytes.")
        return bytes(data)

    def _parse(self, data: bytes, reply: Reply) -> Any:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            kind, shown = reply.media_type or "no content type", beginning(data) or "nothing"
            raise UpstreamError(
                f"{self.upstream} answered with {kind} and something that is not JSON ({error}): {shown}"
            ) from error

    def _event(self, data: bytes, reply: Reply) -> dict[str, Any]:
        event = self._parse(data, reply)
        if isinstance(event, list) and len(event) == 1:  # as Gemini's door sends an error
            [event] = event
        if not isinstance(event, dict):
            raise UpstreamError(f"{self.upstream} sent a stream event that is not an object.")
        if event.get("error") or event.get("object") == "error":  # the latter is vLLM's before 0.10
            raise UpstreamError(f"{self.upstream} broke off the stream: {sentence(event)}")
        return event

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, body: Any, headers: Mapping[str, str] | None, *, streamed: bool = False
    ) -> AsyncIterator[Reply]:
        outgoing = self._outgoing(method, path, body, headers or {}, streamed)
        with told(self.upstream, self.address):
            async with self.transport.send(outgoing) as reply:
                if reply.status >= 300:
                    raise refusal(self.upstream, reply, await _beginning(reply))
                yield reply

    def _outgoing(self, method: str, path: str, body: Any, headers: Mapping[str, str], streamed: bool) -> Outgoing:
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


def origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port as the transport will read them; None of what leads nowhere."""
    try:
        read = URL(url)
        return read.scheme, read.host, read.port
    except ValueError:
        return None


async def _beginning(reply: Reply) -> bytes:
    data = bytearray()
    async for piece in reply.pieces:
        data += piece
        if len(data) >= MAX_ERROR_BYTES:
            break
    return bytes(data[:MAX_ERROR_BYTES])


async def _at_once(data: bytes) -> AsyncIterator[bytes]:
    yield data
