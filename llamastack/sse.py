"""Server-sent events, both ways: the one encoder of what we stream, and the reader of what upstreams stream."""

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import BaseModel

from llamastack.errors import StackError, render

if TYPE_CHECKING:
    from django.http import StreamingHttpResponse

DONE = b"data: [DONE]\n\n"
MAX_LINE_BYTES = 8 * 1024 * 1024
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
    return model.__pydantic_serializer__.to_json(model)


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
            yield encode_error(error)
        except Exception:  # the headers are out: the only way left to tell the client is an event
            logger.exception("A stream broke off")
            yield encode_error(StackError("The server failed while it streamed the answer."))
        else:
            yield done


async def payloads(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The `data` of each event in a byte stream cut anywhere (WHATWG HTML, 9.2: lines end in CR, LF or CRLF)."""
    data: list[bytes] = []
    async for line in lines(pieces):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data)
            data = []
    if data:
        yield b"\n".join(data)


async def lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in pieces:
        # A piece that ends in CR may be half of a CRLF: keep the CR for the next piece.
        held = b"\r" if piece.endswith(b"\r") else b""
        rest = (rest + piece.removesuffix(b"\r")).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *whole, rest = rest.split(b"\n")
        for line in whole:
            yield line
        rest += held
        if len(rest) > MAX_LINE_BYTES:
            raise MalformedStream(f"a line is longer than {MAX_LINE_BYTES} bytes")
    if rest:
        yield rest
