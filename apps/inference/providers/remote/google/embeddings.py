"""Texts as vectors, in the three ways that Google takes them.

batchEmbedContents, of the Gemini API: https://ai.google.dev/api/embeddings
predict, of Vertex AI: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api
embedContent, of Vertex AI, for its newer models, one text a call; which they are, the official clients decide by the
name: https://github.com/googleapis/go-genai (tIsVertexEmbedContentModel).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from apps.inference.dialect import Malformed
from apps.inference.dialect.answers import objects
from apps.inference.providers import vectors
from apps.inference.providers.remote.google.answers import usage
from apps.inference.providers.remote.translation import JSON, Translation
from apps.inference.providers.unsupported import GeneratesConfig, Lacks, to_drop
from apps.inference.schemas import EmbeddingRequest

GEMINI_TEXTS = 100  # in one call, https://ai.google.dev/gemini-api/docs/embeddings
VERTEX_TEXTS = 250
NAMES = {"task_type": "taskType", "title": "title", "dimensions": "outputDimensionality"}


class Embeds(Translation):
    """Some texts of a request, as one call. `vectors` reads its answer, and `counted` how many tokens they are."""

    def __init__(self, request: EmbeddingRequest, path: str, body: JSON, holds: str) -> None:
        super().__init__(request, path, body)
        self.holds = holds

    def is_reply(self, answer: JSON) -> bool:
        return self.holds in answer

    def vectors(self, answer: JSON) -> list[list[float]]:
        """One for each text."""
        return [_floats(item) for item in objects(answer[self.holds])]

    def counted(self, answer: JSON) -> int | None:
        told = usage(answer.get("usageMetadata"))
        return None if told is None else told["prompt_tokens"]


class Predicts(Embeds):
    def vectors(self, answer: JSON) -> list[list[float]]:
        return [_floats(item.get("embeddings")) for item in objects(answer[self.holds])]

    def counted(self, answer: JSON) -> int | None:
        said = [item["embeddings"].get("statistics") for item in objects(answer[self.holds])]
        counts = [one["token_count"] for one in said if isinstance(one, dict) and _is_number(one.get("token_count"))]
        return int(sum(counts)) if len(counts) == len(said) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _floats(item: Any) -> list[float]:
    values = item.get("values") if isinstance(item, dict) else None
    if not isinstance(values, list):
        raise Malformed("an embedding has no 'values'")
    return values


@dataclass(frozen=True)
class Asked:
    """The texts of a request, and what is asked beside them, by Google's names of it."""

    request: EmbeddingRequest
    texts: Sequence[str]
    settings: JSON

    def parts(self, most: int) -> Iterator[Sequence[str]]:
        return (self.texts[start : start + most] for start in range(0, len(self.texts), most))


def asked(request: EmbeddingRequest, upstream: str, config: GeneratesConfig) -> Asked:
    """Raises UnsupportedParameter for what Google cannot express."""
    lacks = Lacks(upstream)
    settings = lacks.renamed(request, NAMES)
    to_drop(lacks, config)
    return Asked(request, vectors.texts(request, upstream), settings)


def batches(asked: Asked, resource: str) -> Iterator[Embeds]:
    """Calls of batchEmbedContents for all texts."""
    shared = {"model": resource, **asked.settings}
    for texts in asked.parts(GEMINI_TEXTS):
        requests = [{**shared, "content": {"parts": [{"text": text}]}} for text in texts]
        yield Embeds(asked.request, f"{resource}:batchEmbedContents", {"requests": requests}, "embeddings")


def predictions(asked: Asked, resource: str) -> Iterator[Embeds]:
    """Calls of predict for all texts; gemini-embedding-001 takes one text a call."""
    most = 1 if "gemini" in resource else VERTEX_TEXTS
    settings = {{"taskType": "task_type"}.get(name, name): value for name, value in asked.settings.items()}
    dimensions = settings.pop("outputDimensionality", None)
    parameters = {} if dimensions is None else {"parameters": {"outputDimensionality": dimensions}}
    for texts in asked.parts(most):
        body = {"instances": [{"content": text, **settings} for text in texts], **parameters}
        yield Predicts(asked.request, f"{resource}:predict", body, "predictions")


def singles(asked: Asked, resource: str) -> Iterator[Embeds]:
    """A call of embedContent for each text."""
    settings = {"embedContentConfig": asked.settings} if asked.settings else {}
    for text in asked.texts:
        body = {"content": {"parts": [{"text": text}]}} | settings
        yield Embeds(asked.request, f"{resource}:embedContent", body, "embedding")


def embeds_one_by_one(name: str) -> bool:
    """Whether Vertex AI serves a model by embedContent, by its name."""
    return ("gemini" in name and name != "gemini-embedding-001") or "maas" in name
