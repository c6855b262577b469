"""Texts as vectors, in the three ways that Google takes them.

batchEmbedContents, of the Gemini API: https://ai.google.dev/api/embeddings
predict, of Vertex AI: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api
embedContent, of Vertex AI, for its newer models, one text a call; which they are, the official clients decide by the
name: https://github.com/googleapis/go-genai (tIsVertexEmbedContentModel).
"""

import base64
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from apps.inference.dialect import Malformed
from apps.inference.dialect.answers import objects
from apps.inference.providers.remote.google.answers import usage
from apps.inference.providers.remote.translation import JSON, Translation
from apps.inference.providers.unsupported import REMEDY, GeneratesConfig, to_drop
from apps.inference.schemas import EmbeddingRequest
from llamastack.errors import BadRequest, UnsupportedParameter

GEMINI_TEXTS = 100  # in one call, https://ai.google.dev/gemini-api/docs/embeddings
VERTEX_TEXTS = 250
EXTRA = {"task_type": "taskType", "title": "title"}


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


def batches(request: EmbeddingRequest, resource: str) -> Iterator[Embeds]:
    """Calls of batchEmbedContents for all texts."""
    shared = {"model": resource, **_settings(request)}
    for texts in _several(request, GEMINI_TEXTS):
        requests = [{**shared, "content": {"parts": [{"text": text}]}} for text in texts]
        yield Embeds(request, f"{resource}:batchEmbedContents", {"requests": requests}, "embeddings")


def predictions(request: EmbeddingRequest, resource: str) -> Iterator[Embeds]:
    """Calls of predict for all texts; gemini-embedding-001 takes one text a call."""
    most = 1 if "gemini" in resource else VERTEX_TEXTS
    settings = _settings(request)
    dimensions = settings.pop("outputDimensionality", None)
    settings = {{"taskType": "task_type"}.get(name, name): value for name, value in settings.items()}
    parameters = {} if dimensions is None else {"parameters": {"outputDimensionality": dimensions}}
    for texts in _several(request, most):
        body = {"instances": [{"content": text, **settings} for text in texts], **parameters}
        yield Predicts(request, f"{resource}:predict", body, "predictions")


def singles(request: EmbeddingRequest, resource: str) -> Iterator[Embeds]:
    """A call of embedContent for each text."""
    settings = _settings(request)
    for [text] in _several(request, 1):
        body = {"content": {"parts": [{"text": text}]}} | ({"embedContentConfig": settings} if settings else {})
        yield Embeds(request, f"{resource}:embedContent", body, "embedding")


def embeds_one_by_one(name: str) -> bool:
    """Whether Vertex AI serves a model by embedContent, by its name."""
    return ("gemini" in name and name != "gemini-embedding-001") or "maas" in name


def check(request: EmbeddingRequest, upstream: str, config: GeneratesConfig) -> None:
    """Raises UnsupportedParameter for what Google cannot express."""
    named = {name: value for name, value in (request.model_extra or {}).items() if name not in EXTRA}
    refused = [name for name, value in (named | {"user": request.user}).items() if value]
    to_drop([UnsupportedParameter(name, upstream, REMEDY) for name in refused], config)


def _settings(request: EmbeddingRequest) -> JSON:
    extra = request.model_extra or {}
    told = {EXTRA[name]: extra[name] for name in EXTRA if extra.get(name)}
    return told | ({"outputDimensionality": request.dimensions} if request.dimensions is not None else {})


def _several(request: EmbeddingRequest, most: int) -> Iterator[Sequence[str]]:
    texts = [request.input] if isinstance(request.input, str) else request.input
    if not all(isinstance(text, str) for text in texts):
        raise BadRequest("Google takes texts, and no numbers of tokens: send 'input' as text.", param="input")
    for start in range(0, len(texts), most):
        yield texts[start : start + most]  # type: ignore[misc]  # each of them is text, as has just been seen


def answered(request: EmbeddingRequest, vectors: list[list[float]], tokens: int | None) -> JSON:
    """The vectors as OpenAI has them; `encoding_format: base64` is of little-endian float32."""
    shaped = [_as_base64(vector) for vector in vectors] if request.encoding_format == "base64" else vectors
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(shaped)]
    told = {"object": "list", "data": data, "model": request.model}
    return told if tokens is None else told | {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def _as_base64(vector: list[float]) -> str:
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (struct.error, OverflowError) as error:
        raise Malformed("an embedding is not of numbers") from error
