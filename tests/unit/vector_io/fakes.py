"""An index in memory and an embedding model of word counts, as providers of the stack in this process."""

import asyncio
import math
import zlib
from collections.abc import Sequence
from typing import Any

from apps.inference.protocol import Tokens
from apps.inference.schemas import (
    ChatCompletion,
    ChatCompletionRequest,
    Embedding,
    EmbeddingRequest,
    EmbeddingResponse,
    EmbeddingUsage,
    ProviderModel,
    RerankData,
    RerankRequest,
    RerankResponse,
)
from apps.vector_io.protocol import Chunk, Store
from apps.vector_io.testing import FakeVectorIO
from llamastack.apis import Api
from llamastack.call import Call
from llamastack.errors import StackError, Unavailable
from llamastack.providers import Provider, ProviderSpec

HERE = "tests.unit.vector_io.fakes"
DIMENSION = 64
MOST = 120  # tokens that the embedding model reads


class Memory(FakeVectorIO, Provider):
    """`takes` insertions, and is down from then on."""

    def __init__(self, provider_id: str, config: Any, **services: Any) -> None:
        Provider.__init__(self, provider_id, config)
        FakeVectorIO.__init__(self)
        self.takes = math.inf

    async def insert(self, call: Call, store: Store, chunks: Sequence[Chunk]) -> None:
        if self.takes <= 0:
            self.failing = Unavailable("The index is gone.")
        await super().insert(call, store, chunks)
        self.takes -= 1


class Words(Provider):
    """`failing` is raised by every call while it is set; `held` holds embeddings back while it is clear."""

    def __init__(self, provider_id: str, config: Any, **services: Any) -> None:
        super().__init__(provider_id, config)
        self.failing: StackError | None = None
        self.requests: list[Any] = []
        self.data: list[dict[str, Any]] = []  # that came with each request
        self.held = asyncio.Event()
        self.held.set()
        self.says = "About the sky."

    async def tokens(self, call: Call, model: str) -> Tokens:
        return Tokens(model, MOST, spans)

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        self.requests.append(request)
        self.data.append(dict(call.provider_data))
        await self.held.wait()
        if self.failing is not None:
            raise self.failing
        texts = [request.input] if isinstance(request.input, str) else request.input
        data = [Embedding(index=place, embedding=vector(str(text))) for place, text in enumerate(texts)]
        usage = EmbeddingUsage(prompt_tokens=1, total_tokens=1)
        return EmbeddingResponse(data=data, model=request.model, usage=usage)

    async def post_chat_completion(self, call: Call, request: ChatCompletionRequest) -> ChatCompletion:
        self.requests.append(request)
        self.data.append(dict(call.provider_data))
        message = {"role": "assistant", "content": self.says}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return ChatCompletion.model_validate({"id": "c", "created": 1, "model": request.model, "choices": choices})

    async def rerank(self, call: Call, request: RerankRequest) -> RerankResponse:
        """The last item is the best."""
        self.requests.append(request)
        count = len(request.items)
        places = list(reversed(range(count)))[: request.max_num_results]
        return RerankResponse(data=[RerankData(index=place, relevance_score=(place + 1) / count) for place in places])

    async def get_models(self, call: Call) -> list[ProviderModel]:
        return []


def spans(text: str) -> list[tuple[int, int]]:
    found, start = [], 0
    for word in text.split():
        start = text.index(word, start)
        found.append((start, start + len(word)))
        start += len(word)
    return found


def vector(text: str) -> list[float]:
    counts = [0.0] * DIMENSION
    for word in text.lower().replace(".", " ").split():
        counts[zlib.crc32(word.encode()) % DIMENSION] += 1.0
    return counts


PROVIDERS = {
    "inline::memory": ProviderSpec(f"{HERE}.Memory", api=Api.vector_io),
    "inline::words": ProviderSpec(f"{HERE}.Words"),
}
