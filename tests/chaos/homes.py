"""Homes of a model that fail at random, each in its own words: what is heard of a call tells who has said it."""

import asyncio
import json
import random
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.upstream import close

WORDS = 6
FAULTS = ("reset", "429", "500", "slow", "cut before", "cut after")
CHANCES = (8, 8, 8, 0.4, 8, 8)
GOOD = 59.6  # of a hundred
MOST_IN_A_ROW = 2  # failures of one home: at the fifth its breaker opens, which another test is about


class Home:
    """One of them, at `url`. `did` has what it did with each call, in turn: one of FAULTS, or `ok`.

    With `always` it does that, and leaves nothing to chance.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.url = ""
        self.chance = random.Random(seed)
        self.in_a_row = 0
        self.always = ""
        self.did: defaultdict[str, list[str]] = defaultdict(list)
        self.tasks: set[asyncio.Task[None]] = set()

    def said(self, call: str) -> list[str]:
        return [f"{self.name}-{call}-{number} " for number in range(WORDS)]

    def next_fault(self) -> str:
        if self.always:
            return self.always
        [fault] = self.chance.choices((*FAULTS, "ok"), (*CHANCES, GOOD))
        fault = "ok" if self.in_a_row == MOST_IN_A_ROW else fault
        self.in_a_row = 0 if fault == "ok" else self.in_a_row + 1
        return fault

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self.answer(reader, writer)
        finally:
            writer.close()
            self.tasks.discard(task)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            writer.write(whole(500 if self.always == "500" else 200, {"object": "list", "data": []}))
            return
        length = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
        asked = json.loads(await reader.readexactly(length))
        call, streamed, fault = asked["messages"][0]["content"], bool(asked.get("stream")), self.next_fault()
        self.did[call].append(fault)
        if fault == "slow":
            await reader.read(1)  # until nobody waits any more
        elif fault == "reset":
            writer.transport.abort()
        elif fault in ("429", "500"):
            writer.write(whole(int(fault), {"error": {"message": f"{self.name} says {fault}"}}))
        else:
            for piece in cut(self.wire(call, streamed), fault):
                writer.write(piece)
                await writer.drain()

    def wire(self, call: str, streamed: bool) -> list[bytes]:
        """The answer in parts: its head, what comes before its words, and its words."""
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n"
        if not streamed:
            text = "".join(self.said(call))
            data = whole(200, chunk("message", {"role": "assistant", "content": text}, "stop"))
            return [data[:50], data[50:-60], data[-60:]]
        deltas = [chunk("delta", {"content": word}) for word in self.said(call)]
        bodies = [*deltas, chunk("delta", {}, "stop")]
        events = [b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies]
        return [head, b"", *events, b"data: [DONE]\n\n"]


def cut(parts: list[bytes], fault: str) -> list[bytes]:
    """All of it, or what comes before the first word; or a beginning that has some of them."""
    return {"ok": parts, "cut before": parts[:1], "cut after": parts[:5] if len(parts) > 3 else parts[:2]}[fault]


def chunk(kind: str, said: dict[str, str], reason: str | None = None) -> dict[str, object]:
    choice = {"index": 0, kind: said, "finish_reason": reason}
    return {"id": "c1", "object": "x", "created": 1, "model": "sky", "choices": [choice]}


def whole(status: int, body: object) -> bytes:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} Told\r\nConnection: close\r\nContent-Type: application/json\r\nRetry-After: 30\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


@asynccontextmanager
async def at_home(*names: str) -> AsyncIterator[list[Home]]:
    homes = [Home(name, seed) for seed, name in enumerate(names)]
    servers = [await asyncio.start_server(home.serve, "127.0.0.1", 0, backlog=512) for home in homes]
    for home, server in zip(homes, servers, strict=True):
        home.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield homes
    finally:
        for server in servers:
            await close(server)
        left = [task for home in homes for task in home.tasks]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
