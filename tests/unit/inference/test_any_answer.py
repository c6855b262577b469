"""Whatever an upstream answers, both lanes tell, store and count the same of it."""

import copy
import json
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest
from aiohttp import web

from apps.access.models import Usage
from apps.inference.models import StoredCompletion
from llamastack import settings
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.conftest import add_provider
from tests.upstream import on_loopback

EXAMPLES = 150
SEED = 7
LANE = "x-llamastack-lane"
CHAT, TEXT, VECTORS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
OWN = ("id", "created", "request_id", "created_at", "seconds", "lane", "completion")
# Of a stream that broke off, the fast lane has also counted what Django's held back.
TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "estimated")
JSON, EVENTS = "application/json", "text/event-stream"


@dataclass
class Script:
    """What the upstream says next."""

    content: bytes = b""
    kind: str = JSON
    status: int = 200


@pytest.fixture
async def script(running: LlamaStack) -> AsyncIterator[Script]:
    """An upstream that answers everybody with the same bytes, with hop-by-hop headers and others of its own."""
    said = Script()

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/models"):
            return web.json_response({"data": [{"id": "sky-1"}, {"id": "vec", "type": "embedding"}]})
        headers = {"Content-Type": said.kind, "X-Powered-By": "sky", "Set-Cookie": "a=b", "Server": "mine"}
        return web.Response(status=said.status, body=said.content, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with on_loopback(app) as url:
        row = await db(add_provider, "sky", base_url=f"{url}/v1", api_key="sk-upstream")
        await running.live.refresh()
        await running.live.discover(row.pk)
        yield said


@pytest.fixture
async def lanes(client: httpx.AsyncClient, running: LlamaStack, script: Script) -> AsyncIterator[Any]:
    """Asks both lanes for the same, the fast one first; gives their answers."""
    switched = settings.FAST_LANE

    async def ask(path: str, **body: Any) -> list[httpx.Response]:
        found = []
        for fast in (True, False):
            settings.FAST_LANE = fast
            found.append(await client.post(path, json={"model": "sky/sky-1", **body}))
        return found

    yield ask
    settings.FAST_LANE = switched


def plain(value: Any) -> Any:
    """Without ids and times, and without what is null or an empty list of calls, which Django's lane leaves out."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: plain(inner)
        for name, inner in value.items()
        if name not in OWN and inner is not None and (name, inner) != ("tool_calls", [])
    }


def told(response: httpx.Response) -> Any:
    if response.headers["content-type"] == JSON:
        return response.status_code, plain(orjson.loads(response.content))
    events = [event.removeprefix("data: ") for event in response.text.split("\n\n")]
    return [plain(orjson.loads(event)) if event.startswith("{") else event for event in events]


def heads(response: httpx.Response) -> dict[str, str]:
    """But for what differs with each answer."""
    return {
        name: value for name, value in response.headers.items() if name not in (LANE, "x-request-id", "content-length")
    }


def same(found: list[httpx.Response], content: bytes) -> None:
    fast, django = found
    assert told(fast) == told(django), content
    assert heads(fast) == heads(django), content
    assert (set(fast.headers), len(fast.headers)) == (set(django.headers), len(django.headers)), content


async def kept(running: LlamaStack) -> tuple[list[Any], list[Any]]:
    """Usage records and stored completions, in the order of their calls."""
    await running.flusher.stop()
    records = await db(lambda: list(Usage.objects.order_by("pk").values()))
    rows = await db(lambda: list(StoredCompletion.objects.order_by("created_at").values()))
    return records, rows


async def kept_alike(running: LlamaStack, contents: list[bytes]) -> None:
    records, rows = await kept(running)
    assert len(records) == 2 * len(contents)
    for fast, django, content in zip(records[::2], records[1::2], contents, strict=True):
        for record in (fast, django):
            for name in (*OWN, *(() if record["whole"] else TOKENS)):
                record.pop(name, None)
        assert fast == django, content
    completions = [plain(orjson.loads(row["completion"])) for row in rows]
    assert completions[::2] == completions[1::2]


MESSAGE = {"role": "assistant", "content": "ü😀", "refusal": None}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 4,
    "total_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
CHOICE = {"index": 0, "message": MESSAGE, "finish_reason": "stop", "logprobs": None}
REPLY = {"id": "c1", "object": "chat.completion", "created": 1, "model": "sky", "choices": [CHOICE], "usage": USAGE}
CALLED = REPLY | {
    "choices": [CHOICE | {"message": MESSAGE | {"content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}]
}
WRITTEN = REPLY | {
    "object": "text_completion",
    "choices": [{"index": 0, "text": "a", "finish_reason": "length", "logprobs": {"tokens": ["a"]}}],
}
VECTOR = {"object": "embedding", "index": 0, "embedding": [1.0, -0.5]}
COUNTED = {"prompt_tokens": 3, "total_tokens": 3, "completion_tokens": 0, "prompt_tokens_details": None}
FOUND = {"object": "list", "data": [VECTOR], "model": "vec", "usage": COUNTED}


def chunk(delta: Any, reason: str | None = None, index: int = 0) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": reason}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "sky", "choices": [choice]}


def text(said: str, reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "text": said, "finish_reason": reason, "logprobs": None}
    return {"id": "c1", "object": "text_completion", "created": 1, "model": "sky", "choices": [choice]}


TOTAL = chunk({}) | {"choices": [], "usage": USAGE}
BEGUN = {"index": 0} | CALL | {"function": {"name": "weather", "arguments": ""}}
STREAMS: dict[str, list[list[dict[str, Any]]]] = {
    CHAT: [
        [chunk({"role": "assistant", "content": ""}), chunk({"content": "ü"}), chunk({"content": "b"}, "stop"), TOTAL],
        [
            chunk({"role": "assistant", "content": None}),
            chunk({"tool_calls": [BEGUN]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
            chunk({}, "tool_calls"),
            TOTAL,
        ],
        [chunk({"role": "assistant", "reasoning_content": "hm"}), chunk({"content": "b"}), chunk({}, "length")],
    ],
    TEXT: [[text("a"), text("b"), text("", "stop"), TOTAL | {"object": "text_completion"}]],
}
WHOLE = {CHAT: [REPLY, CALLED], TEXT: [WRITTEN], VECTORS: [FOUND]}
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "Hi"}]},
    TEXT: {"prompt": "Hi"},
    VECTORS: {"input": "Hi", "model": "sky/vec"},
}
ODD: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        1,
        2,
        1.0,
        1.5,
        2**53,
        2**64,
        "",
        "a",
        "stop",
        "eos",
        "tool_calls",
        "error",
        "assistant",
        "user",
    ),
    *([], {}, [1], ["a"], {"a": None}, {"message": "no"}, [[0.5]], [{"type": "text", "text": "a"}], "\u2028", "\x00"),
]
NAMES = ("error", "usage", "model", "id", "role", "content", "reasoning", "served_by", "mood", "tool_calls")


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from places(inner)


def bent(chance: random.Random, value: Any) -> None:
    holder, key = chance.choice(list(places(value)))
    what = chance.random()
    if key == "model":
        holder[key] = "another"
    elif what < 0.5:
        holder[key] = copy.deepcopy(chance.choice(ODD))
    elif what < 0.7:
        del holder[key]
    elif isinstance(holder, dict):
        holder[chance.choice(NAMES)] = copy.deepcopy(chance.choice(ODD))
    elif what < 0.85:
        holder.append(copy.deepcopy(holder[key]))
    else:
        chance.shuffle(holder)


def written(chance: random.Random, value: Any) -> bytes:
    if chance.random() < 0.3:
        value = dict(chance.sample(list(value.items()), len(value)))
    indent, ascii = (2 if chance.random() < 0.1 else None), chance.random() < 0.5
    data = json.dumps(value, ensure_ascii=ascii, indent=indent).encode()
    return b" \n" + data + b"\n" if chance.random() < 0.1 else data


def event(chance: random.Random, value: Any) -> bytes:
    """Of one line or several."""
    lines = written(chance, value).split(b"\n")
    end = chance.choice((b"\n", b"\n", b"\n", b"\r\n"))
    return b"".join(b"data: " + line + end for line in lines) + end


@pytest.mark.parametrize("path", [CHAT, TEXT, VECTORS])
async def test_whole_answers_are_told_stored_and_counted_alike(
    lanes: Any, running: LlamaStack, script: Script, path: str
) -> None:
    chance, contents, fast = random.Random(SEED), [], 0
    for _ in range(EXAMPLES):
        answer = copy.deepcopy(chance.choice(WHOLE[path]))
        for _ in range(chance.choice((0, 1, 1, 2))):
            bent(chance, answer)
        script.content = written(chance, answer)
        contents.append(script.content)
        found = await lanes(path, **ASKED[path])
        same(found, script.content)
        fast += found[0].headers[LANE] == "fast"
    await kept_alike(running, contents)
    assert fast > EXAMPLES / 2


@pytest.mark.parametrize("path", [CHAT, TEXT])
async def test_streams_are_told_stored_and_counted_alike(
    lanes: Any, running: LlamaStack, script: Script, path: str
) -> None:
    chance, contents, fast = random.Random(SEED), [], 0
    script.kind = EVENTS
    for _ in range(EXAMPLES):
        events = copy.deepcopy(chance.choice(STREAMS[path]))
        for _ in range(chance.choice((0, 1, 1, 2))):
            bent(chance, events)
        parts = [event(chance, one) for one in events if isinstance(one, dict)]
        script.content = b"".join(parts) + chance.choice((b"data: [DONE]\n\n",) * 4 + (b"",))
        contents.append(script.content)
        found = await lanes(path, **ASKED[path], stream=True, stream_options={"include_usage": chance.random() < 0.5})
        same(found, script.content)
        fast += found[0].headers[LANE] == "fast"
    await kept_alike(running, contents)
    assert fast > EXAMPLES / 2
