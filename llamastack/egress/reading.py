"""An upstream's bodies as JSON: one value, or the events of a stream."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson

from llamastack.egress import frames
from llamastack.egress.failures import BrokenOff, Nonsense, Refusal
from llamastack.egress.sentences import beginning
from llamastack.egress.transport import Reply
from llamastack.sse import MalformedStream, payloads

EVENT_STREAM = "text/event-stream"


async def events(pieces: AsyncIterator[bytes], reply: Reply, done: bool) -> AsyncGenerator[dict[str, Any], None]:
    async with aclosing(payloads(pieces)) as found:
        async for data in found:
            if data == b"[DONE]":
                return
            yield event(data, reply)
    if done:
        raise MalformedStream("it ended without [DONE]")


def parsed(data: bytes | bytearray, reply: Reply) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        kind, shown = reply.media_type or "no content type", beginning(data) or "nothing"
        raise Nonsense(f"answered with {kind} and something that is not JSON ({error}): {shown}") from error


def event(data: bytes | bytearray, reply: Reply) -> dict[str, Any]:
    said = parsed(data, reply)
    if isinstance(said, list) and len(said) == 1:  # as Gemini sends an error
        [said] = said
    if not isinstance(said, dict):
        raise Nonsense("sent a stream event that is not an object.")
    if said.get("error") or said.get("object") == "error":  # the latter is vLLM's before 0.10
        raise BrokenOff(said)
    return said


async def framed(pieces: AsyncIterator[bytes], reply: Reply) -> AsyncGenerator[dict[str, Any], None]:
    """Where a frame tells a failure, that is what an answer of its status would be."""
    try:
        async with aclosing(frames.events(pieces)) as found:
            async for one in found:
                yield one
    except frames.FrameFailure as failure:
        raise Refusal(replace(reply, status=failure.status), failure.body) from failure


async def at_once(data: bytes | bytearray) -> AsyncIterator[bytes]:
    yield bytes(data)
