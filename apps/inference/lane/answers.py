"""What the fast lane sends: the same heads and errors as the other one."""

import time
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import orjson

from apps.inference.lane.passage import Passage
from llamastack import sse
from llamastack.call import LANE, SERVED_BY
from llamastack.errors import StackError, headers, render
from llamastack.middleware import PRINTED

JSON = [(b"content-type", b"application/json")]
EVENTS = [(name.lower().encode(), value.encode()) for name, value in sse.HEADERS.items()]
LANE_NAME, SERVED_NAME = LANE.lower().encode(), SERVED_BY.lower().encode()
WHOLE = b"content-type: application/json\r\nx-request-id: %%b\r\n%b: fast\r\n%b: %%b\r\ncontent-length: %%d\r\n"
WHOLE %= LANE_NAME, SERVED_NAME


async def whole(passage: Passage, body: bytes, send: Any) -> None:
    passage.sent = time.perf_counter()
    if passage.client.at_once is not None:
        _, served = served_by(passage.place.name)
        lines = WHOLE % (passage.call.request_id.encode(), served, len(body))
        await passage.client.at_once(lines, body)
        return
    told = [*JSON, *head(passage), served_by(passage.place.name), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": told})
    await send({"type": "http.response.body", "body": body})


async def piece(passage: Passage, body: bytes, send: Any, *, more: bool = True) -> None:
    """A piece of a stream, whose head goes with the first one."""
    if not passage.sent:
        passage.sent = time.perf_counter()
        told = [*EVENTS, *head(passage), served_by(passage.place.name)]
        await send({"type": "http.response.start", "status": 200, "headers": told})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def refuse(passage: Passage, error: StackError, send: Any) -> None:
    status, body = render(error)
    content = orjson.dumps(body)
    asked = [(name.lower().encode(), value.encode()) for name, value in headers(error).items()]
    told = [*JSON, *head(passage), (b"content-length", b"%d" % len(content)), *asked]
    passage.sent = time.perf_counter()
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": content})


def head(passage: Passage) -> list[tuple[bytes, bytes]]:
    return [(b"x-request-id", passage.call.request_id.encode()), (LANE_NAME, b"fast")]


@lru_cache(4096)
def served_by(name: str) -> tuple[bytes, bytes]:
    return SERVED_NAME, quote(name, safe=PRINTED).encode()
