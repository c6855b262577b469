"""What an inference provider must do; the service that routes to providers does the same."""

from collections.abc import AsyncIterator, Mapping
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
from llamastack.call import Call, Outcome
from llamastack.errors import StackError

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


class Elsewhere(Exception):
    """The fast lane does not answer a request. `tried` are the homes that it has asked, as a Call has them."""

    def __init__(self, tried: Mapping[str, StackError]) -> None:
        self.tried = tried


class FastLane(Protocol):
    """Requests and answers as bytes, where nothing of them needs changing."""

    async def answer(self, call: Call, path: str, body: bytes) -> tuple[bytes, Outcome]:
        """The whole answer to a request that came by no connection of its own, such as a line of a batch.

        A chat is stored where it asks for that, and not where it says nothing. Raises Elsewhere where the service has
        to be asked instead.
        """
        ...
