"""What is recorded of calls: one record each, with who answered, the tokens, and how it ended."""

import asyncio
from typing import Any

import httpx
import pytest

from apps.access.models import ApiKey, Usage, UsageRecord
from apps.inference.schemas import CompletionRequest, EmbeddingRequest, RerankRequest
from apps.inference.service import InferenceService
from apps.inference.settling import tally
from apps.registry.models import Provider
from llamastack import stack
from llamastack.call import Outcome
from llamastack.db import db
from llamastack.errors import BadRequest, NotFound, StackError, Unavailable, UpstreamError
from llamastack.flusher import Flusher
from llamastack.stack import LlamaStack
from tests.unit.inference.test_chat_completions import serve_as
from tests.unit.inference.test_homes import HELLO, Fake, chat, new_call, said, service
from tests.unit.inference.test_websocket import messages, socket

URL = "/v1/chat/completions"
BODY = {"model": "sky/sky-1", "messages": HELLO}


class Notes(Flusher):
    """A flusher that keeps the records it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[Any] = []

    def note(self, record: Any) -> None:
        self.notes.append(record)

    @property
    def only(self) -> UsageRecord:
        (record,) = self.notes
        assert isinstance(record, UsageRecord)
        return record


def noting(*fakes: Fake, **options: Any) -> tuple[InferenceService, Notes]:
    inference = service(*fakes, **options)
    inference.flusher = notes = Notes()
    return inference, notes


def tokens(record: UsageRecord) -> tuple[int | None, int | None, bool]:
    return record.input_tokens, record.output_tokens, record.estimated


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_is_recorded_once_with_its_tokens_and_who_answered(stream: bool) -> None:
    inference, notes = noting(Fake("a"))
    await said(inference, call := new_call(), stream=stream)
    record = notes.only
    assert (record.operation, record.model, record.provider_id, record.provider_model_id) == ("chat", "m", "a", "a-m")
    assert (record.owner, record.request_id, record.lane) == ("anonymous", call.request_id, "django")
    assert (record.status, record.error, record.streamed, record.whole) == (200, "", stream, True)
    assert tokens(record) == (1, 2, False)
    assert record.seconds > 0


async def test_what_else_is_told_of_tokens_is_recorded_too() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 1}}
    for told, recorded in [(details, (3, 1)), ({"prompt_tokens_details": [7]}, (None, None))]:
        a = Fake("a")
        a.usage = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6, **told}
        inference, notes = noting(a)
        await said(inference, new_call())
        assert (notes.only.cached_tokens, notes.only.reasoning_tokens) == recorded


async def test_tokens_that_nobody_told_are_none() -> None:
    for usage, recorded in [(None, (None, None, False)), ({"prompt_tokens": 4, "total_tokens": 4}, (4, None, False))]:
        a = Fake("a")
        a.usage = usage
        inference, notes = noting(a)
        await said(inference, new_call())
        assert tokens(notes.only) == recorded


async def test_every_operation_is_recorded() -> None:
    inference, notes = noting(Fake("a"))
    await inference.post_completion(new_call(), CompletionRequest(model="m", prompt="x"))
    embedding, embedded = noting(Fake("a"), model_type="embedding")
    await embedding.post_embedding(new_call(), EmbeddingRequest(model="m", input="x"))
    ranking, ranked = noting(Fake("a"), model_type="rerank")
    await ranking.rerank(new_call(), RerankRequest(model="m", query="x", items=["y"]))
    records = [notes.only, embedded.only, ranked.only]
    assert [record.operation for record in records] == ["completion", "embedding", "rerank"]
    assert [tokens(record)[:2] for record in records] == [(1, 2), (1, None), (None, None)]
    assert {record.provider_id for record in records} == {"a"}


async def test_of_several_homes_the_one_that_served_is_recorded() -> None:
    for stream in (False, True):
        inference, notes = noting(Fake("a", UpstreamError("gone")), Fake("b"))
        await said(inference, new_call(), stream=stream)
        assert (notes.only.provider_id, notes.only.status, notes.only.whole) == ("b", 200, True)


@pytest.mark.parametrize("stream", [False, True])
async def test_where_no_home_answers_the_last_one_is_recorded_with_its_error(stream: bool) -> None:
    inference, notes = noting(Fake("a", UpstreamError("gone")), Fake("b", Unavailable("no", code="breaker_open")))
    with pytest.raises(Unavailable):
        await said(inference, new_call(), stream=stream)
    record = notes.only
    assert (record.provider_id, record.status, record.error, record.whole) == ("b", 503, "breaker_open", False)
    assert tokens(record) == (None, None, False)


async def test_an_alias_is_recorded_under_the_name_of_its_model() -> None:
    inference, notes = noting(Fake("a"), aliases=("other",))
    await said(inference, new_call(), model="other")
    assert notes.only.model == "m"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BadRequest("too long", code="context_length_exceeded"), 400, "context_length_exceeded"),
        (StackError("a defect"), 500, "server_error"),
        (ValueError("a defect"), 500, "internal_error"),
    ],
)
async def test_an_error_is_recorded_with_its_status_and_code(error: Exception, status: int, code: str) -> None:
    inference, notes = noting(Fake("a", error))
    with pytest.raises(type(error)):
        await said(inference, new_call())
    assert (notes.only.status, notes.only.error, notes.only.whole) == (status, code, False)


async def test_a_stream_that_breaks_is_recorded_with_the_tokens_that_came() -> None:
    inference, notes = noting(Fake("a", UpstreamError("cut"), after=2))
    with pytest.raises(UpstreamError):
        await said(inference, new_call(), stream=True)
    assert (notes.only.status, notes.only.whole) == (502, False)
    assert tokens(notes.only) == (None, 2, True)


async def test_a_client_that_leaves_a_stream_is_recorded_with_the_tokens_that_came() -> None:
    inference, notes = noting(Fake("a"))
    reply: Any = await inference.post_chat_completion(new_call(), chat(stream=True))
    await anext(reply)
    await reply.aclose()
    assert (notes.only.status, notes.only.error, notes.only.whole) == (499, "client_gone", False)
    assert tokens(notes.only) == (None, 1, True)


async def test_a_client_that_leaves_before_the_answer_is_recorded() -> None:
    a = Fake("a", held=asyncio.Event())
    inference, notes = noting(a)
    asking = asyncio.create_task(said(inference, new_call()))
    while not a.asked:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (notes.only.status, notes.only.whole, notes.only.provider_id) == (499, False, "a")


async def test_what_was_not_admitted_is_not_recorded() -> None:
    inference, notes = noting(Fake("a"))
    with pytest.raises(NotFound):
        await said(inference, new_call(), model="none")
    with pytest.raises(BadRequest):
        await inference.post_embedding(new_call(), EmbeddingRequest(model="m", input="x"))
    assert notes.notes == []


async def test_a_call_begins_when_there_is_room_for_its_record() -> None:
    held = asyncio.Event()

    class Full(Notes):
        full = True

        async def room(self) -> None:
            await held.wait()

    a = Fake("a")
    inference, _ = noting(a)
    inference.flusher = notes = Full()
    asking = asyncio.create_task(said(inference, new_call()))
    await asyncio.sleep(0.01)
    assert a.asked == []
    held.set()
    assert await asking == "a a"
    assert notes.only.whole


# --- with a database ---


async def used(running: LlamaStack) -> list[Usage]:
    """All that was recorded, once the server has stopped."""
    await stack.stop()
    return await db(lambda: list(Usage.objects.order_by("pk")))


async def test_calls_over_http_are_recorded_with_the_key_that_made_them(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    key, secret = await db(ApiKey.issue, "theirs", "ada", tenant="north")
    await serve_as(sky, running, "status-429")
    client.headers["Authorization"] = f"Bearer {secret}"
    answers = [
        await client.post(URL, json=BODY | {"stream": False}),
        await client.post(URL, json=BODY | {"stream": True, "stream_options": {"include_usage": True}}),
        await client.post("/v1/completions", json={"model": "sky/sky-1", "prompt": "a"}),
        await client.post(URL, json=BODY | {"model": "status-429"}),
    ]
    rows = await used(running)
    assert [row.status for row in rows] == [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [row.request_id for row in rows] == [answer.headers["x-request-id"] for answer in answers]
    assert {(row.tenant, row.owner, row.api_key) for row in rows} == {("north", "ada", key.prefix)}
    assert [(row.operation, row.streamed, row.whole) for row in rows] == [
        ("chat", False, True),
        ("chat", True, True),
        ("completion", False, True),
        ("chat", False, False),
    ]
    assert [row.output_tokens for row in rows[:2]] == [answers[0].json()["usage"]["completion_tokens"]] * 2


async def test_a_stream_that_the_upstream_cuts_is_recorded_as_broken(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    await serve_as(sky, running, "cut")
    assert "error" in (await client.post(URL, json=BODY | {"model": "cut", "stream": True})).text
    (row,) = await used(running)
    assert (row.status, row.whole, row.provider_model_id, row.estimated) == (502, False, "cut", True)
    assert row.output_tokens > 0


async def test_a_chat_over_a_websocket_is_recorded(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    async with socket() as communicator:
        await communicator.send_json_to(BODY)
        await messages(communicator)
    (row,) = await used(running)
    assert (row.operation, row.streamed, row.whole, row.provider_id) == ("chat", True, True, "sky")


# --- the usage of streams ---


@pytest.mark.parametrize("store", [False, None])
async def test_a_stream_is_asked_for_its_usage_and_the_client_has_it_only_where_it_asked(store: bool | None) -> None:
    for options, told in [(None, 0), ({"include_usage": False}, 0), ({"include_usage": True}, 1)]:
        a = Fake("a")
        inference, notes = noting(a)
        asked = chat(stream=True, stream_options=options, store=store)
        chunks = [chunk async for chunk in await inference.post_chat_completion(new_call(), asked)]  # type: ignore[union-attr]
        assert a.asked[0].stream_options.include_usage
        assert sum(chunk.usage is not None for chunk in chunks) == told
        assert len(chunks) == 3 + told
        assert tokens(notes.only) == (1, 2, False)


async def test_other_options_of_a_stream_are_kept() -> None:
    a = Fake("a")
    inference, _ = noting(a)
    await said(inference, new_call(), stream=True, stream_options={"include_obfuscation": False})
    assert a.asked[0].stream_options.model_dump() == {"include_usage": True, "include_obfuscation": False}


async def test_a_stored_stream_has_its_usage_whether_or_not_the_client_asked(
    client: httpx.AsyncClient, sky: Provider
) -> None:
    async with socket() as communicator:
        await communicator.send_json_to(BODY | {"store": True})
        assert not any("usage" in chunk for chunk in (await messages(communicator))[:-1])
    (stored,) = (await client.get(URL)).json()["data"]
    assert stored["usage"]["total_tokens"] == 9


def test_a_count_that_is_true_is_none() -> None:
    """No column of numbers takes it, and the record would be lost."""
    outcome = Outcome("chat", "sky")
    tally(outcome, {"prompt_tokens": 1, "completion_tokens": True, "prompt_tokens_details": {"cached_tokens": True}})
    assert (outcome.input_tokens, outcome.output_tokens, outcome.cached_tokens) == (1, None, None)
