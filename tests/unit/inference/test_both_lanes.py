"""What one lane answers, the other answers too: the same status, and the same body but for ids and times."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from apps.registry.models import Provider
from llamastack import settings
from llamastack.stack import LlamaStack
from tests.upstream import Upstream

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
LANE = "x-llamastack-lane"
HELLO = [{"role": "user", "content": "Hello"}]
OWN = ("id", "created")  # of each answer
FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOLS = [{"type": "function", "function": FUNCTION}]
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}


@pytest.fixture
async def lanes(client: httpx.AsyncClient, sky: Provider) -> AsyncIterator[Any]:
    """Asks both lanes for the same; gives the two answers, that of Django's lane last."""
    switched = settings.FAST_LANE

    async def ask(content: bytes, path: str = CHAT, **headers: str) -> list[httpx.Response]:
        found = []
        for fast in (True, False):
            settings.FAST_LANE = fast
            kind = {"Content-Type": "application/json"}
            found.append(await client.post(path, content=content, headers=kind | headers))
        return found

    yield ask
    settings.FAST_LANE = switched


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "sky/sky-1", "messages": HELLO, **fields}).encode()


def said(response: httpx.Response) -> Any:
    """What an answer says, each event of a stream by itself."""
    if response.headers["content-type"] == "application/json":
        return plain(response.json())
    events = [event.removeprefix("data: ") for event in response.text.split("\n\n")]
    return [plain(json.loads(event)) if event.startswith("{") else event for event in events]


def plain(answer: Any) -> Any:
    """Without what is null in a delta, which Django's lane leaves out."""
    for choice in answer.get("choices", ()):
        if "delta" in choice:
            choice["delta"] = {name: value for name, value in choice["delta"].items() if value is not None}
    return {name: value for name, value in answer.items() if name not in OWN}


def same(found: list[httpx.Response]) -> None:
    fast, django = found
    assert fast.status_code == django.status_code, (fast.text, django.text)
    assert said(fast) == said(django)
    for name in ("content-type", "x-llamastack-served-by", "cache-control", "retry-after"):
        assert fast.headers.get(name) == django.headers.get(name), name
    assert bool(fast.headers["x-request-id"]) == bool(django.headers["x-request-id"])
    assert django.headers[LANE] == "django"


PASSED = {
    "plain": {},
    "not stored": {"store": False},
    "stored": {"store": True, "metadata": {"a": "b" * 512}},
    "stream": {"stream": True},
    "stream with usage": {"stream": True, "stream_options": {"include_usage": True}},
    "stream without usage": {"stream": True, "stream_options": {"include_usage": False}},
    "stream null": {"stream": None, "stream_options": None, "temperature": None, "n": None, "stop": None},
    "sampling": {"temperature": 1, "top_p": 0.5, "seed": 2**63 - 1, "stop": ["a"], "frequency_penalty": -2},
    "limits": {"max_tokens": 5, "max_completion_tokens": 5},
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "tools": {"tools": TOOLS, "tool_choice": "auto"},
    "a tool by name": {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    "tools streamed": {"tools": TOOLS, "stream": True},
    "a tool's answer": {
        "messages": [*HELLO, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c1"}]
    },
    "a developer": {"messages": [{"role": "developer", "content": "Be kind."}, *HELLO]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, PNG]}]},
    "a schema": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    },
    "all sorts of text": {"messages": [{"role": "user", "content": 'a "quote", \\, \n, \x00, ü, 日本, 😀'}]},
}


@pytest.mark.parametrize("fields", PASSED.values(), ids=PASSED)
async def test_what_goes_by_the_fast_lane_is_answered_alike(
    lanes: Any, upstream: Upstream, fields: dict[str, Any]
) -> None:
    found = await lanes(chat(**fields))
    same(found)
    assert (found[0].status_code, found[0].headers[LANE]) == (200, "fast")
    fast, django = upstream.requests[-2:]
    assert fast == django


WRONG: dict[str, dict[str, Any]] = {
    "no messages": {"messages": []},
    "a model that is none": {"model": 'no "such" model'},
    "an empty name": {"model": ""},
    "a long name": {"model": "m" * 256},
    "temperature": {"temperature": 2.1},
    "a number as text": {"temperature": "1"},
    "a flag as text": {"stream": "true"},
    "n": {"n": 0},
    "n is a flag": {"n": True},
    "two limits": {"max_tokens": 5, "max_completion_tokens": 6},
    "a limit too large": {"max_tokens": 2**64},
    "options without a stream": {"stream_options": {"include_usage": True}},
    "top_logprobs alone": {"top_logprobs": 2},
    "a seed too large": {"seed": 2**63},
    "a role": {"messages": [{"role": "king", "content": "I"}]},
    "an answer without a call": {"messages": [{"role": "tool", "tool_call_id": "c1", "content": "x"}]},
    "a part": {"messages": [{"role": "user", "content": [{"type": "song"}]}]},
    "an empty image": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]}]},
    "a choice without tools": {"tool_choice": "required"},
    "a tool that is not given": {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "b"}}},
    "a tool twice": {"tools": [*TOOLS, *TOOLS]},
    "a tool's name": {"tools": [{"type": "function", "function": {"name": "a b"}}]},
    "a name that ends in a line": {"tools": [{"type": "function", "function": {"name": "a\n"}}]},
    "parameters": {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "array"}}}]},
    "too much metadata": {"metadata": {str(number): "" for number in range(17)}},
    "long metadata": {"metadata": {"a": "b" * 513}},
    "a NUL in metadata": {"metadata": {"a": "\x00"}},
    "too many biases": {"logit_bias": {str(number): 0 for number in range(1025)}},
    "a bias": {"logit_bias": {"1": 101}},
    "too many stops": {"stop": ["a"] * 17},
    "a format": {"response_format": {"type": "json_schema"}},
    "a long user": {"user": "u" * 1001},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
