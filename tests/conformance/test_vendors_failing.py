"""What goes wrong at vendors, each in its words: errors, broken streams, nonsense, silence, and callers who leave."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from apps.inference.schemas import (
    ChatCompletionChunk,
)
from llamastack.errors import (
    RateLimited,
    StackError,
    UpstreamError,
    UpstreamRejected,
    UpstreamTimeout,
)
from tests.conformance.vendors import NATIVES, OPENAI, VENDORS
from tests.conformance.vendors.script import RETRY_AFTER, SAID
from tests.conformance.vendors.served import (
    CALL,
    CALLERS,
    READ_SECONDS,
    Served,
    asked,
    each,
    reasons,
    serving,
    text,
)
from tests.conformance.vendors.vendor import WRONG_KEY, Vendor, sentence


async def failed(served: Served, model: str, stream: bool) -> StackError:
    with pytest.raises(StackError, match="'under-test'") as caught:
        await asked(served, model, stream=stream)
    return caught.value


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
@pytest.mark.parametrize("stream", CALLERS)
async def test_a_wrong_key_is_the_vendors_refusal_in_its_words(vendor: Vendor, stream: bool) -> None:
    async with serving(vendor, key="a-wrong-key") as served:
        error = await failed(served, "sky", stream)
    assert isinstance(error, UpstreamRejected)
    assert error.status == vendor.unauthorized[0]
    assert sentence(vendor.unauthorized) in error.message
    assert WRONG_KEY not in error.message


@each()
@pytest.mark.parametrize("stream", CALLERS)
async def test_an_unknown_model_is_not_found_in_the_vendors_words(served: Served, stream: bool) -> None:
    error = await failed(served, "unknown", stream)
    assert isinstance(error, UpstreamRejected)
    assert error.status == 404
    assert sentence(served.vendor.unknown_model) in error.message


@each()
@pytest.mark.parametrize("stream", CALLERS)
async def test_too_many_calls_say_when_to_come_back(served: Served, stream: bool) -> None:
    error = await failed(served, "busy", stream)
    assert isinstance(error, RateLimited)
    assert error.retry_after == float(RETRY_AFTER)
    assert sentence(served.vendor.too_many) in error.message


@each()
@pytest.mark.parametrize("stream", CALLERS)
async def test_a_failure_is_a_bad_gateway_in_the_vendors_words(served: Served, stream: bool) -> None:
    error = await failed(served, "failing", stream)
    assert (type(error), error.status) == (UpstreamError, 502)
    assert sentence(served.vendor.failure) in error.message


@each()
@pytest.mark.parametrize("stream", CALLERS)
async def test_an_error_with_status_200_is_one_all_the_same(served: Served, stream: bool) -> None:
    error = await failed(served, "well", stream)
    assert (type(error), error.status) == (UpstreamError, 502)
    assert "It ran out of memory." in error.message


@each()
@pytest.mark.parametrize("stream", CALLERS)
@pytest.mark.parametrize("model", ["page", "blocked", "sign-in"])
async def test_a_page_is_a_bad_gateway_that_says_so(served: Served, stream: bool, model: str) -> None:
    error = await failed(served, model, stream)
    assert error.status == 502
    assert "html" in error.message.lower()
    assert "502 Bad Gateway nginx" in error.message


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
@pytest.mark.parametrize("stream", CALLERS)
async def test_an_upstream_that_does_not_answer_is_a_timeout(vendor: Vendor, stream: bool) -> None:
    async with serving(vendor, read=READ_SECONDS) as served:
        error = await failed(served, "slow", stream)
    assert (type(error), error.status) == (UpstreamTimeout, 504)


STREAM_FAULTS = {
    "silent": UpstreamTimeout,
    "reset": UpstreamError,
    "cut": UpstreamError,
    "malformed": UpstreamError,
    "broken": UpstreamError,
}


async def collect(stream: AsyncIterator[ChatCompletionChunk], chunks: list[ChatCompletionChunk]) -> None:
    async for chunk in stream:
        chunks.append(chunk)


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
@pytest.mark.parametrize("model", STREAM_FAULTS)
async def test_a_stream_that_goes_wrong_is_never_a_short_answer(vendor: Vendor, model: str) -> None:
    chunks: list[ChatCompletionChunk] = []
    async with serving(vendor, read=READ_SECONDS if model == "silent" else None) as served:
        with pytest.raises(STREAM_FAULTS[model], match="'under-test'") as caught:
            await collect(await served.provider.post_chat_completion(CALL, served.chat(model, stream=True)), chunks)
    assert SAID.startswith(text(chunks))
    assert reasons(chunks) == []
    if model == "broken":
        assert "It ran out of memory." in caught.value.message


NONSENSE: tuple[Any, ...] = (
    {},
    {"message": "It ran out of memory."},
    {"choices": "many"},
    {"choices": [1]},
    {"choices": [{"index": 0, "delta": "more"}]},
    {"choices": [{"index": 0, "delta": {"content": 7}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"function": "now"}]}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": ["stop"]}]},
    {"choices": [], "usage": "none"},
    {"error": "It ran out of memory.", "choices": []},
)


SENSELESS = [
    pytest.param(vendor, event, id=f"{vendor.name}-{json.dumps(event)}")
    for vendor in (replace(OPENAI, nonsense=NONSENSE), *NATIVES)
    for event in vendor.nonsense
]


@pytest.mark.parametrize(("vendor", "event"), SENSELESS)
@pytest.mark.parametrize("stream", CALLERS)
async def test_an_event_that_means_nothing_is_an_error_whatever_follows_it(
    vendor: Vendor, event: Any, stream: bool
) -> None:
    async with serving(replace(vendor, broken=event)) as served:
        with pytest.raises(UpstreamError, match="'under-test'"):
            await asked(served, "broken" if stream else "well" if vendor.native else "contrary-broken", stream=stream)


@each()
@pytest.mark.parametrize("stream", CALLERS)
async def test_a_caller_who_leaves_is_gone_at_the_vendor_too(served: Served, stream: bool) -> None:
    if stream:
        chunks = await served.provider.post_chat_completion(CALL, served.chat("endless", stream=True))
        await anext(chunks)
        await chunks.aclose()
    else:
        answering = asyncio.create_task(served.whole("slow"))
        async with asyncio.timeout(20):
            while not served.script.asked:
                await asyncio.sleep(0)
        answering.cancel()
    async with asyncio.timeout(10):
        await served.script.left.wait()
