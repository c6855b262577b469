"""Texts become vectors of a store's own model, and the model is asked how it reads them."""

from collections.abc import Sequence
from typing import Any

from apps.file_processors.chunking import Rough, Strategy, Tokenizer
from apps.inference.protocol import RoutedInference, Tokens
from apps.inference.schemas import EmbeddingRequest
from apps.registry.models import VectorStore
from apps.vector_io.protocol import Vector
from llamastack.call import Call
from llamastack.errors import BadRequest, NotFound, Unavailable, UpstreamError
from llamastack.model_facts import facts_in
from llamastack.snapshot import ModelRecord, Snapshot

PROBE = "How long are your vectors?"
MARGIN = 0.75  # of what a model reads, where its tokens are counted roughly
SMALLEST = 16
EMBEDDING = "embedding"
CONTEXT_LENGTH = "context_length_exceeded"
TOO_LONG = "The query is longer than {} reads at once. Shorten it."


def default_model(snapshot: Snapshot, tenant: str, kind: str) -> ModelRecord | None:
    """The model of this type that is the default, or the only one."""
    models = [model for model in snapshot.models_of(tenant) if model.model_type == kind]
    marked = [model for model in models if model.default]
    if marked:
        return min(marked, key=lambda model: model.tenant != tenant)
    return models[0] if len(models) == 1 and kind == EMBEDDING else None


async def vectors(
    inference: RoutedInference, call: Call, model: str, texts: Sequence[str], dimensions: int | None
) -> "list[Vector]":
    """One vector a text, in their order."""
    import numpy

    request = EmbeddingRequest(model=model, input=list(texts), dimensions=dimensions)
    reply = await inference.post_embedding(call, request)
    if len(reply.data) != len(texts):
        raise UpstreamError(f"{model} answered {len(reply.data)} vectors for {len(texts)} texts.")
    rows = sorted(reply.data, key=lambda item: item.index)
    return [decoded(numpy, row.embedding) for row in rows]


def decoded(numpy: Any, embedding: list[float] | str) -> Vector:
    if isinstance(embedding, str):
        import base64

        embedding = numpy.frombuffer(base64.b64decode(embedding), dtype="<f4")
    vector: Vector = numpy.asarray(embedding, dtype=numpy.float32)
    return vector


async def length(inference: RoutedInference, call: Call, model: ModelRecord, wanted: int | None) -> int:
    """How long the model's vectors are: it is asked. Raises BadRequest where it gives none of the length `wanted`."""
    stated = model.metadata.get("embedding_dimension")
    asked = wanted if wanted is not None and wanted != stated else None
    try:
        found = await vectors(inference, call, model.identifier, [PROBE], asked)
    except BadRequest as error:
        if asked is None:
            raise
        raise BadRequest(
            f"{model.identifier} gives no vectors of {wanted} numbers: {error.message}", param="embedding_dimension"
        ) from error
    dimension = len(found[0])
    if wanted is not None and dimension != wanted:
        raise BadRequest(
            f"{model.identifier} gives vectors of {dimension} numbers, not {wanted}.", param="embedding_dimension"
        )
    return dimension


async def of_query(inference: RoutedInference, call: Call, row: VectorStore, queries: Sequence[str]) -> "list[Vector]":
    """The vectors of what is searched for."""
    try:
        return await vectors(inference, call, row.embedding_model, queries, row.dimensions)
    except NotFound as error:
        raise gone(row) from error
    except BadRequest as error:
        message = TOO_LONG.format(row.embedding_model) if error.code == CONTEXT_LENGTH else error.message
        raise BadRequest(message, param="query", code=error.code) from error


def gone(row: VectorStore) -> Unavailable:
    return Unavailable(
        f"The vector store's embedding model '{row.embedding_model}' is not registered any more. Register it again."
    )


class Own:
    """The model's own tokenizer. Satisfies `Tokenizer`."""

    def __init__(self, tokens: Tokens) -> None:
        self.name = tokens.name
        self.spans = tokens.spans


async def reading(inference: RoutedInference, call: Call, model: ModelRecord) -> tuple[Tokenizer, int | None]:
    """The tokenizer of an embedding model, and how many of its tokens it reads: None where nobody says."""
    tokens = await inference.tokens(call, model.identifier)
    if tokens is not None:
        return Own(tokens), tokens.most
    context = facts_in(model.metadata).context_length
    return Rough(), None if context is None else max(SMALLEST, int(context * MARGIN))


def fitted(strategy: Strategy, most: int | None) -> Strategy:
    """As much of the strategy as the embedding model reads."""
    if most is None or strategy.size <= most:
        return strategy
    return Strategy(most, min(strategy.overlap, most // 2))
