"""Inference by routing: the model's name says which provider answers."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from pydantic_core import to_json

from apps.access.service import Route
from apps.inference import homes, stored
from apps.inference.assembler import Assembler
from apps.inference.homes import Homes
from apps.inference.pace import Pace
from apps.inference.protocol import ChatReply, CompletionReply, Tokenizing, Tokens
from apps.inference.schemas import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    GenerationRequest,
    ProviderModel,
    RerankRequest,
    RerankResponse,
    StreamOptions,
    completion_id,
)
from apps.inference.settling import Settling, tally
from apps.registry.live import Live
from llamastack import sse
from llamastack.call import Call, Operation, Outcome
from llamastack.flusher import Flusher
from llamastack.snapshot import Place

FOR_THE_STORE = ("store", "metadata")
Method = Callable[[Any], Any]  # a provider -> its method
A = TypeVar("A", bound=ChatCompletion | ChatCompletionChunk | Completion | EmbeddingResponse)


class InferenceService:
    """Satisfies `Inference`. The model named in replies is the name the client asked for."""

    def __init__(self, live: Live, flusher: Flusher, pace: Pace) -> None:
        self.live = live
        self.flusher = flusher
        self.pace = pace

    async def post_chat_completion(self, call: Call, request: ChatCompletionRequest) -> ChatReply:
        """The completion is stored unless `store` is false: before its last byte leaves where it is true.

        Its id is ours then, since a vendor's need not be unique (Ollama draws from 999).
        """
        reply: ChatReply = await self._generated(
            call, "chat", request, _unstored(request), lambda provider: provider.post_chat_completion
        )
        if request.store is False:
            return reply
        if not isinstance(reply, ChatCompletion):
            return self._stored_stream(call, request, reply)
        reply.id = completion_id()
        await self._store(call, request, reply.id, sse.dump(reply))
        return reply

    async def post_completion(self, call: Call, request: CompletionRequest) -> CompletionReply:
        reply: CompletionReply = await self._generated(
            call, "completion", request, request, lambda provider: provider.post_completion
        )
        return reply

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        route = await self._admitted(call, request.model, "embedding")
        settling = self._settling(call, "embedding", route)

        async def ask(place: Place) -> EmbeddingResponse:
            reply: EmbeddingResponse = await self._whole(
                settling, place, request, lambda provider: provider.post_embedding
            )
            if route.only is None:
                homes.check_dimension(reply, request.dimensions or route.model.metadata.get(homes.DIMENSION), place)
            return reply

        with settling:
            if route.only is not None:
                return await ask(route.only)
            return _telling(call, await self._homes(call, route, request).answer(ask))

    async def rerank(self, call: Call, request: RerankRequest) -> RerankResponse:
        route = await self._admitted(call, request.model, "rerank")
        settling = self._settling(call, "rerank", route)

        async def ask(place: Place) -> RerankResponse:
            async with self._asking(settling, place) as provider:
                reply: RerankResponse = await provider.rerank(call, _inner(place, request))
            call.served.by = place.name
            return reply

        with settling:
            if route.only is not None:
                return await ask(route.only)
            return await self._homes(call, route, request).answer(ask)

    async def _admitted(self, call: Call, model: str, model_type: str) -> Route:
        """The route of a call, once it is its turn, and there is room for the record of one more."""
        route = await self.live.admitted(call, model, model_type)
        if call.background:
            await self.pace.turn()
        else:
            self.pace.live()
        if self.flusher.full:
            await self.flusher.room()
        return route

    def _settling(self, call: Call, operation: Operation, route: Route, *, streamed: bool = False) -> Settling:
        return Settling(call, Outcome(operation, route.model.identifier, streamed=streamed), self.flusher)

    async def _generated(
        self, call: Call, operation: Operation, request: GenerationRequest, inner: Any, method: Method
    ) -> Any:
        """`inner` is what a provider is sent of the request."""
        route = await self._admitted(call, request.model, "llm")
        settling = self._settling(call, operation, route, streamed=bool(request.stream))
        if request.stream:
            return self._settled_stream(settling, route, request, _telling_usage(inner), method)
        with settling:
            if route.only is not None:
                return await self._whole(settling, route.only, inner, method)
            several = self._homes(call, route, request)
            return _telling(call, await several.answer(lambda place: self._whole(settling, place, inner, method)))

    async def _settled_stream(
        self, settling: Settling, route: Route, request: GenerationRequest, inner: Any, method: Method
    ) -> AsyncGenerator[Any]:
        if route.only is not None:
            chunks = self._stream(settling, route.only, inner, method)
        else:
            several = self._homes(settling.call, route, request)
            chunks = self._stream_of(several, lambda place: self._stream(settling, place, inner, method))
        with settling:
            async with aclosing(chunks):
                async for chunk in chunks:
                    settling.add(chunk)
                    if _is_for(request, chunk) or _may_be_stored(request):
                        yield chunk

    def _homes(self, call: Call, route: Route, request: Any) -> Homes:
        places = route.in_order(call.principal.tenant, homes.affinity(route.model, request))
        return Homes(call, self.live.pool, places)

    @asynccontextmanager
    async def _asking(self, settling: Settling, place: Place) -> AsyncIterator[Any]:
        settling.outcome.place = place
        async with self.live.pool.use(place.provider) as provider:
            yield provider

    async def _whole(self, settling: Settling, place: Place, request: Any, method: Method) -> Any:
        async with self._asking(settling, place) as provider:
            reply = await method(provider)(settling.call, _inner(place, request))
        reply.model = request.model
        tally(settling.outcome, reply.usage)
        settling.call.served.by = place.name
        return reply

    async def _stream(self, settling: Settling, place: Place, request: Any, method: Method) -> AsyncGenerator[Any]:
        async with self._asking(settling, place) as provider:
            chunks = await method(provider)(settling.call, _inner(place, request))
            async with aclosing(chunks):
                settling.call.served.by = place.name
                async for chunk in chunks:
                    chunk.model = request.model
                    yield chunk

    async def _stream_of(self, several: Homes, stream: Callable[[Place], AsyncGenerator[Any]]) -> AsyncGenerator[Any]:
        """The chunks of the first home that gives one: from then on there is no other."""

        async def ask(place: Place) -> tuple[Any, AsyncGenerator[Any]]:
            chunks = stream(place)
            return await anext(chunks, None), chunks

        first, chunks = await several.answer(ask)
        async with aclosing(chunks):
            if first is not None:
                yield _telling(several.call, first)
            async for chunk in chunks:
                yield _telling(several.call, chunk)

    async def _stored_stream(
        self, call: Call, request: ChatCompletionRequest, chunks: AsyncIterator[ChatCompletionChunk]
    ) -> AsyncIterator[ChatCompletionChunk]:
        """The chunks, the last of them held back until all have come and are stored."""
        assembler, own_id = Assembler(request.choices), completion_id()
        held: list[ChatCompletionChunk] = []
        async with aclosing(chunks):  # type: ignore[type-var]  # an async generator, which its protocol does not say
            async for chunk in chunks:
                chunk.id = own_id
                assembler.add(chunk)
                if assembler.finished:
                    held.append(chunk)
                elif _is_for(request, chunk):
                    yield chunk
        if completion := assembler.completion():
            await self._store(call, request, own_id, to_json(completion, inf_nan_mode="null"))
        for chunk in held:
            if _is_for(request, chunk):
                yield chunk

    async def _store(self, call: Call, request: ChatCompletionRequest, own_id: str, completion: bytes) -> None:
        row = stored.row(call.principal, request, own_id, completion)
        if request.store:
            await self.flusher.commit(row, row.size)
        else:
            self.flusher.offer(row, row.size)

    async def tokens(self, call: Call, model: str) -> Tokens | None:
        """How an embedding model reads texts, where its tokenizer is here."""
        route = await self.live.admitted(call, model, "embedding")
        place = route.in_order(call.principal.tenant, None)[0]
        async with self.live.pool.use(place.provider) as provider:
            return await provider.tokens(call, place.provider_model_id) if isinstance(provider, Tokenizing) else None

    async def get_models(self, call: Call) -> list[ProviderModel]:
        """Every model the caller may use, under its registered name."""
        models = self.live.snapshot.models_of(call.principal.tenant)
        return [
            ProviderModel.model_validate(
                {"provider_model_id": m.identifier, "model_type": m.model_type, "metadata": dict(m.metadata)}
            )
            for m in models
        ]


def _inner(place: Place, request: Any) -> Any:
    """The request as the provider sees it: under its own id of the model."""
    return request.model_copy(update={"model": place.provider_model_id})


def _telling(call: Call, reply: A) -> A:
    """The reply of one of several homes, or a chunk of it, whose usage says which it was."""
    if reply.usage is not None:
        reply.usage.served_by = call.served.by
    return reply


def _telling_usage(request: Any) -> Any:
    """A stream's request that asks for its usage: we want it, whether or not the client does."""
    if request.wants_usage:
        return request
    options = (request.stream_options or StreamOptions()).model_copy(update={"include_usage": True})
    return request.model_copy(update={"stream_options": options})


def _is_for(request: GenerationRequest, chunk: Any) -> bool:
    """Whether the client shall have a chunk: not one of usage alone that it has not asked for."""
    return bool(chunk.choices) or chunk.usage is None or request.wants_usage


def _may_be_stored(request: GenerationRequest) -> bool:
    return isinstance(request, ChatCompletionRequest) and request.store is not False


def _unstored(request: ChatCompletionRequest) -> ChatCompletionRequest:
    """The request without what is for our store alone: no vendor shall store a second time, or refuse it."""
    inner = request.model_copy(update=dict.fromkeys(FOR_THE_STORE))
    inner.model_fields_set.difference_update(FOR_THE_STORE)  # so that it is not sent as null either
    return inner
