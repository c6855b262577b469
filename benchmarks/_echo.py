"""The fastest upstream there is: a raw ASGI application of the OpenAI dialect that says what it was told.

uvicorn benchmarks._echo:application
"""

from typing import Any

import orjson

MODEL = "echo"
USAGE = {"prompt_tokens": 8, "completion_tokens": 8, "total_tokens": 16}
CREATED = 1_700_000_000


async def application(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["method"] == "GET":
        await answer(send, b"application/json", orjson.dumps({"object": "list", "data": [{"id": MODEL}]}))
        return
    asked = orjson.loads(body)
    said = f"You said: {asked['messages'][-1]['content']}"
    if asked.get("stream"):
        await answer(send, b"text/event-stream", b"".join(events(said)))
    else:
        await answer(send, b"application/json", orjson.dumps(whole(said)))


async def answer(send: Any, kind: bytes, body: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def whole(said: str) -> Any:
    message = {"role": "assistant", "content": said, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    head = {"id": "c1", "object": "chat.completion", "created": CREATED, "model": MODEL}
    return head | {"choices": [choice], "usage": USAGE}


def events(said: str, is_usage_asked: bool = False) -> list[bytes]:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": CREATED, "model": MODEL}
    deltas: list[Any] = [{"role": "assistant", "content": ""}, *({"content": f"{word} "} for word in said.split()), {}]
    ends = [None] * (len(deltas) - 1) + ["stop"]
    choices = [{"index": 0, "delta": delta, "finish_reason": end} for delta, end in zip(deltas, ends, strict=True)]
    chunks = [orjson.dumps(head | {"choices": [choice]}) for choice in choices]
    if is_usage_asked:
        chunks.append(orjson.dumps(head | {"choices": [], "usage": USAGE}))
    return [b"data: " + data + b"\n\n" for data in [*chunks, b"[DONE]"]]
