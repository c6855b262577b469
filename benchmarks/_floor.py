"""The raw floor of benchmarks/gateway.py: the least a gateway in Python does, as an ASGI application by itself.

    BENCH_UPSTREAM=http://127.0.0.1:PORT/v1 BENCH_KEY=… uvicorn benchmarks._floor:application

It looks the key up in a dict and passes the bytes on by aiohttp, both ways. It checks, counts and stores nothing.
"""

import os
from typing import Any

import aiohttp

KEYS = {f"Bearer {os.environ['BENCH_KEY']}".encode(): "bench"}
UPSTREAM = os.environ["BENCH_UPSTREAM"]
SENT = {"Content-Type": "application/json"}
sessions: list[aiohttp.ClientSession] = []


def session() -> aiohttp.ClientSession:
    """Made within the loop, at the first request."""
    if not sessions:
        connector = aiohttp.TCPConnector(limit=0)
        unlimited = aiohttp.ClientTimeout()
        sessions.append(aiohttp.ClientSession(connector=connector, timeout=unlimited, auto_decompress=False))
    return sessions[0]


async def application(scope: Any, receive: Any, send: Any) -> None:
    if dict(scope["headers"]).get(b"authorization") not in KEYS:
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    url = UPSTREAM + scope["path"].removeprefix("/v1")
    async with session().post(url, data=body, headers=SENT) as answer:
        kind = answer.headers["Content-Type"].encode()
        streamed = answer.content_length is None
        headers = [(b"content-type", kind)]
        if not streamed:
            headers.append((b"content-length", str(answer.content_length).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if streamed:
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": await answer.read()})