async def test_what_is_wrong_is_refused_alike(lanes: Any, upstream: Upstream, fields: dict[str, Any]) -> None:
    found = await lanes(chat(**fields))
    same(found)
    assert found[0].status_code in (400, 404)
    assert not upstream.requests


DEEP = "[" * 100 + "]" * 100
BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a byte order mark": b"\xef\xbb\xbf" + chat(),
    "NaN": chat()[:-1] + b', "temperature": NaN}',
    "infinity": chat()[:-1] + b', "temperature": 1e999}',
    "no UTF-8": chat().replace(b"Hello", b"\xff"),
    "half a surrogate": chat().replace(b"Hello", b"\\ud800"),
    "an escape that is none": chat().replace(b"Hello", b"\\q"),
    "a bare control character": chat().replace(b"Hello", b"\n"),
    "what follows": chat() + b"x",
    "deep": chat()[:-1] + b', "mine": %b}' % DEEP.encode(),
    "a deep schema": chat(
        tools=[{"type": "function", "function": {"name": "a", "parameters": json.loads('{"x":' * 70 + "1" + "}" * 70)}}]
    ),
    "a number too large": chat(
        tools=[{"type": "function", "function": {"name": "a", "parameters": {"minimum": 10**40}}}]
    ),
    "the model twice": chat()[:-1] + b', "model": "sky/sky-2"}',
    "the stream twice": chat(stream=True)[:-1] + b', "stream": false}',
    "messages twice": chat()[:-1] + b', "messages": [{"role": "user", "content": "Bye"}]}',
    "a role twice": chat().replace(b'"role"', b'"role": "king", "role"'),
    "spaces": b" \r\n" + chat() + b"\t ",
    "a field of the vendor's": chat(top_k=5),
}


@pytest.mark.parametrize("content", BODIES.values(), ids=BODIES)
async def test_odd_bodies_mean_the_same_in_both_lanes(lanes: Any, upstream: Upstream, content: bytes) -> None:
    same(await lanes(content))
    assert len(upstream.requests) in (0, 2)
    assert upstream.requests[:1] == upstream.requests[1:]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["status-400", "status-401", "status-404", "status-429", "status-500", "nonsense"])
async def test_failures_of_an_upstream_are_told_alike(
    lanes: Any, running: LlamaStack, sky: Provider, upstream: Upstream, model: str, stream: bool
) -> None:
    upstream.models.append(model)
    await running.live.discover(sky.pk)
    same(await lanes(chat(model=f"sky/{model}", stream=stream)))


@pytest.mark.parametrize("model", ["cut", "broken"])
async def test_streams_that_break_off_do_so_alike(
    lanes: Any, running: LlamaStack, sky: Provider, upstream: Upstream, model: str
) -> None:
    upstream.models.append(model)
    await running.live.discover(sky.pk)
    found = await lanes(chat(model=f"sky/{model}", stream=True))
    same(found)
    assert found[0].headers[LANE] == "fast"
    assert "[DONE]" not in found[0].text


@pytest.mark.parametrize("stream", [False, True])
async def test_completions_are_answered_alike(lanes: Any, upstream: Upstream, stream: bool) -> None:
    body = {"model": "sky/sky-1", "prompt": "The sky", "max_tokens": 0, "echo": False, "stream": stream}
    found = await lanes(json.dumps(body).encode(), TEXT)
    same(found)
    assert found[0].headers[LANE] == "fast"


@pytest.mark.parametrize("path", ["/v1/openai/v1/chat/completions", "/v1/openai/v1/completions"])
async def test_the_aliases_end_alike(lanes: Any, upstream: Upstream, path: str) -> None:
    body = {"model": "sky/sky-1", "stream": True} | ({"prompt": "A"} if path.endswith("v1/completions") else {})
    if "prompt" not in body:
        body["messages"] = HELLO
    found = await lanes(json.dumps(body).encode(), path)
    same(found)
    assert found[0].headers[LANE] == "fast"
    assert "[DONE]" not in found[0].text
