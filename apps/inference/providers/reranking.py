"""Reranking as Cohere and Jina do it, which servers of the OpenAI dialect speak beside it.

POST {base}/rerank {model, query, documents, top_n} -> {results: [{index, relevance_score}]}

Formats: https://docs.vllm.ai/en/stable/serving/openai_compatible_server/#re-rank-api (vLLM),
https://docs.together.ai/reference/rerank-1 (Together),
https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md (llama.cpp, started with --reranking).
"""

from typing import Any

from pydantic import AliasChoices, BaseModel, Field

from apps.inference.schemas import ImagePart, RerankData, RerankItem, RerankRequest, RerankResponse
from llamastack.errors import NotSupported, StackError, UnsupportedParameter, UpstreamError, UpstreamRejected

TEXT_ALONE = "It reranks text alone: leave the image out."


class Results(BaseModel):
    """`data` is what Llama Stack calls them."""

    results: list[RerankData] = Field(validation_alias=AliasChoices("results", "data"))


def body(request: RerankRequest, upstream: str, *, images: bool) -> dict[str, Any]:
    """What is sent, with images as vLLM takes them where the server has `images`.

    Their format: https://docs.vllm.ai/en/stable/examples/pooling/score/
    """
    sent = fields(request)
    if request.max_num_results is not None:
        sent["top_n"] = min(request.max_num_results, len(request.items))
    query: Any = {"content": [_part(request.query)]}
    documents: Any = {"content": [_part(item) for item in request.items]}
    if not (images and isinstance(request.query, ImagePart)):
        query = query_text(request, upstream)
    if not (images and any(isinstance(item, ImagePart) for item in request.items)):
        documents = item_texts(request, upstream)
    return sent | {"query": query, "documents": documents}


def fields(request: RerankRequest) -> dict[str, Any]:
    """The model, and what is the vendor's own."""
    return request.model_dump(exclude_unset=True, exclude={"query", "items", "max_num_results"})


def query_text(request: RerankRequest, upstream: str) -> str:
    return _only_text(request.query, "query", upstream)


def item_texts(request: RerankRequest, upstream: str) -> list[str]:
    return [_only_text(item, f"items[{index}]", upstream) for index, item in enumerate(request.items)]


def ranked(found: list[RerankData], request: RerankRequest, upstream: str) -> RerankResponse:
    """The best results first, and no more than were asked for: not every server sorts them and counts `top_n`."""
    places = {result.index for result in found}
    if len(places) != len(found) or not places <= set(range(len(request.items))):
        raise UpstreamError(f"{upstream} ranked items that it was not given, or one of them twice.")
    best = sorted(found, key=lambda result: (-result.relevance_score, result.index))
    return RerankResponse(data=best[: request.max_num_results])


def refused(error: UpstreamRejected, upstream: str, model: str) -> StackError:
    """A server that knows no such path says 404, as many do of a model that they lack."""
    if error.status != 404 or error.code == "model_not_found":
        return error
    return NotSupported(f"{upstream} does not rerank with '{model}': there is no /rerank for it. {error.message}")


def _only_text(item: RerankItem, place: str, upstream: str) -> str:
    if isinstance(item, ImagePart):
        raise UnsupportedParameter(f"{place}.image_url", upstream, TEXT_ALONE)
    return item if isinstance(item, str) else item.text


def _part(item: RerankItem) -> dict[str, Any]:
    return {"type": "text", "text": item} if isinstance(item, str) else item.model_dump(exclude_unset=True)
