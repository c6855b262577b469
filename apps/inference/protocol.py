"""What an inference provider must do; the service that routes to providers does the same."""

from collections.abc import AsyncIterator
from typing import Protocol

from apps.inference.schemas import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Completion,
    CompletionChunk,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    ProviderModel,
    RerankRequest,
    RerankResponse,
)
from llamastack.call import Call

ChatReply = ChatCompletion | AsyncIterator[ChatCompletionChunk]
CompletionReply = Completion | AsyncIterator[CompletionChunk]


class Inference(Protocol):
    """A provider sees `request.model` as its own id of the model (provider_model_id).

    Every method raises StackErrors: UnsupportedParameter for what the provider cannot honour, NotSupported for an
    operation it lacks, UpstreamError and UpstreamTimeout for another server's failures.
    """

    async def post_chat_completion(self, call: Call, request: ChatCompletionRequest) -> ChatReply:
        """A whole completion, or with `request.stream` an iterator of chunks.

        The iterator ends with a chunk of empty `choices` that carries usage, if `request.wants_usage`. Closing it
        (`aclose`) stops the generation within one token.
        """
        ...

    async def post_completion(self, call: Call, request: CompletionRequest) -> CompletionReply:
        """Every prompt continued `request.choices` times, under the index `prompt * choices + choice`.

        Whole or streamed, as a chat completion is.
        """
        ...

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        """One vector an input, in the order of the inputs; usage counts the tokens that were embedded."""
        ...

    async def rerank(self, call: Call, request: RerankRequest) -> RerankResponse:
        """The most relevant items, at most `max_num_results`, the best one first; equals keep their order."""
        ...

    async def get_models(self, call: Call) -> list[ProviderModel]:
        """What the provider serves now, asked of it afresh."""
        ...
