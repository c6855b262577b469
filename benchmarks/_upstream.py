"""The fast upstream of benchmarks/gateway.py: bytes to bytes on an asyncio.Protocol, without any framework.

    python -m benchmarks._upstream PORT

Chats are told what they said, as benchmarks/_echo.py does; each event of a stream is written by itself, at once or, of
the model `paced`, every 20 ms, of `slow`, every 100 ms; the usage of a stream is told where it is asked for. Embeddings
are 384 floats for each input, one of a few answers made beforehand.
"""

import asyncio
import random
import struct
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import orjson
import uvloop

from benchmarks import _echo

PACED, SLOW, VECTORS = "paced", "slow", "vectors"
PACES = {PACED: 0.02, SLOW: 0.1}  # seconds between events
DIMENSION = 384
INPUTS = 16
ANSWERS = 8  # to embeddings: an input tells by its number which one is due
LISTED = [{"id": _echo.MODEL}, {"id": PACED}, {"id": SLOW}, {"id": VECTORS, "type": "embedding"}]
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@cache
def vectors(number: int) -> list[list[float]]:
    """As a model's are: float32, so that most have 17 digits once they are Python's."""
    chance = random.Random(number)
    flat = struct.pack(f"{DIMENSION * INPUTS}f", *(chance.uniform(-0.1, 0.1) for _ in range(DIMENSION * INPUTS)))
    floats = struct.unpack(f"{DIMENSION * INPUTS}f", flat)
    return [list(floats[place : place + DIMENSION]) for place in range(0, len(floats), DIMENSION)]


@cache
def embedded(number: int) -> bytes:
    data = [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(vectors(number))]
    usage = {"prompt_tokens": 64, "total_tokens": 64}
    return whole({"object": "list", "data": data, "model": VECTORS, "usage": usage})


def whole(answer: Any) -> bytes:
    body = orjson.dumps(answer)
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Upstream(asyncio.Protocol):
    """One connection: a request after the other, each with a Content-Length or without a body."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.received = bytearray()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.received[:end]).lower()
        told = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        length = end + 4 + int(told or b"0")
        if len(self.received) >= length:
            body = bytes(self.received[end + 4 : length])
            del self.received[:length]
            self.answer(body)

    def answer(self, body: bytes) -> None:
        if not body:
            self.transport.write(whole({"object": "list", "data": LISTED}))
            return
        asked = orjson.loads(body)
        if "input" in asked:
            self.transport.write(embedded(int(asked["input"][0].split()[1]) % ANSWERS))
            return
        said = f"You said: {asked['messages'][-1]['content']}"
        if asked.get("stream"):
            self.transport.write(STREAM)
            is_usage_asked = (asked.get("stream_options") or {}).get("include_usage", False)
            self.event(iter(_echo.events(said, is_usage_asked)), PACES.get(asked["model"], 0))
        else:
            self.transport.write(whole(_echo.whole(said)))

    def event(self, events: Iterator[bytes], pace: float) -> None:
        event = next(events, b"")
        self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        if not event or self.transport.is_closing():
            return
        if pace:
            self.loop.call_later(pace, self.event, events, pace)
        else:
            self.loop.call_soon(self.event, events, pace)


async def main(port: int) -> None:
    for number in range(ANSWERS):
        embedded(number)
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
