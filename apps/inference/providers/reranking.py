"""Reranking as Cohere and Jina do it, which servers of the OpenAI dialect speak beside it.

POST {base}/rerank {model, query, documents, top_n} -> {results: [{index, relevance_score}]}

Formats: https://docs.vllm.ai/en/stable/serving/openai_compatible_server/#re-rank-api (vLLM),
https://docs.together.ai/reference/rerank-1 (Together),
https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md (llama.cpp, started with --reranking).
"""

from typing import Any

from pydantic import AliasChoices, BaseModel, Field, FiniteFloat, model_validator

from apps.inference.schemas import ImagePart, RerankData, RerankItem, RerankRequest, RerankResponse
from llamastack.errors import NotSupported, StackError, UnsupportedParameter, UpstreamError, UpstreamRejected

TEXT_ALONE = "It reranks text alone: leave the image out."


class Result(BaseModel):
    index: int = Field(ge=0)
    score: FiniteFloat = Field(validation_alias=AliasChoices("relevance_score", "logit", "score"))


class Results(BaseModel):
    """A ranking, also in the words of NVIDIA (`rankings`, `logit`), Llama Stack (`data`) and TEI (a list, `score`)."""

    results: list[Result] = Field(min_length=1, validation_alias=AliasChoices("results", "rankings", "data"))

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, answer: Any) -> Any:
        return {"results": answer} if isinstance(answer, list) else answer


def body(request: RerankRequest, upstream: str, *, images: bool) -> dict[str, Any]:
    """What is sent, with images as vLLM takes them where the server has `images`.

    Their format: https://docs.vllm.ai/en/stable/examples/pooling/score/
    """
    sent = fields(request)
    if request.max_num_results is not None:
        sent["top_n"] = min(request.max_num_results, len(request.items))
    seen = ImagePart if images else ()
    query: Any = query_text(request, upstream) if not isinstance(request.query, seen) else _parts([request.query])
    if any(isinstance(item, seen) for item in request.items):
        return sent | {"query": query, "documents": _parts(request.items)}
    return sent | {"query": query, "documents": item_texts(request, upstream)}


def fields(request: RerankRequest) -> dict[str, Any]:
    """The model, and what is the vendor's own."""
    return request.model_dump(exclude_unset=True, exclude={"query", "items", "max_num_results"})


def query_text(request: RerankRequest, upstream: str) -> str:
    return _only_text(request.query, "query", upstream)


def item_texts(request: RerankRequest, upstream: str) -> list[str]:
    return [_only_text(item, f"items[{index}]", upstream) for index, item in enumerate(request.items)]


def ranked(found: list[Result], request: RerankRequest, upstream: str) -> RerankResponse:
    """The best results first, and no more than were asked for: not every server sorts them and counts `top_n`."""
    places = {result.index for result in found}
    if len(places) != len(found) or not places <= set(range(len(request.items))):
        raise UpstreamError(f"{upstream} ranked items that it was not given, or one of them twice.")
    best = sorted(found, key=lambda result: (-result.score, result.index))[: request.max_num_results]
    return RerankResponse(data=[RerankData(index=one.index, relevance_score=one.score) for one in best])


def refused(error: UpstreamRejected, upstream: str, model: str) -> StackError:
    """A server that knows no such path says 404, as many do of a model that they lack."""
    if error.status != 404 or error.code == "model_not_found":
        return error
    return NotSupported(f"{upstream} does not rerank with '{model}': there is no /rerank for it. {error.message}")


def _only_text(item: RerankItem, place: str, upstream: str) -> str:
    if isinstance(item, ImagePart):
        raise UnsupportedParameter(f"{place}.image_url", upstream, TEXT_ALONE)
    return item if isinstance(item, str) else item.text


def _parts(items: list[RerankItem]) -> dict[str, Any]:
    """As vLLM takes texts and images together."""
    parts = [
        {"type": "text", "text": item} if isinstance(item, str) else item.model_dump(exclude_unset=True)
        for item in items
    ]
    return {"content": parts}
