"""A model with several homes: which of them is asked, when the next one is, and what is told of it."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from apps.access.service import Route, admit
from apps.inference.homes import affinity, vector_length
from apps.inference.pace import Pace
from apps.inference.schemas import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    RerankRequest,
    RerankResponse,
)
from apps.inference.service import InferenceService
from llamastack.apis import Api
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.egress.retries import Retries
from llamastack.errors import (
    AuthenticationError,
    BadRequest,
    NotSupported,
    RateLimited,
    StackError,
    Unavailable,
    UnsupportedParameter,
    UpstreamError,
    UpstreamRejected,
    UpstreamTimeout,
)
from llamastack.flusher import Flusher
from llamastack.provider_data import ProviderData
from llamastack.snapshot import Home, ModelRecord, ProviderRecord, Snapshot

HELLO = [{"role": "user", "content": "Hello"}]
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


@dataclass
class Fake:
    """A provider that says its name in each word, unless it has an `error`: at once, or `after` so many chunks."""

    name: str
    error: Exception | None = None
    after: int = 0
    vector: Any = field(default_factory=lambda: [0.5, 0.5])
    asked: list[Any] = field(default_factory=list)
    patient: list[bool] = field(default_factory=list)
    started: bool = True
    refuses: bool = False
    closed: int = 0
    held: asyncio.Event | None = None
    usage: Any = field(default_factory=lambda: USAGE)

    async def _heard(self, request: Any) -> None:
        self.asked.append(request)
        self.patient.append(Retries().pause(ConnectionResetError(), 1) is not None)
        if self.held is not None:
            await self.held.wait()
        if self.error is not None and not self.after:
            raise self.error

    async def post_chat_completion(self, call: Call, request: ChatCompletionRequest) -> Any:
        if request.stream:
            return self._chunks(request)
        await self._heard(request)
        choice = {"index": 0, "message": {"content": f"{self.name} {self.name}"}, "finish_reason": "stop"}
        return ChatCompletion.model_validate({"model": request.model, "choices": [choice], "usage": self.usage})

    async def _chunks(self, request: ChatCompletionRequest) -> AsyncIterator[ChatCompletionChunk]:
        try:
            await self._heard(request)
            for number in range(3):
                if self.error is not None and number == self.after:
                    raise self.error
                choice = {"index": 0, "delta": {"content": f"{self.name} "}}
                yield ChatCompletionChunk.model_validate({"model": request.model, "choices": [choice]})
            yield ChatCompletionChunk.model_validate({"model": request.model, "choices": [], "usage": USAGE})
        finally:
            self.closed += 1

    async def post_completion(self, call: Call, request: CompletionRequest) -> Completion:
        await self._heard(request)
        return Completion.model_validate({"model": request.model, "choices": [], "usage": USAGE})

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        await self._heard(request)
        data = [{"index": 0, "embedding": self.vector}]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return EmbeddingResponse.model_validate({"model": request.model, "data": data, "usage": usage})

    async def rerank(self, call: Call, request: RerankRequest) -> RerankResponse:
        await self._heard(request)
        return RerankResponse.model_validate({"data": [{"index": 0, "relevance_score": 1}]})


class Registry:
    """All that the service needs of the registry and of the pool of providers."""

    def __init__(self, fakes: tuple[Fake, ...], model: ModelRecord) -> None:
        self.fakes = dict(enumerate(fakes))
        providers = {
            key: ProviderRecord(key, "*", fake.name, Api.inference, "remote::openai", None, {}, "1")
            for key, fake in self.fakes.items()
        }
        self.snapshot = Snapshot(providers=providers, models={model.key: model})
        self.pool = self

    async def admitted(self, call: Call, model: str, model_type: str) -> Route:
        return admit(call, self.snapshot, model, model_type)

    @asynccontextmanager
    async def use(self, record: ProviderRecord) -> AsyncIterator[Fake]:
        yield self.fakes[record.key]

    async def starts_soon(self, key: int) -> bool:
        return self.fakes[key].started

    def refuses(self, key: int) -> bool:
        return self.fakes[key].refuses

    def uses(self, key: int, data: ProviderData) -> bool:
        return f"{self.fakes[key].name}_api_key" in data


def service(*fakes: Fake, model_type: str = "llm", **fields: Any) -> InferenceService:
    """One whose model `m` is at home on these, to be asked one after another."""
    homes = tuple(Home(fake.name, f"{fake.name}-m", order=order) for order, fake in enumerate(fakes))
    model = ModelRecord(1, "*", "system", "m", "p", "m", model_type, 0, "yaml", **{"homes": homes} | fields)
    return InferenceService(Registry(fakes, model), Flusher(), Pace())  # type: ignore[arg-type]


def chat(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate({"model": "m", "messages": HELLO, "store": False, **fields})


def new_call(**data: str) -> Call:
    return Call(ANONYMOUS_ADMIN, provider_data=ProviderData(data))


async def said(inference: InferenceService, call: Call, **fields: Any) -> str:
    reply: Any = await inference.post_chat_completion(call, chat(**fields))
    if isinstance(reply, ChatCompletion):
        return str(reply.choices[0].message.content)
    return "".join([choice.delta.content or "" for chunk in [c async for c in reply] for choice in chunk.choices])


PASSING = [
    Unavailable("left alone", code="breaker_open", retry_after=5),
    UpstreamError("cannot be reached"),
    UpstreamTimeout("sent no first byte"),
    RateLimited("slow down", retry_after=1),
    StackError("the engine failed"),
    UpstreamRejected("no such deployment", 404),
    UpstreamRejected("the key is revoked", 401),
    UpstreamRejected("not for this key", 403),
    AuthenticationError("has no API key", code="no_provider_key"),
    UnsupportedParameter("logprobs", "a"),
    NotSupported("no chats"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("error", PASSING, ids=lambda error: f"{type(error).__name__}-{error.status}")
async def test_what_is_a_homes_own_fault_moves_on(error: StackError, stream: bool) -> None:
    a, b, call = Fake("a", error), Fake("b"), new_call()
    assert (await said(service(a, b), call, stream=stream)).split() == ["b"] * (3 if stream else 2)
    assert ([request.model for request in a.asked + b.asked], call.served.by) == (["a-m", "b-m"], "b/b-m")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("error", [BadRequest("too long"), UpstreamRejected("no JSON", 400), ValueError("a defect")])
async def test_what_is_the_requests_fault_is_told_at_once(error: Exception, stream: bool) -> None:
    a, b, call = Fake("a", error), Fake("b"), new_call()
    with pytest.raises(type(error)) as caught:
        await said(service(a, b), call, stream=stream)
    assert caught.value is error
    assert b.asked == []


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_key_that_the_caller_brought_is_the_callers_fault(status: int) -> None:
    a, b = Fake("a", UpstreamRejected("no", status)), Fake("b")
    with pytest.raises(UpstreamRejected):
        await said(service(a, b), new_call(a_api_key="sk-mine"))
    assert await said(service(a, b), new_call(b_api_key="sk-mine")) == "b b"


@pytest.mark.parametrize("stream", [False, True])
async def test_all_failed_tells_the_last_error_and_how_many_homes_were_tried(stream: bool) -> None:
    last = RateLimited("slow down.", retry_after=60)
    fakes = Fake("a", RateLimited("me too", retry_after=7)), Fake("b", UpstreamError("gone")), Fake("c", last)
    call = new_call()
    with pytest.raises(RateLimited) as caught:
        await said(service(*fakes), call, stream=stream)
    assert caught.value.message == "slow down. This was the last of 3 homes of the model that were tried."
    assert str(caught.value) == caught.value.message
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (429, "rate_limit_exceeded", 7)
    assert (last.message, last.retry_after) == ("slow down.", 60)


async def test_an_error_keeps_its_kind_and_all_else_that_it_says() -> None:
    last = UnsupportedParameter("logprobs", "b")
    with pytest.raises(UnsupportedParameter) as caught:
        await said(service(Fake("a", UpstreamError("gone")), Fake("b", last)), new_call())
    assert (caught.value.status, caught.value.param, caught.value.retry_after) == (400, "logprobs", None)
    rejected = UpstreamRejected("the key is revoked", 401, code="invalid_api_key")
    with pytest.raises(UpstreamRejected) as other:
        await said(service(Fake("a", UpstreamError("gone")), Fake("b", rejected)), new_call())
    assert (other.value.status, other.value.type, other.value.code) == (401, "authentication_error", "invalid_api_key")


async def test_after_its_first_chunk_a_home_is_the_only_one() -> None:
    a, b = Fake("a", UpstreamError("cut"), after=1), Fake("b")
    reply: Any = await service(a, b).post_chat_completion(new_call(), chat(stream=True))
    assert (await anext(reply)).choices[0].delta.content == "a "
    with pytest.raises(UpstreamError, match=r"^cut$"):
        await anext(reply)
    assert (b.asked, a.closed) == ([], 1)


async def test_who_leaves_while_a_home_is_asked_is_not_asked_for_again() -> None:
    a, b = Fake("a", held=asyncio.Event()), Fake("b")
    asking = asyncio.create_task(said(service(a, b), new_call(), stream=True))
    while not a.asked:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (b.asked, a.closed) == ([], 1)


async def test_who_closes_a_stream_closes_that_of_the_home() -> None:
    a, b = Fake("a", UpstreamError("gone")), Fake("b")
    reply: Any = await service(a, b).post_chat_completion(new_call(), chat(stream=True))
    await anext(reply)
    await reply.aclose()
    assert (a.closed, b.closed) == (1, 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_only_the_last_home_may_be_waited_for(stream: bool) -> None:
    fakes = [Fake(name, UpstreamError("gone")) for name in "ab"] + [Fake("c")]
    await said(service(*fakes), new_call(), stream=stream)
    assert [fake.patient for fake in fakes] == [[False], [False], [True]]
    alone = Fake("a")
    await said(service(alone), new_call(), stream=stream)
    assert alone.patient == [True]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_last_that_would_be_asked_at_all_may_be_waited_for(stream: bool) -> None:
    gone = UpstreamError("gone")
    fakes = [Fake("a", gone), Fake("b", gone), Fake("c", Unavailable("left alone"), refuses=True)]
    with pytest.raises(Unavailable, match="left alone"):
        await said(service(*fakes), new_call(), stream=stream)
    assert [fake.patient for fake in fakes] == [[False], [True], [True]]


async def test_a_home_that_is_still_starting_is_waited_for_only_as_the_last() -> None:
    a, b = Fake("a", started=False), Fake("b", started=False)
    assert await said(service(a, b), new_call()) == "b b"
    assert a.asked == []


async def test_completions_embeddings_and_rerank_move_on_too() -> None:
    call, gone = new_call(), UpstreamError("gone")
    completed: Any = await service(Fake("a", gone), Fake("b")).post_completion(
        call, CompletionRequest.model_validate({"model": "m", "prompt": "x"})
    )
    assert (completed.usage.served_by, completed.model, call.served.by) == ("b/b-m", "m", "b/b-m")
    call = new_call()
    embedded = await service(Fake("a", gone), Fake("b"), model_type="embedding").post_embedding(
        call, EmbeddingRequest(model="m", input="x")
    )
    assert embedded.usage is not None
    assert (embedded.usage.served_by, call.served.by) == ("b/b-m", "b/b-m")
    call = new_call()
    request = RerankRequest.model_validate({"model": "m", "query": "x", "items": ["y"]})
    ranked = await service(Fake("a", gone), Fake("b"), model_type="rerank").rerank(call, request)
    assert (ranked.data[0].index, call.served.by) == (0, "b/b-m")


SHORT = base64.b64encode(struct.pack("<3f", 1, 2, 3)).decode()


@pytest.mark.parametrize("vector", [[1.0, 2.0, 3.0], SHORT])
async def test_vectors_of_another_length_are_no_answer(vector: Any) -> None:
    request = EmbeddingRequest(model="m", input="x")
    fields: Any = {"model_type": "embedding", "metadata": {"embedding_dimension": 2}}
    call = new_call()
    await service(Fake("a", vector=vector), Fake("b"), **fields).post_embedding(call, request)
    assert call.served.by == "b/b-m"
    with pytest.raises(UpstreamError, match="a/a-m answered vectors of length 3; the model's have 2"):
        await service(Fake("b", UpstreamError("gone")), Fake("a", vector=vector), **fields).post_embedding(
            call, request
        )
    await service(Fake("a", vector=vector), Fake("b"), **fields).post_embedding(
        call, request.model_copy(update={"dimensions": 3})
    )
    assert call.served.by == "a/a-m"


@pytest.mark.parametrize("count", range(1, 9))
def test_a_vector_is_as_long_in_base64(count: int) -> None:
    packed = base64.b64encode(struct.pack(f"<{count}f", *range(count))).decode()
    assert vector_length(packed) == vector_length([0.0] * count) == count


async def test_usage_says_who_served_where_several_could() -> None:
    a, b, call = Fake("a", UpstreamError("gone")), Fake("b"), new_call()
    reply: Any = await service(a, b).post_chat_completion(call, chat())
    assert reply.usage.served_by == "b/b-m"
    chunks: Any = await service(a, b).post_chat_completion(
        call, chat(stream=True, stream_options={"include_usage": True})
    )
    assert [chunk.usage.served_by async for chunk in chunks if chunk.usage] == ["b/b-m"]


async def test_usage_of_a_model_with_one_home_is_the_vendors_own() -> None:
    call = new_call()
    reply: Any = await service(Fake("a")).post_chat_completion(call, chat())
    assert (reply.usage.model_dump(), call.served.by) == (USAGE, "a/a-m")


async def test_calls_of_one_session_stay_with_one_home_and_move_with_it() -> None:
    fakes = [Fake(name) for name in "abcd"]
    homes = tuple(Home(fake.name, "m") for fake in fakes)
    inference = service(*fakes, homes=homes)
    first = await said(inference, new_call(), prompt_cache_key="session-1")
    assert {await said(inference, new_call(), prompt_cache_key="session-1") for _ in range(20)} == {first}
    assert len({await said(inference, new_call(), prompt_cache_key=str(key)) for key in range(50)}) == 4
    assert len({await said(inference, new_call()) for _ in range(200)}) == 4
    down = next(fake for fake in fakes if first.startswith(fake.name))
    down.error = UpstreamError("gone")
    second = {await said(inference, new_call(), prompt_cache_key="session-1") for _ in range(20)}
    assert (len(second), second & {first}) == (1, set())
    down.error = None
    assert await said(inference, new_call(), prompt_cache_key="session-1") == first


async def test_metadata_may_decide_though_no_home_is_sent_it() -> None:
    fakes = [Fake(name) for name in "abcd"]
    homes = tuple(Home(fake.name, "m") for fake in fakes)
    inference = service(*fakes, homes=homes, affinity="metadata.session")
    found = {await said(inference, new_call(), metadata={"session": "one"}) for _ in range(20)}
    assert len(found) == 1
    assert all(request.metadata is None for fake in fakes for request in fake.asked)


@pytest.mark.parametrize(
    ("field", "sent", "value"),
    [
        ("", {"prompt_cache_key": "x"}, "x"),
        ("", {"user": "x"}, None),
        ("user", {"user": "x"}, "x"),
        ("safety_identifier", {"safety_identifier": "x"}, "x"),
        ("safety_identifier", {"safety_identifier": ["x"]}, None),
        ("metadata.session", {"metadata": {"session": "x"}}, "x"),
        ("metadata.session", {"metadata": {"other": "x"}}, None),
        ("metadata.session", {}, None),
        ("", {"prompt_cache_key": ""}, None),
        ("", {"prompt_cache_key": "x" * 5000}, "x" * 1000),
        ("model_dump", {}, None),
    ],
)
def test_the_field_that_decides(field: str, sent: dict[str, Any], value: str | None) -> None:
    model = ModelRecord(1, "*", "system", "m", "p", "m", "llm", 0, "yaml", affinity=field)
    assert affinity(model, chat(**sent)) == value
    if "metadata" not in sent:
        request = CompletionRequest.model_validate({"model": "m", "prompt": "x", **sent})
        assert affinity(model, request) == value
