"""Models that are invoked in words of their own: embeddings and reranking.

Formats: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html,
…/model-parameters-embed-v3.html, …/model-parameters-embed-v4.html, …/rerank-supported.html (Amazon's and Cohere's)
"""

import array
import base64
import sys
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, Field

from apps.inference.providers import reranking
from apps.inference.providers.remote.anthropic.lacks import JSON, Lacks
from apps.inference.providers.unsupported import GeneratesConfig, to_drop
from apps.inference.schemas import EmbeddingRequest, RerankRequest
from llamastack.errors import BadRequest, NotSupported

COHERE_TEXTS = 96  # in one request
PURPOSE = "search_document"  # Cohere asks what vectors are for; this is its word for what is searched in
DIMENSIONS = {
    "amazon.titan-embed-text-v1": 1536,
    "amazon.titan-embed-g1-text-02": 1536,
    "amazon.titan-embed-text-v2:0": 1024,
    "cohere.embed-english-v3": 1024,
    "cohere.embed-multilingual-v3": 1024,
    "cohere.embed-v4:0": 1536,
}


class TitanVector(BaseModel):
    embedding: list[float] = Field(min_length=1)
    inputTextTokenCount: int


class CohereVectors(BaseModel):
    """By their type, as is asked for here: `float`."""

    class ByType(BaseModel):
        float: list[list[float]]

    embeddings: ByType


def base(model: str) -> str:
    """A model's id without the region of an inference profile, and without what stands before it in an ARN."""
    name = model.rpartition("/")[2]
    for maker in ("amazon.", "cohere."):
        if (at := name.find(maker)) >= 0:
            return name[at:]
    return name


def dimension(model: str) -> int | None:
    return DIMENSIONS.get(base(model))


def embedding_bodies(request: EmbeddingRequest, upstream: str, config: GeneratesConfig) -> Iterator[JSON]:
    """What is asked for an embedding request, in the order of its inputs: Titan is asked for one text at a time."""
    name, texts, lacks = base(request.model), _texts(request, upstream), Lacks(upstream)
    if request.user:
        lacks.note("user")
    if name.startswith("amazon.titan-embed-text-v2"):
        given = _given(request, lacks, "dimensions", (("normalize", "normalize"),))
        bodies: list[JSON] = [{"inputText": text} | given for text in texts]
    elif name.startswith("amazon.titan-embed"):
        bodies = [{"inputText": text} | _given(request, lacks, None, ()) for text in texts]
    elif name.startswith("cohere.embed"):
        size = None if "-v3" in name else "output_dimension"
        given = _given(request, lacks, size, (("input_type", "input_type"), ("truncate", "truncate")))
        asked: JSON = {"input_type": PURPOSE, "embedding_types": ["float"]} | given
        bodies = [{"texts": texts[at : at + COHERE_TEXTS]} | asked for at in range(0, len(texts), COHERE_TEXTS)]
    else:
        raise NotSupported(
            f"{upstream} makes embeddings with Titan's and Cohere's models, and not with '{request.model}'."
        )
    to_drop(lacks, config)
    return iter(bodies)


def _given(request: EmbeddingRequest, lacks: Lacks, size: str | None, extras: tuple[tuple[str, str], ...]) -> JSON:
    given: JSON = {}
    if request.dimensions is not None and size is None:
        lacks.note("dimensions")
    elif request.dimensions is not None and size is not None:
        given[size] = request.dimensions
    extra = request.model_extra or {}
    lacks.taken(extra, [name for name, _ in extras], "")
    return given | {own: extra[name] for name, own in extras if extra.get(name) is not None}


def _texts(request: EmbeddingRequest, upstream: str) -> list[str]:
    texts = [request.input] if isinstance(request.input, str) else request.input
    if not all(isinstance(text, str) for text in texts):
        raise BadRequest(f"{upstream} takes texts, and no numbers of tokens.", param="input")
    return [str(text) for text in texts]


def written(vector: list[float], encoding: str | None) -> list[float] | str:
    if encoding != "base64":
        return vector
    packed = array.array("f", vector)
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode()


def rerank_body(request: RerankRequest, upstream: str) -> Any:
    """The model is in the path; Cohere's has versions of its API."""
    name = base(request.model)
    if not name.startswith(("amazon.rerank", "cohere.rerank")):
        raise NotSupported(
            f"{upstream} does not rerank with '{request.model}': it does with Amazon's and Cohere's Rerank."
        )
    made = {key: value for key, value in reranking.body(request, upstream, images=False).items() if key != "model"}
    return made | ({"api_version": 2} if name.startswith("cohere.") else {})
