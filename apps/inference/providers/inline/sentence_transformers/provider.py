"""Embedding models on this machine, run by this server itself."""

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from apps.inference.local_models import installed, resolve
from apps.inference.protocol import ChatReply, CompletionReply, Tokens
from apps.inference.providers.inline.loads import Loads
from apps.inference.schemas import (
    ChatCompletionRequest,
    CompletionRequest,
    Embedding,
    EmbeddingRequest,
    EmbeddingResponse,
    EmbeddingUsage,
    ProviderModel,
    RerankRequest,
    RerankResponse,
)
from llamastack.call import Call
from llamastack.errors import BadRequest, NotFound, NotSupported, UnsupportedParameter
from llamastack.providers import Health, Provider, ProviderConfig

if TYPE_CHECKING:
    from apps.inference.providers.inline.sentence_transformers.embedder import Embedder
    from apps.inference.providers.inline.sentence_transformers.encoder import Encoder, Vectors

PROVIDER = "inline::sentence-transformers"
TRUNCATION = "text_truncation"  # Llama Stack's own field: `none`, `start` or `end`


class SentenceTransformersConfig(ProviderConfig):
    """`model` is loaded at start; without it, models load when they are first asked for."""

    trust_remote_code: bool = Field(False, description="Must stay false")
    model: str | None = Field(None, description="A name in the models folder, or the path of a folder")
    dtype: Literal["auto", "bfloat16", "float32"] = Field("auto", description="auto: bfloat16 where it is native")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gather_window_ms: float = Field(2, ge=0, le=1000, description="How long an idle model waits for company")
    max_batch: int = Field(64, ge=1, le=1024, description="Sentences in one forward call")

    @field_validator("trust_remote_code")
    @classmethod
    def _never(cls, trust: bool) -> bool:
        if trust:
            raise ValueError(
                "a model's own code would run with the server's rights: convert it to a known architecture"
            )
        return trust

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"model": "sentence-transformers/all-MiniLM-L6-v2"}


class SentenceTransformers(Provider):
    """One embedder a model; requests that come within the window share its batches."""

    config_class = SentenceTransformersConfig
    config: SentenceTransformersConfig

    def __init__(self, provider_id: str, config: Any, **services: Any) -> None:
        super().__init__(provider_id, config, **services)
        self._loads: Loads[Embedder] = Loads(self._load)

    async def start(self) -> None:
        if self.config.model:
            await self._loads.get(self.config.model)

    async def stop(self) -> None:
        for embedder in await self._loads.take_all():
            await asyncio.to_thread(embedder.stop)

    async def health(self) -> Health:
        return self._loads.health(self.config.model)

    async def post_embedding(self, call: Call, request: EmbeddingRequest) -> EmbeddingResponse:
        truncation = _truncation(request)
        if self.config.model and request.model != self.config.model:
            raise NotFound(f"This provider serves '{self.config.model}' and no '{request.model}'.", param="model")
        embedder = await self._loads.get(request.model)
        _require_dimensions(embedder.encoder, request)
        inputs = _fitted(embedder.encoder, await _tokens(embedder.encoder, request), truncation)
        vectors = _shortened(await embedder.embed(inputs), request.dimensions)
        count = sum(map(len, inputs))
        return EmbeddingResponse(
            data=_shaped(vectors, request),
            model=request.model,
            usage=EmbeddingUsage(prompt_tokens=count, total_tokens=count),
        )

    async def tokens(self, call: Call, model: str) -> Tokens:
        """Satisfies `Tokenizing`."""
        encoder = (await self._loads.get(model)).encoder
        return Tokens(model, encoder.room, encoder.spans)

    async def post_chat_completion(self, call: Call, request: ChatCompletionRequest) -> ChatReply:
        raise NotSupported(f"{PROVIDER} does not chat; use a model of another provider.")

    async def post_completion(self, call: Call, request: CompletionRequest) -> CompletionReply:
        raise NotSupported(f"{PROVIDER} does not complete text; use a model of another provider.")

    async def rerank(self, call: Call, request: RerankRequest) -> RerankResponse:
        raise NotSupported(f"{PROVIDER} does not rerank; use a model of another provider.")

    async def get_models(self, call: Call) -> list[ProviderModel]:
        return await asyncio.to_thread(self._models)

    def _models(self) -> list[ProviderModel]:
        names = [model.name for model in installed() if model.type == "embedding"]
        if self.config.model:
            names = [self.config.model]
        return [
            ProviderModel(provider_model_id=name, model_type="embedding", metadata=_metadata(resolve(name)))
            for name in names
        ]

    def _load(self, name: str) -> "Embedder":
        from apps.inference.providers.inline.sentence_transformers.embedder import Embedder
        from apps.inference.providers.inline.sentence_transformers.encoder import Encoder

        encoder = Encoder(resolve(name), device=self.config.device, dtype=self.config.dtype)
        embedder = Embedder(encoder, max_batch=self.config.max_batch, window=self.config.gather_window_ms / 1000)
        embedder.start()
        return embedder


