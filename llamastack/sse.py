"""Server-sent events, both ways: the one encoder of what we stream, and the reader of what upstreams stream."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from llamastack.errors import StackError, UpstreamError, render

if TYPE_CHECKING:
    from django.http import StreamingHttpResponse

DONE = b"data: [DONE]\n\n"
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
MAX_EVENT_BYTES = 8 * 1024 * 1024
logger = logging.getLogger(__name__)


class MalformedStream(Exception):
    """An upstream's event stream that cannot be read, or that ended too early."""


def encode(data: bytes, event: str | None = None) -> bytes:
    """One event. `data` is JSON and so free of bare newlines; `event` is a constant of ours."""
    name = b"" if event is None else b"event: " + event.encode() + b"\n"
    return name + b"data: " + data + b"\n\n"


def encode_model(model: BaseModel) -> bytes:
    return encode(dump(model))


def dump(model: BaseModel) -> bytes:
    """A wire object as JSON."""
    try:
        return model.__pydantic_serializer__.to_json(model)
    except PydanticSerializationError as error:  # fields that a type does not name are passed on as they came
        raise UpstreamError("The answer cannot be passed on, since it is nested too deep.") from error


def encode_error(error: StackError) -> bytes:
    return encode(orjson.dumps(render(error)[1]))


async def respond(chunks: AsyncIterator[Any], *, done: bytes = DONE) -> "StreamingHttpResponse":
    """Stream `chunks` as events, then `done`.

    The first chunk is awaited before the headers go out, so that an error before it keeps its status. An error after
    it becomes an error event, and such a stream does not end in `[DONE]`.
    """
    from django.http import StreamingHttpResponse  # providers read streams with this module before Django is set up

    first = await anext(chunks, None)
    return StreamingHttpResponse(_events(first, chunks, done), headers=HEADERS)


async def _events(first: BaseModel | None, chunks: Any, done: bytes) -> AsyncIterator[bytes]:
    async with aclosing(chunks):
        try:
            if first is not None:
                yield encode_model(first)
            async for chunk in chunks:
                yield encode_model(chunk)
        except StackError as error:
            if error.status >= 500:
                logger.warning("A stream broke off: %s", error.message)
            yield encode_error(error)
        except Exception:  # the headers are out: the only way left to tell the client is an event
            logger.exception("A stream broke off")
            yield encode_error(StackError("The server failed while it streamed the answer."))
        else:
            yield done


async def payloads(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The `data` of each event in a byte stream cut anywhere."""
    reader = Payloads()
    async for piece in pieces:
        for data in reader.feed(piece):
            yield data


async def lines(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Those of a byte stream cut anywhere; the last one may lack its end."""
    reader = Lines()
    async for piece in pieces:
        for line in reader.feed(piece):
            yield line
    if reader.begun:
        yield b"".join(reader.begun)


class Payloads:
    """Reads a byte stream, as it comes, into the `data` of each of its events (WHATWG HTML, 9.2).

    An event ends in an empty line: what follows the last one was cut.
    """

    def __init__(self) -> None:
        self._lines = Lines()
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that are whole with this piece: in most cases one, or several, each of one line."""
        if piece.startswith(b"data: ") and piece.endswith(b"\n\n") and not (self._lines.begun or self._data):
            found = piece[6:-2].split(b"\n\ndata: ")
            if piece.count(b"\n") == 2 * len(found) and b"\r" not in piece and len(piece) <= MAX_EVENT_BYTES:
                self._lines.after_cr = False
                return found
        return [data for line in self._lines.feed(piece) if (data := self._ended(line)) is not None]

    def _ended(self, line: bytes) -> bytes | None:
        """The event that this line ends."""
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            self._size += len(line)
            if self._size > MAX_EVENT_BYTES:
                raise MalformedStream(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        elif not line and self._data:
            data, self._data, self._size = b"\n".join(self._data), [], 0
            return data
        return None


class Lines:
    """Reads a byte stream, as it comes, into lines that end in CR, LF or CRLF.

    One that comes in many pieces is put together once. `begun` is what has come of one that has not ended.
    """

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.after_cr = False
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that are whole with this piece."""
        # A piece that ends in CR ends a line; where the next one begins with LF, that belongs to it.
        text = piece[1:] if self.after_cr and piece.startswith(b"\n") else piece
        self.after_cr = piece.endswith(b"\r") if piece else self.after_cr
        *whole, rest = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if whole:
            whole[0] = b"".join([*self.begun, whole[0]])
            self.begun, self._size = [], 0
        if rest:
            self.begun.append(rest)
            self._size += len(rest)
        if self._size > MAX_EVENT_BYTES:
            raise MalformedStream(f"a line is longer than {MAX_EVENT_BYTES} bytes")
        return whole
