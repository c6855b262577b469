"""Models that are invoked in words of their own: embeddings and reranking.

Formats: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html,
…/model-parameters-embed-v3.html, …/model-parameters-embed-v4.html, …/rerank-supported.html (Amazon's and Cohere's)
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, Field

from apps.inference.providers import reranking, vectors
from apps.inference.providers.unsupported import JSON, GeneratesConfig, Lacks, to_drop
from apps.inference.schemas import EmbeddingRequest, RerankRequest
from llamastack.errors import NotSupported

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
OF_COHERE = {"input_type": "input_type", "truncate": "truncate"}
# By how a model's name begins: which fields of a request it takes, each by its name there. The first that fits.
KNOWN: Mapping[str, Mapping[str, str]] = {
    "amazon.titan-embed-text-v2": {"dimensions": "dimensions", "normalize": "normalize"},
    "amazon.titan-embed": {},
    "cohere.embed-english-v3": OF_COHERE,
    "cohere.embed-multilingual-v3": OF_COHERE,
    "cohere.embed": {**OF_COHERE, "dimensions": "output_dimension"},
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
    name, texts, lacks = base(request.model), vectors.texts(request, upstream), Lacks(upstream)
    known = next((known for start, known in KNOWN.items() if name.startswith(start)), None)
    if known is None:
        raise NotSupported(
            f"{upstream} makes embeddings with Titan's and Cohere's models, and not with '{request.model}'."
        )
    given = lacks.renamed(request, known)
    to_drop(lacks, config)
    if name.startswith("amazon."):
        return ({"inputText": text} | given for text in texts)
    asked: JSON = {"input_type": PURPOSE, "embedding_types": ["float"]} | given
    return ({"texts": texts[at : at + COHERE_TEXTS]} | asked for at in range(0, len(texts), COHERE_TEXTS))


def rerank_body(request: RerankRequest, upstream: str) -> Any:
    """The model is in the path; Cohere's has versions of its API."""
    name = base(request.model)
    if not name.startswith(("amazon.rerank", "cohere.rerank")):
        raise NotSupported(
            f"{upstream} does not rerank with '{request.model}': it does with Amazon's and Cohere's Rerank."
        )
    made = {key: value for key, value in reranking.body(request, upstream, images=False).items() if key != "model"}
    return made | ({"api_version": 2} if name.startswith("cohere.") else {})
