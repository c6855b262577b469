"""What an inference provider must do; the service that routes to providers does the same."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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


@dataclass(frozen=True)
class Tokens:
    """How an embedding model reads texts. `most` is how many tokens of a caller's one text may have.

    `spans` says where each token begins and ends in a text. It blocks: call it in a thread.
    """

    name: str
    most: int
    spans: Callable[[str], Sequence[tuple[int, int]]]


@runtime_checkable
class Tokenizing(Protocol):
    """A provider whose models' tokenizers are here."""

    async def tokens(self, call: Call, model: str) -> Tokens: ...


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


class RoutedInference(Inference, Protocol):
    """The service."""

    async def tokens(self, call: Call, model: str) -> Tokens | None:
        """How an embedding model reads texts, where its tokenizer is here."""
        ...
