"""Streams of native dialects, however their bytes are cut and whatever is added to them.

What the scripted server would send is fed to the provider in pieces, in the place of the network.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.inference.schemas import ChatCompletionChunk, ChatCompletionRequest
from llamastack.apis import Api
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.egress.transport import Outgoing, Reply
from llamastack.providers import load, specs
from tests.conformance.vendors import NATIVES
from tests.conformance.vendors.native import Native
from tests.conformance.vendors.script import ARGUMENTS, HELLO, SAID, THOUGHT, THOUGHTS, TOOL, WORDS, answered, streamed
from tests.conformance.vendors.vendor import JSON, KEY, Answer

CALL = Call(ANONYMOUS_ADMIN)
ONE_OF_EACH = {type(vendor): vendor for vendor in reversed(NATIVES)}  # variants differ in what they are asked
OF_EACH = pytest.mark.parametrize("vendor", ONE_OF_EACH.values(), ids=lambda vendor: vendor.name)
TOOLS = [TOOL, {"type": "function", "function": {"name": "get_time"}}]


class Pieces:
    """A transport whose every reply to the vendor's operations is this body, cut at these places."""

    def __init__(self, vendor: Native, body: bytes, cuts: list[int]) -> None:
        self.vendor = vendor
        ends = [0, *sorted(cuts), len(body)]
        self.pieces = [body[start:end] for start, end in pairwise(ends)]

    @asynccontextmanager
    async def send(self, outgoing: Outgoing) -> AsyncIterator[Reply]:
        aside = self.vendor.aside("/" + outgoing.url.split("/", 3)[3].partition("?")[0], outgoing.body or b"")
        if aside is not None:
            yield Reply(aside[0], "", {"content-type": "application/json"}, each([json.dumps(aside[1]).encode()]))
        else:
            yield Reply(200, "OK", {"content-type": self.vendor.media_type}, each(self.pieces))

    async def close(self) -> None:
        pass


async def each(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def read(vendor: Native, body: bytes, ways: list[list[int]], **fields: Any) -> list[list[ChatCompletionChunk]]:
    """The chunks of a stream for each way to cut it."""
    provider_class = load(specs(Api.inference)[vendor.provider_type])
    config = vendor.config_at("http://vendor.example", KEY)
    provider: Any = provider_class("under-test", provider_class.config_class.model_validate(config))
    request = ChatCompletionRequest.model_validate(asked(vendor, stream=True, **fields))
    async with AsyncExitStack() as stack:
        await provider.start()
        stack.push_async_callback(provider.stop)
        chunks = []
        for cuts in ways:
            for egress in provider.egresses:
                egress.transport = Pieces(vendor, body, cuts)
            reply = await provider.post_chat_completion(CALL, request)
            chunks.append([chunk async for chunk in reply])
    return chunks


def asked(vendor: Native, **fields: Any) -> JSON:
    wanted = {"messages": HELLO, "stream_options": {"include_usage": True}}
    return {"model": vendor.model, **wanted, **fields}


def answers(vendor: Native) -> list[tuple[Answer, JSON]]:
    """What is said, and the fields with which it is asked for."""
    called = answered(asked(vendor, tools=TOOLS), vendor)
    said = [(replace(called, calls=[], words=WORDS, reason="stop"), {}), (called, {"tools": TOOLS})]
    thought = replace(said[0][0], thoughts=THOUGHTS)
    return [*said, (thought, {"reasoning_effort": "high"})] if vendor.thinks else said


def wire(vendor: Native, answer: Answer) -> bytes:
    return b"".join(streamed(vendor, answer))


def plain(chunks: list[ChatCompletionChunk]) -> list[JSON]:
    """The chunks without what we make up where the vendor does not say it: ids and times."""
    return [_without_made(chunk.model_dump(mode="json")) for chunk in chunks]


def _without_made(chunk: JSON) -> JSON:
    calls = [call for choice in chunk["choices"] for call in choice["delta"].get("tool_calls") or ()]
    for call in calls:
        if "id" in call:
            call["id"] = "made"
    return chunk | {"id": "made", "created": 0}


def told(chunks: list[ChatCompletionChunk]) -> JSON:
    """What a stream says."""
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    calls: dict[int, list[str]] = {}
    for part in [part for delta in deltas for part in delta.tool_calls or ()]:
        said = calls.setdefault(part.index, ["", ""])
        said[0] += (part.function and part.function.name) or ""
        said[1] += (part.function and part.function.arguments) or ""
    usage = chunks[-1].usage
    return {
        "text": "".join(delta.content or "" for delta in deltas),
        "thought": "".join(delta.reasoning_content or "" for delta in deltas),
        "calls": {index: (name, json.loads(arguments)) for index, (name, arguments) in calls.items()},
        "reasons": [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason],
        "tokens": usage and usage.total_tokens,
    }


def meant(answer: Answer) -> JSON:
    names = [call["function"]["name"] for call in answer.calls]
    return {
        "text": "" if answer.calls else SAID,
        "thought": THOUGHT if answer.thoughts else "",
        "calls": {index: (name, json.loads(ARGUMENTS)) for index, name in enumerate(names)},
        "reasons": ["tool_calls" if answer.calls else "stop"],
        "tokens": 9,
    }


@cache
def whole(vendor_name: str, place: int) -> tuple[bytes, JSON, list[JSON]]:
    """A stream's bytes, the fields that ask for it, and its chunks where nothing is cut."""
    vendor = next(vendor for vendor in NATIVES if vendor.name == vendor_name)
    answer, fields = answers(vendor)[place]
    body = wire(vendor, answer)
    [chunks] = asyncio.run(read(vendor, body, [[]], **fields))
    assert told(chunks) == meant(answer)
    return body, fields, plain(chunks)


@OF_EACH
@pytest.mark.parametrize("place", [0, 1], ids=["text", "calls"])
def test_a_stream_cut_in_two_anywhere_gives_the_same_chunks(vendor: Native, place: int) -> None:
    body, fields, expected = whole(vendor.name, place)
    ways = [[cut] for cut in range(1, len(body))]
    for cuts, chunks in zip(ways, asyncio.run(read(vendor, body, ways, **fields)), strict=True):
        assert plain(chunks) == expected, cuts


@OF_EACH
@given(data=st.data())
def test_a_stream_cut_anywhere_gives_the_same_chunks(vendor: Native, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(answers(vendor)) - 1))
    body, fields, expected = whole(vendor.name, place)
    cuts = data.draw(st.lists(st.integers(1, len(body) - 1), max_size=40))
    [chunks] = asyncio.run(read(vendor, body, [cuts], **fields))
    assert plain(chunks) == expected


@OF_EACH
def test_a_stream_that_comes_byte_by_byte_gives_the_same_chunks(vendor: Native) -> None:
    for place in range(len(answers(vendor))):
        body, fields, expected = whole(vendor.name, place)
        [chunks] = asyncio.run(read(vendor, body, [list(range(1, len(body)))], **fields))
        assert plain(chunks) == expected


@OF_EACH
def test_fields_and_events_that_are_not_known_yet_change_nothing(vendor: Native) -> None:
    for answer, fields in answers(vendor):
        events = [event for known in vendor.events(answer) for event in (*vendor.novelties, vendor.newer(known))]
        body = b"".join([*map(vendor.encoded, events), vendor.end])
        [chunks] = asyncio.run(read(vendor, body, [[]], **fields))
        assert told(chunks) == meant(answer)
