"""Embeddings of vendors that have a dialect of their own: texts to ask for, and vectors as OpenAI gives them."""

import struct
from base64 import b64encode
from typing import Any

from pydantic import FiniteFloat, TypeAdapter, ValidationError

from apps.inference.schemas import Embedding, EmbeddingRequest, EmbeddingResponse, EmbeddingUsage
from llamastack.errors import UnsupportedParameter, UpstreamError

Vectors: TypeAdapter[list[list[float]]] = TypeAdapter(list[list[FiniteFloat]])
TEXT_ALONE = "It embeds text: send strings in place of token ids."


def texts(request: EmbeddingRequest, upstream: str) -> list[str]:
    """What is to be embedded. Raises UnsupportedParameter for token ids."""
    inputs = [request.input] if isinstance(request.input, str) else request.input
    found = [text for text in inputs if isinstance(text, str)]
    if len(found) != len(inputs):
        raise UnsupportedParameter("input", upstream, TEXT_ALONE)
    return found


def response(request: EmbeddingRequest, vectors: Any, tokens: Any, upstream: str) -> EmbeddingResponse:
    """A vendor's `vectors`, one a text, in the order of the texts. Without a number of `tokens` usage is left out."""
    try:
        read = Vectors.validate_python(vectors)
    except ValidationError as error:
        raise UpstreamError(f"{upstream} sent embeddings that are no lists of numbers.") from error
    if len(read) != (1 if isinstance(request.input, str) else len(request.input)):
        raise UpstreamError(f"{upstream} sent {len(read)} embeddings for another number of texts.")
    data = [Embedding(index=index, embedding=_shaped(vector, request)) for index, vector in enumerate(read)]
    usage = EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens) if isinstance(tokens, int) else None
    return EmbeddingResponse(data=data, model=request.model, usage=usage)


def _shaped(vector: list[float], request: EmbeddingRequest) -> list[float] | str:
    if request.encoding_format != "base64":
        return vector
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
