"""An upstream that cuts and mutates its answers, byte by byte: the `seed` that a request names says how."""

import asyncio
import gzip
import json
import random
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.upstream import close

CUTS = range(1, 1_000_000)  # seeds of answers that are cut; larger ones are of mutated answers; 0 is a good one
FRAMES = ("chunked", "length", "closed", "gzip")
ENDS = ("close", "close", "close", "reset", "stall")
SAID = "The sky is blue because air scatters the short waves of light more than the long ones"


@dataclass(frozen=True)
class Answer:
    wire: bytes
    end: str
    streamed: bool

    @property
    def may_complete(self) -> bool:
        """Whether its bytes hold what says that the answer is whole, as read by nothing of the server's own."""
        return any(_whole(body) if self.streamed else _ended(body) for body in _bodies(self.wire))


def answer(seed: int, streamed: bool) -> Answer:
    chance = random.Random(seed)
    frame = chance.choice(FRAMES)
    wire = framed(events() if streamed else [_json(_choice({"message": {"content": SAID}}))], frame, chance)
    if seed in CUTS:
        wire = wire[: chance.randrange(len(wire))]
    elif seed:
        for _ in range(chance.randint(1, 3)):
            wire = chance.choice(MUTATIONS)(wire, chance)
    return Answer(wire, chance.choice(ENDS) if seed else "close", streamed)


# --- what is said ---


def events() -> list[bytes]:
    said = [_choice({"delta": {"content": f"{word} "}}, None) for word in SAID.split()]
    begun, ended = _choice({"delta": {"role": "assistant", "content": ""}}, None), _choice({"delta": {}})
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 17, "total_tokens": 22}}
    return [b"data: " + data + b"\n\n" for data in [*map(_json, [begun, *said, ended, usage]), b"[DONE]"]]


def _choice(said: dict[str, Any], reason: str | None = "stop") -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": reason} | said]}


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps({"id": "c1", "object": "x", "created": 1, "model": "sky"} | body).encode()


def framed(parts: list[bytes], frame: str, chance: random.Random) -> bytes:
    body = b"".join(parts)
    kind = b"text/event-stream" if len(parts) > 1 else b"application/json"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\n"
    if frame == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    if frame == "closed":
        return head + b"Connection: close\r\n\r\n" + body
    if frame == "gzip":
        head, parts = head + b"Content-Encoding: gzip\r\n", _anywhere(gzip.compress(body, mtime=0), chance)
    elif chance.random() < 0.3:
        parts = _anywhere(body, chance)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + _chunks(parts)


def _anywhere(body: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.sample(range(1, len(body)), chance.randint(1, 20)))
    return [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]


