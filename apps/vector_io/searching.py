"""A search: the query's vectors, the index's hits, a reranker, and the files they are of."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from apps.inference.protocol import RoutedInference
from apps.inference.schemas import ChatCompletion, ChatCompletionRequest, RerankRequest
from apps.registry.models import VectorStore
from apps.vector_io import embedding
from apps.vector_io.filters import Filter, parse
from apps.vector_io.indexes import Indexes
from apps.vector_io.models import Status, VectorStoreFile
from apps.vector_io.protocol import Hit, Mode, Query, Vector
from apps.vector_io.ranking import IMPACT_FACTOR, RRF, Ranking, candidates
from apps.vector_io.schemas.search import (
    RankingOptions,
    SearchContent,
    SearchPage,
    SearchRequest,
    SearchResult,
)
from llamastack.call import Call
from llamastack.db import db
from llamastack.errors import BadRequest, StackError, UnsupportedParameter, UpstreamError

DOCUMENT = "doc:"  # before the id of a document whose chunks were inserted without a file
JOINS = ("rrf", "weighted", "normalized")
OURS = ("auto", "default-2024-11-15")
NEURAL = "neural"
MOST_RERANKED = 100
TRIES = 3  # to fill a page, where hits are of files that are not shown
LONGEST_REWRITTEN = 1000
REWRITE = (
    "Write the search query that finds what the user's text asks for in a collection of documents: its key words and "
    "names, spelt out, without politeness or commands. Answer with the query alone."
)


@dataclass(frozen=True)
class Plan:
    """What is searched, and how."""

    queries: Sequence[str]
    mode: Mode
    limit: int
    filter: Filter | None = None
    threshold: float | None = None
    ranking: Ranking = RRF
    reranker: str | None = None
    embeddings: bool = False  # of the hits


class Searching:
    def __init__(self, indexes: Indexes, inference: RoutedInference) -> None:
        self.indexes = indexes
        self.inference = inference

    async def search(self, call: Call, row: VectorStore, request: SearchRequest) -> SearchPage:
        plan = planned(request)
        if request.rewrite_query:
            plan = replace(plan, queries=[await self._rewritten(call, query) for query in plan.queries])
        hits, files = await self.hits(call, row, plan)
        return SearchPage(search_query=list(plan.queries), data=[shown(hit, files) for hit in hits])

    async def hits(self, call: Call, row: VectorStore, plan: Plan) -> tuple[list[Hit], dict[str, VectorStoreFile]]:
        """The best hits of files that have been read whole, and those files by their keys."""
        found = None
        if plan.mode != "keyword":
            found = await embedding.of_query(self.inference, call, row, plan.queries)
        wanted = plan.limit if plan.reranker is None else min(candidates(plan.limit), MOST_RERANKED)
        asked = wanted
        for _ in range(TRIES):
            hits = await self._found(call, row, plan, found, asked)
            attached = {hit.chunk.file_id for hit in hits if _is_attached(hit)}
            files = await db(_files, row.pk, attached) if attached else {}
            kept = [hit for hit in hits if hit.chunk.file_id in files or not _is_attached(hit)]
            if len(kept) >= wanted or len(hits) < asked:
                break
            asked = 4 * asked
        kept = kept[:wanted]
        if plan.reranker is not None and kept:
            kept = await self._reranked(call, plan, plan.reranker, kept)
        return kept, files

    async def _found(
        self, call: Call, row: VectorStore, plan: Plan, vectors: Sequence[Vector] | None, limit: int
    ) -> list[Hit]:
        """The hits of all queries, each chunk once with its best score."""
        threshold = plan.threshold if plan.reranker is None else None
        queries = [
            Query(
                text,
                vectors[place] if vectors else None,
                plan.mode,
                limit,
                plan.filter,
                threshold,
                plan.ranking,
                plan.embeddings,
            )
            for place, text in enumerate(plan.queries)
        ]

        async def ask(query: Query) -> list[Hit]:
            return await self.indexes.asked(call, row, lambda provider, store: provider.query(call, store, query))

        lists = await asyncio.gather(*map(ask, queries))
        best: dict[str, Hit] = {}
        for hit in (hit for hits in lists for hit in hits):
            if hit.chunk.id not in best or best[hit.chunk.id].score < hit.score:
                best[hit.chunk.id] = hit
        return sorted(best.values(), key=lambda hit: (-hit.score, hit.chunk.id))[:limit]

    async def _reranked(self, call: Call, plan: Plan, model: str, hits: Sequence[Hit]) -> list[Hit]:
        request = RerankRequest(model=model, query="\n".join(plan.queries), items=[hit.chunk.content for hit in hits])
        try:
            reply = await self.inference.rerank(call, request)
        except StackError as error:
            error.param = "ranking_options.ranker" if error.param == "model" else error.param
            raise
        if any(item.index >= len(hits) for item in reply.data):
            raise UpstreamError(f"{model} ranked items that it was not given.")
        unbounded = any(not 0 <= item.relevance_score <= 1 for item in reply.data)
        scored = [
            Hit(hits[item.index].chunk, _sigmoid(item.relevance_score) if unbounded else item.relevance_score)
            for item in reply.data
        ]
        return [hit for hit in scored if plan.threshold is None or hit.score >= plan.threshold][: plan.limit]

    async def _rewritten(self, call: Call, query: str) -> str:
        model = embedding.default_model(self.indexes.live.snapshot, call.principal.tenant, "llm")
        if model is None:
            raise BadRequest(
                "No chat model is the default, so no query can be rewritten. Mark one as default in the admin or the "
                "run.yaml, or leave out 'rewrite_query'.",
                param="rewrite_query",
                code="no_default_model",
            )
        messages = [{"role": "system", "content": REWRITE}, {"role": "user", "content": query}]
        request = ChatCompletionRequest.model_validate(
            {"model": model.identifier, "messages": messages, "max_tokens": 200, "temperature": 0, "store": False}
        )
        reply = await self.inference.post_chat_completion(call, request)
        assert isinstance(reply, ChatCompletion)
        said = said_in(reply).strip().strip("\"'`").strip()
        return said[:LONGEST_REWRITTEN] or query


def said_in(reply: ChatCompletion) -> str:
    content = reply.choices[0].message.content if reply.choices else None
    return content if isinstance(content, str) else ""


def planned(request: SearchRequest) -> Plan:
    """Raises BadRequest for what cannot be searched so."""
    options = request.ranking_options or RankingOptions()
    ranker = options.ranker
    reranker = options.model or (ranker if ranker not in (None, "none", NEURAL, *OURS, *JOINS) else None)
    if ranker == NEURAL and reranker is None:
        raise BadRequest("The neural ranker needs a rerank model.", param="ranking_options.model")
    return Plan(
        queries=request.queries,
        mode=_mode(request, ranker),
        limit=request.max_num_results,
        filter=None if request.filters is None else parse(request.filters),
        threshold=options.score_threshold or None,
        ranking=ranking(options),
        reranker=reranker,
    )


def _mode(request: SearchRequest, ranker: str | None) -> Mode:
    if request.search_mode is None:
        return "hybrid" if ranker in (*JOINS, *OURS) else "vector"
    if request.search_mode != "hybrid" and ranker in JOINS:
        raise BadRequest(
            f"'{ranker}' joins the two lists of a hybrid search, and this one is '{request.search_mode}'.",
            param="ranking_options.ranker",
        )
    return request.search_mode


def ranking(options: RankingOptions) -> Ranking:
    weights = options.weights or {}
    if NEURAL in weights:
        raise UnsupportedParameter("ranking_options.weights.neural", "Search", "A rerank model's scores stand alone.")
    vector = weights.get("vector", 0.5 if options.alpha is None else options.alpha)
    keyword = weights.get("keyword", 1 - vector)
    by = options.ranker if options.ranker in JOINS else "rrf"
    return Ranking(by, options.impact_factor or IMPACT_FACTOR, vector, keyword)  # type: ignore[arg-type]  # one of JOINS


def shown(hit: Hit, files: dict[str, VectorStoreFile]) -> SearchResult:
    chunk, file = hit.chunk, files.get(hit.chunk.file_id)
    return SearchResult(
        file_id=file.file_id if file else chunk.file_id.removeprefix(DOCUMENT),
        filename=file.filename if file else chunk.filename,
        score=min(1.0, max(0.0, hit.score)),
        attributes=file.attributes if file else dict(chunk.attributes),
        content=[SearchContent(text=chunk.content)],
        chunk_id=chunk.id,
        page=chunk.page,
    )


def _is_attached(hit: Hit) -> bool:
    return not hit.chunk.file_id.startswith(DOCUMENT)


def _files(store: int, keys: set[str]) -> dict[str, VectorStoreFile]:
    rows = VectorStoreFile.objects.filter(store=store, pk__in=keys, status=Status.completed)
    return {row.id: row for row in rows}


def _sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, score))))