def _metadata(folder: Path) -> dict[str, int]:
    """The figures a client asks for, read without loading the model."""
    settings = json.loads((folder / "config.json").read_text())
    sentence = folder / "sentence_bert_config.json"
    longest = json.loads(sentence.read_text()).get("max_seq_length") if sentence.is_file() else None
    return {
        "embedding_dimension": settings["hidden_size"],
        "context_length": longest or settings["max_position_embeddings"],
    }


# --- the request ---


def _truncation(request: EmbeddingRequest) -> str | None:
    """Which end of too long a text is cut off: None means an error, as with OpenAI."""
    extra = {name: value for name, value in (request.model_extra or {}).items() if value is not None}
    value = extra.pop(TRUNCATION, "none")
    if extra:
        raise UnsupportedParameter(next(iter(extra)), PROVIDER)
    if value not in ("none", "start", "end"):
        raise BadRequest(f"'{TRUNCATION}' must be 'none', 'start' or 'end'.", param=TRUNCATION)
    return None if value == "none" else str(value)


def _require_dimensions(encoder: "Encoder", request: EmbeddingRequest) -> None:
    """Cutting a vector short is sound only where the model was trained for it (Matryoshka); else it only looks so."""
    wanted = request.dimensions
    if wanted is None or wanted == encoder.dimension:
        return
    if wanted > encoder.dimension or not encoder.matryoshka(wanted):
        raise BadRequest(
            f"{request.model} has {encoder.dimension} dimensions and was not trained to be cut to {wanted}.",
            param="dimensions",
        )


async def _tokens(encoder: "Encoder", request: EmbeddingRequest) -> list[list[int]]:
    """Every input as token ids, special tokens included."""
    inputs = [request.input] if isinstance(request.input, str) else request.input
    texts = [item for item in inputs if isinstance(item, str)]
    if texts:
        if "" in texts:
            raise BadRequest("An input is an empty string.", param="input")
        return await asyncio.to_thread(encoder.tokenize, texts)
    numbers = [item for item in inputs if isinstance(item, int)]
    given = [numbers] if numbers else [item for item in inputs if isinstance(item, list)]
    if (largest := max(map(max, given))) >= encoder.vocabulary:
        raise BadRequest(f"Token {largest} is none: the model has {encoder.vocabulary} tokens.", param="input")
    return [encoder.framed(tokens) for tokens in given]


def _fitted(encoder: "Encoder", inputs: list[list[int]], truncation: str | None) -> list[list[int]]:
    for place, tokens in enumerate(inputs):
        if len(tokens) > encoder.context and truncation is None:
            raise BadRequest(
                f"Input {place} has {len(tokens)} tokens; the model reads {encoder.context}. "
                f"Shorten it, or set '{TRUNCATION}' to 'end' or 'start'.",
                param="input",
                code="context_length_exceeded",
            )
    return [encoder.cut(t, truncation) if truncation and len(t) > encoder.context else t for t in inputs]


# --- the reply ---


def _shortened(vectors: "Vectors", dimensions: int | None) -> "Vectors":
    """The first `dimensions` of each vector, at length 1 again."""
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    shorter = vectors[:, :dimensions]
    lengths = (shorter**2).sum(axis=1, keepdims=True) ** 0.5
    cut: Vectors = shorter / lengths.clip(min=1e-12)
    return cut


def _shaped(vectors: "Vectors", request: EmbeddingRequest) -> list[Embedding]:
    """Lists of floats, or base64 of little-endian float32, which is what the official client asks for."""
    shaped: Sequence[str | list[float]]
    if request.encoding_format == "base64":
        shaped = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors]
    else:
        shaped = vectors.tolist()
    return [Embedding(index=index, embedding=vector) for index, vector in enumerate(shaped)]
