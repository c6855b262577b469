"""The body of a reply, piece by piece: how much of it, and how slowly, it may come.

The pieces are unpacked ones, and no transport unpacks further than is read: a small body that unpacks to a large one
takes no more memory than the cap and what is read ahead.
"""

from collections.abc import AsyncIterator

from llamastack.egress.failures import Nonsense
from llamastack.egress.waiting import Within

MAX_REPLY_BYTES = 64 * 1024 * 1024
# Of a server that a caller names, and which may be the caller's own: what is read takes many times the memory.
MAX_CALLERS_REPLY_BYTES = 8 * 1024 * 1024
MAX_CALLERS_STREAM_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
MAX_STREAM_BYTES = 512 * 1024 * 1024  # 128k tokens with 20 logprobs each are about 400 MB; none of it is kept here


async def capped(pieces: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    count = 0
    async for piece in pieces:
        count += len(piece)
        if count > most:
            raise too_long(most)
        yield piece


def too_long(most: int) -> Nonsense:
    """Of a body that has more bytes than that."""
    return Nonsense(f"answered with more than {most} bytes.")


async def never_silent(pieces: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """The pieces of a body, none of which takes longer than `seconds`."""
    while True:
        async with Within(seconds, "sent nothing for"):
            piece = await anext(pieces, None)
        if piece is None:
            return
        yield piece


async def after(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


async def error_body(pieces: AsyncIterator[bytes]) -> bytes:
    """As much of an error as is read."""
    data = bytearray()
    async for piece in pieces:
        data += piece
        if len(data) >= MAX_ERROR_BYTES:
            break
    return bytes(data[:MAX_ERROR_BYTES])
