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
    response = StreamingHttpResponse(_events(first, chunks, done), content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


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
    """The `data` of each event in a byte stream cut anywhere (WHATWG HTML, 9.2: lines end in CR, LF or CRLF).

    An event ends in an empty line: what follows the last one was cut.
    """
    data: list[bytes] = []
    size = 0
    async for line in lines(pieces):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
            size += len(line)
            if size > MAX_EVENT_BYTES:
                raise MalformedStream(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        elif not line and data:
            yield b"\n".join(data)
            data, size = [], 0


async def lines(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """One that comes in many pieces is put together once; the last one may lack its end."""
    begun: list[bytes] = []
    size = 0
    after_cr = False
    async for piece in pieces:
        # A piece that ends in CR ends a line; where the next one begins with LF, that belongs to it.
        text = piece[1:] if after_cr and piece.startswith(b"\n") else piece
        after_cr = piece.endswith(b"\r") if piece else after_cr
        *whole, rest = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            yield b"".join([*begun, line])
            begun, size = [], 0
        if rest:
            begun.append(rest)
            size += len(rest)
        if size > MAX_EVENT_BYTES:
            raise MalformedStream(f"a line is longer than {MAX_EVENT_BYTES} bytes")
    if begun:
        yield b"".join(begun)
