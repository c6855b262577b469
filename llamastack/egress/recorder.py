"""The transports that record what upstreams answer, and that answer in their stead."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from llamastack import recording
from llamastack.egress.transport import Outgoing, Reply, Transport
from llamastack.recording import Track
from llamastack.recording.asked import Asked
from llamastack.recording.reply import Answer, Unmaskable, pieces_of
from llamastack.recording.secrets import Secrets

DONE = re.compile(rb"(^|[\r\n])data: ?\[DONE\]\s*([\r\n]|$)")
MAX_BYTES = 64 * 1024 * 1024
logger = logging.getLogger(__name__)


def with_recording(live: Transport) -> Transport:
    """`live` itself, or what records or replays in its place: as the provider's track says that is being started."""
    track = recording.current()
    return live if track is None else Recorder(live, track)


class Recorder:
    """Replays what its track has, and records what the live transport brings.

    Kept is a reply, of any status, once its last byte is here or its stream's `[DONE]`. Of one that was cut, cancelled
    or too large, nothing is. Waits and pauses are not replayed.
    """

    def __init__(self, live: Transport, track: Track) -> None:
        self.live = live
        self.track = track

    @asynccontextmanager
    async def send(self, outgoing: Outgoing) -> AsyncIterator[Reply]:
        secrets = self.track.secrets_with(outgoing.url, outgoing.headers)
        media = next((value for name, value in outgoing.headers.items() if name.lower() == "content-type"), "")
        asked = Asked.of(self.track.upstream, outgoing.method, outgoing.url, outgoing.body, secrets, media)
        if await asyncio.to_thread(self.track.replays, asked):
            yield _replayed(await asyncio.to_thread(self.track.take, asked))
            return
        async with self.live.send(outgoing) as reply:
            copy = Copy(reply, self.track, asked, secrets)
            if not outgoing.streamed:
                await copy.fill()
            yield replace(reply, pieces=copy.pieces())
            await copy.save_if_done()

    async def close(self) -> None:
        await self.live.close()


class Copy:
    """A reply on its way through, and its bytes so far."""

    def __init__(self, reply: Reply, track: Track, asked: Asked, secrets: Secrets) -> None:
        self.reply = reply
        self.track = track
        self.asked = asked
        self.secrets = secrets
        self.data = bytearray()
        self.filled = False
        self.saved = False

    async def fill(self) -> None:
        """Read all of it before anything is handed on, so that whoever leaves early has it recorded whole."""
        async for piece in self.reply.pieces:
            self.data += piece
            if len(self.data) > MAX_BYTES:
                return
        self.filled = True
        await self.save()

    async def pieces(self) -> AsyncIterator[bytes]:
        if self.data:
            yield bytes(self.data)
        if self.filled:
            return
        async for piece in self.reply.pieces:
            if len(self.data) <= MAX_BYTES:
                self.data += piece
            yield piece
        await self.save()

    async def save_if_done(self) -> None:
        """Of a stream that was left without an error: it is read up to `[DONE]`, not to its last byte."""
        if DONE.search(self.data):
            await self.save()

    async def save(self) -> None:
        if self.saved:
            return
        self.saved = True
        if len(self.data) > MAX_BYTES:
            logger.warning("Not recorded: %s. Its reply is larger than %d bytes.", self.asked.summary, MAX_BYTES)
            return
        answer = Answer(self.reply.status, self.reply.headers, bytes(self.data))
        try:
            await asyncio.to_thread(self.track.keep, self.asked, answer, self.secrets)
        except Unmaskable as error:
            logger.warning("Not recorded: %s. Its reply cannot be written: %s.", self.asked.summary, error)


def _replayed(found: dict[str, Any]) -> Reply:
    status: int = found["status"]
    reason = HTTPStatus(status).phrase if status in list(HTTPStatus) else ""
    return Reply(status, reason, found.get("headers", {}), _in_pieces(found), replayed=True)


async def _in_pieces(found: dict[str, Any]) -> AsyncIterator[bytes]:
    for piece in pieces_of(found):
        yield piece
