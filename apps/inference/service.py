"""Inference by routing: the model's name says which provider answers."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from apps.access.service import Route
from apps.inference.protocol import ChatReply, CompletionReply
from apps.inference.schemas import (
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    GenerationRequest,
    ProviderModel,
)
from apps.registry.live import Live
from llamastack.call import Call

Operation = Callable[[Any], Any]  # a provider -> its method


class InferenceService:
    """Satisfies `Inference`. The model named in replies is the name the client asked for."""

    def __init__(self, live: Live) -> None:
        self.live = live

    async def post_chat_completion(self, call: Call, request: ChatCompletionRequest) -> ChatReply:
        reply: ChatReply = await self._generated(call, request, lambda provider: provider.post_chat_completion)
        return reply

    async def post_completion(self, call: Call, request: CompletionRequest) -> CompletionReply:
        reply: CompletionReply = await self._generated(call, request, lambda provider: provider.post_completion)
        return reply

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        route = await self.live.admitted(call, request.model, "embedding")
        reply: EmbeddingResponse = await self._whole(call, route, request, lambda provider: provider.post_embedding)
        return reply

    async def _generated(self, call: Call, request: GenerationRequest, operation: Operation) -> Any:
        route = await self.live.admitted(call, request.model, "llm")
        if request.stream:
            return self._stream(call, route, request, operation)
        return await self._whole(call, route, request, operation)

    async def _whole(self, call: Call, route: Route, request: Any, operation: Operation) -> Any:
        async with self.live.pool.use(route.provider) as provider:
            reply = await operation(provider)(call, _inner(route, request))
        reply.model = request.model
        return reply

    async def _stream(self, call: Call, route: Route, request: Any, operation: Operation) -> AsyncIterator[Any]:
        async with self.live.pool.use(route.provider) as provider:
            chunks = await operation(provider)(call, _inner(route, request))
            async with aclosing(chunks):
                async for chunk in chunks:
                    chunk.model = request.model
                    yield chunk

    async def get_models(self, call: Call) -> list[ProviderModel]:
        """Every model the caller may use, under its registered name."""
        models = self.live.snapshot.models_of(call.principal.tenant)
        return [
            ProviderModel.model_validate(
                {"provider_model_id": m.identifier, "model_type": m.model_type, "metadata": dict(m.metadata)}
            )
            for m in models
        ]


def _inner(route: Route, request: Any) -> Any:
    """The request as the provider sees it: under the provider's own id of the model."""
    return request.model_copy(update={"model": route.model.provider_model_id})