def _chunks(parts: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


# --- what becomes of it ---


def _range(wire: bytes, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(wire))
    return start, min(len(wire), start + chance.randint(1, 60))


def dropped(wire: bytes, chance: random.Random) -> bytes:
    start, end = _range(wire, chance)
    return wire[:start] + wire[end:] or b"x"


def doubled(wire: bytes, chance: random.Random) -> bytes:
    start, end = _range(wire, chance)
    return wire[:end] + wire[start:]


def flipped(wire: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(wire))
    return wire[:place] + bytes([wire[place] ^ 1 << chance.randrange(8)]) + wire[place + 1 :]


def cut(wire: bytes, chance: random.Random) -> bytes:
    return wire[: chance.randrange(1, len(wire) + 1)]


def inserted(wire: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(wire))
    return wire[:place] + chance.choice((chance.randbytes(chance.randint(1, 20)), b"\r\n", b"\n\n")) + wire[place:]


def reordered(wire: bytes, chance: random.Random) -> bytes:
    lines = wire.split(b"\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def rechunked(wire: bytes, chance: random.Random) -> bytes:
    head, blank, body = wire.partition(b"\r\n\r\n")
    whole = _unchunked(body) if b"chunked" in head else b""
    return head + blank + _chunks(_anywhere(whole, chance)) if len(whole) > 20 else wire


def mislength(wire: bytes, chance: random.Random) -> bytes:
    """A length that is not that of what follows: of the body, or of a chunk."""
    found = chance.choice(list(re.finditer(rb"(?<=Length: )\d+|(?<=\r\n)[0-9a-f]+(?=\r\n)", wire)) or [None])
    if found is None:
        return flipped(wire, chance)
    base = 10 if wire[: found.start()].endswith(b": ") else 16
    length = max(0, int(found[0], base) + chance.choice((-20, -2, -1, 1, 2, 20, 5000)))
    return wire[: found.start()] + (b"%d" if base == 10 else b"%x") % length + wire[found.end() :]


MUTATIONS = (dropped, doubled, flipped, cut, inserted, reordered, rechunked, mislength)


# --- the judge ---


def _bodies(wire: bytes) -> list[bytes]:
    """The body in each way that its head may still be read: of a length, in chunks or neither, packed or not."""
    head, *rest = re.split(rb"\r?\n\r?\n", wire, maxsplit=1)
    body = b"".join(rest)
    plain = [body, _unchunked(body), *(body[: int(length)] for length in re.findall(rb"(?i)length: (\d{1,9})", head))]
    return plain + [_unpacked(data) for data in plain]


def _unchunked(body: bytes) -> bytes:
    """As far as lengths and what they name agree; of the last chunk, as much as there is."""
    whole = b""
    while begun := re.match(rb"\s*([0-9a-fA-F]{1,8})[^\n]*\r?\n", body):
        length = int(begun[1], 16)
        whole += body[begun.end() :][:length]
        body = body[begun.end() + length :].removeprefix(b"\r\n")
        if not length:
            break
    return whole


def _unpacked(data: bytes) -> bytes:
    unpacking, whole = zlib.decompressobj(wbits=31), b""
    with suppress(zlib.error):
        for place in range(len(data)):
            whole += unpacking.decompress(data[place : place + 1])
    return whole


def _whole(body: bytes) -> bool:
    """`[DONE]`, and before it a reason for each choice that has begun."""
    begun: set[Any] = set()
    ended: set[Any] = set()
    for event in re.split(rb"(?:\r\n|\r|\n){2,}", body)[:-1]:
        data = b"\n".join(re.findall(rb"^data: ?([^\r\n]*)", event.replace(b"\r", b"\n"), re.MULTILINE))
        if data == b"[DONE]":
            return bool(begun) and begun == ended
        with suppress(ValueError):
            indices, reasons = _choices(json.loads(data))
            begun, ended = begun | indices, ended | reasons
    return False


def _ended(body: bytes) -> bool:
    if _whole(body):
        return True
    with suppress(ValueError):
        return bool(_choices(json.loads(body))[1])
    return False


def _choices(event: Any) -> tuple[set[Any], set[Any]]:
    choices = event.get("choices") if isinstance(event, dict) else None
    found = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    named = [(str(choice.get("index", place)), choice.get("finish_reason")) for place, choice in enumerate(found)]
    return {index for index, _ in named}, {index for index, reason in named if reason}


# --- the server ---


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """Its address. It lists one model, `sky`."""
    tasks: set[asyncio.Task[None]] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await _serve(reader, writer)
        writer.close()
        tasks.discard(task)

    server = await asyncio.start_server(tracked, "127.0.0.1", 0, backlog=512)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        await close(server)
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"GET"):
        writer.write(framed([b'{"object": "list", "data": [{"id": "sky"}]}'], "length", random.Random(0)))
        await writer.drain()
        return
    length = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
    asked = json.loads(await reader.readexactly(length))
    said = answer(asked["seed"], bool(asked.get("stream")))
    chance = random.Random(asked["seed"])
    for piece in _anywhere(said.wire, chance) if len(said.wire) > 20 else [said.wire]:
        writer.write(piece)
        await writer.drain()
    if said.end == "reset":
        writer.transport.abort()
    elif said.end == "stall":
        await reader.read(1)  # until it is closed, or used for another request, which it does not answer
