"""Event streams: read however they are cut, and written so that nothing can break out."""

import random
from collections.abc import AsyncIterator

import pytest

from apps.inference.schemas import ChatCompletionChunk
from llamastack.errors import UpstreamError
from llamastack.sse import DONE, MalformedStream, encode_model, payloads, respond

STREAM = (
    b': comment\r\ndata: {"a": "\xc3\xa9"}\r\n\r\nevent: x\ndata: one\ndata: two\n\n'
    b"id: 7\rdata:three\r\rdata: last\n\ndata: cut"
)


async def pieces_of(data: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        yield data[start:end]


async def read(data: bytes, cuts: list[int]) -> list[bytes]:
    return [payload async for payload in payloads(pieces_of(data, cuts))]


@pytest.mark.parametrize("seed", range(200))
async def test_any_split_of_the_bytes_gives_the_same_events(seed: int) -> None:
    chance = random.Random(seed)
    cuts = sorted(chance.sample(range(1, len(STREAM)), chance.randint(0, 30)))
    assert await read(STREAM, cuts) == [b'{"a": "\xc3\xa9"}', b"one\ntwo", b"three", b"last"]


async def test_an_event_that_no_empty_line_ends_was_cut() -> None:
    assert [await read(b"data: 1\n\ndata: [DONE]" + rest, []) for rest in (b"", b"\n", b"\n\n")] == [
        [b"1"],
        [b"1"],
        [b"1", b"[DONE]"],
    ]


@pytest.mark.parametrize("piece", [b"x" * 1_000_000, b"data: " + b"x" * 1_000_000 + b"\n"])
async def test_a_line_or_an_event_without_end_is_refused(piece: bytes) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield piece

    with pytest.raises(MalformedStream):
        async for _ in payloads(endless()):
            pass


async def chunks(*contents: str, error: Exception | None = None) -> AsyncIterator[ChatCompletionChunk]:
    for content in contents:
        yield ChatCompletionChunk.model_validate(
            {"model": "m", "choices": [{"index": 0, "delta": {"content": content}}]}
        )
    if error:
        raise error


async def written(stream: AsyncIterator[ChatCompletionChunk]) -> bytes:
    return b"".join([part async for part in await respond(stream)])  # type: ignore[union-attr]


async def test_a_newline_in_the_text_cannot_end_an_event() -> None:
    body = await written(chunks("one\n\ndata: [DONE]\r\n\r\n"))
    assert body.count(b"\n\n") == 2
    assert body.endswith(DONE)


async def test_an_error_before_the_first_chunk_is_raised() -> None:
    with pytest.raises(UpstreamError):
        await respond(chunks(error=UpstreamError("no")))


@pytest.mark.parametrize("error", [UpstreamError("the upstream broke"), RuntimeError("a defect of ours")])
async def test_an_error_after_it_is_an_event_and_a_line_in_the_log_and_the_stream_does_not_end_in_done(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    body = await written(chunks("one", error=error))
    assert b'"error"' in body
    assert b"[DONE]" not in body
    assert b"a defect of ours" not in body
    assert str(error) in caplog.text


async def test_a_stream_of_nothing_is_only_done() -> None:
    assert await written(chunks()) == DONE


def test_absent_fields_are_left_out_and_an_open_finish_reason_is_null() -> None:
    chunk = ChatCompletionChunk.model_validate(
        {"id": "c", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {}}]}
    )
    choice = b'{"index":0,"delta":{},"finish_reason":null}'
    text = b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[' + choice + b"]}"
    assert encode_model(chunk) == b"data: " + text + b"\n\n"


def test_what_is_too_deep_to_be_passed_on_is_the_upstreams_fault() -> None:
    deep: list[object] = []
    for _ in range(900):
        deep = [deep]
    with pytest.raises(UpstreamError, match="too deep"):
        encode_model(
            ChatCompletionChunk.model_validate({"id": "c", "created": 1, "model": "m", "choices": [], "x": deep})
        )
