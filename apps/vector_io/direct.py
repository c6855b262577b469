"""Chunks that are inserted, found and deleted without files: Llama Stack's own API."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from apps.file_processors.chunking import TextChunk, chunk_id
from apps.inference.protocol import RoutedInference
from apps.registry.models import VectorStore
from apps.vector_io import embedding
from apps.vector_io.filters import Attributes, parse
from apps.vector_io.indexes import Indexes
from apps.vector_io.models import VectorStoreFile
from apps.vector_io.protocol import Chunk, Hit
from apps.vector_io.schemas.base import Key, Scalar
from apps.vector_io.schemas.direct import (
    DeleteRequest,
    FoundChunk,
    GivenChunk,
    InsertRequest,
    QueryParams,
    QueryRequest,
    QueryResponse,
    Ranker,
    RankerParams,
    text_of,
)
from apps.vector_io.schemas.search import RankingOptions
from apps.vector_io.searching import DOCUMENT, Plan, Searching, ranking
from llamastack.call import Call
from llamastack.errors import BadRequest, NotFound, UnsupportedParameter

ATTRIBUTE: TypeAdapter[tuple[str, Any]] = TypeAdapter(tuple[Key, Scalar])
EMBEDDED = 128
TOO_LONG = "A chunk's content is longer than {} reads at once. Divide it."


async def insert(
    indexes: Indexes, inference: RoutedInference, call: Call, row: VectorStore, request: InsertRequest
) -> None:
    if request.ttl_seconds is not None:
        raise UnsupportedParameter("ttl_seconds", "This server", "Delete the chunks when they are not needed any more.")
    for place, given in enumerate(request.chunks):
        _check(row, given, f"chunks[{place}]")
    vectors = await _vectors(inference, call, row, request.chunks)
    chunks = [_chunk(row, given, vector) for given, vector in zip(request.chunks, vectors, strict=True)]
    await indexes.asked(call, row, lambda provider, store: provider.insert(call, store, chunks), inserts=True)


def _check(row: VectorStore, given: GivenChunk, param: str) -> None:
    if given.embedding_model not in (None, row.embedding_model):
        raise BadRequest(
            f"The chunk's vector is of '{given.embedding_model}', and this vector store's are of "
            f"'{row.embedding_model}'. Leave its embedding out, and it is made here.",
            param=f"{param}.embedding_model",
        )
    length = len(given.embedding) if given.embedding is not None else given.embedding_dimension
    if length not in (None, row.embedding_dimension):
        raise BadRequest(
            f"The chunk's vector has {length} numbers, and those of this vector store have {row.embedding_dimension}.",
            param=f"{param}.embedding",
            code="invalid_dimension",
        )


async def _vectors(inference: RoutedInference, call: Call, row: VectorStore, given: list[GivenChunk]) -> list[Any]:
    """Those that are given, and the others made."""
    import numpy

    found = [None if one.embedding is None else numpy.asarray(one.embedding, numpy.float32) for one in given]
    missing = [place for place, vector in enumerate(found) if vector is None]
    for start in range(0, len(missing), EMBEDDED):
        places = missing[start : start + EMBEDDED]
        texts = [text_of(given[place].content) for place in places]
        vectors = await _embedded(inference, call, row, texts)
        for place, vector in zip(places, vectors, strict=True):
            found[place] = vector
    return found


async def _embedded(inference: RoutedInference, call: Call, row: VectorStore, texts: list[str]) -> list[Any]:
    try:
        return await embedding.vectors(inference, call, row.embedding_model, texts, row.dimensions)
    except NotFound as error:
        raise embedding.gone(row) from error
    except BadRequest as error:
        if error.code != embedding.CONTEXT_LENGTH:
            raise
        raise BadRequest(TOO_LONG.format(row.embedding_model), param="chunks", code=error.code) from error


def _chunk(row: VectorStore, given: GivenChunk, vector: Any) -> Chunk:
    text = text_of(given.content)
    told = given.chunk_metadata.model_dump(exclude_none=True) if given.chunk_metadata else {}
    own = given.chunk_id or told.get("chunk_id") or chunk_id(given.document_id, TextChunk(text, None, 0, 0))
    return Chunk(
        own,
        text,
        file_id=DOCUMENT + given.document_id,
        filename=str(told.get("source") or "")[:255],
        attributes=attributes(given.metadata),
        metadata={"metadata": given.metadata, "chunk_metadata": told},
        embedding=vector,
    )


def attributes(metadata: dict[str, Any]) -> Attributes:
    """What of it filters can read."""
    kept = {}
    for item in metadata.items():
        try:
            name, value = ATTRIBUTE.validate_python(item)
        except ValidationError:
            continue
        kept[name] = value
    return kept


async def query(searching: Searching, call: Call, row: VectorStore, request: QueryRequest) -> QueryResponse:
    params = request.params or QueryParams()
    plan = Plan(
        queries=[text_of(request.query)],
        mode=params.mode,
        limit=params.max_chunks,
        filter=None if params.filters is None else parse(params.filters, "params.filters"),
        threshold=params.score_threshold,
        ranking=ranking(_options(params)),
        embeddings=True,
    )
    hits, files = await searching.hits(call, row, plan)
    return QueryResponse(chunks=[_found(row, hit, files) for hit in hits], scores=[hit.score for hit in hits])


def _options(params: QueryParams) -> RankingOptions:
    ranker = params.ranker or params.reranker_type
    if isinstance(ranker, Ranker):
        return RankingOptions(ranker=ranker.type, alpha=ranker.alpha, impact_factor=ranker.impact_factor)
    given = params.reranker_params or RankerParams()
    return RankingOptions(ranker=ranker, alpha=given.alpha, impact_factor=given.impact_factor)


def _found(row: VectorStore, hit: Hit, files: dict[str, VectorStoreFile]) -> FoundChunk:
    chunk, file = hit.chunk, files.get(hit.chunk.file_id)
    if file is None:
        metadata = dict(chunk.metadata.get("metadata", {}))
        told = {"document_id": chunk.file_id.removeprefix(DOCUMENT)} | chunk.metadata.get("chunk_metadata", {})
    else:
        metadata = {"document_id": file.file_id, "filename": file.filename, "page": chunk.page, **file.attributes}
        told = {"document_id": file.file_id, "source": file.filename}
        told |= {
            "content_token_count": chunk.metadata.get("tokens"),
            "chunk_tokenizer": chunk.metadata.get("tokenizer"),
        }
    return FoundChunk(
        content=chunk.content,
        chunk_id=chunk.id,
        metadata=metadata,
        chunk_metadata=told | {"chunk_id": chunk.id},
        stored_chunk_id=chunk.id,
        embedding=[] if chunk.embedding is None else chunk.embedding.tolist(),
        embedding_model=row.embedding_model,
        embedding_dimension=row.embedding_dimension,
    )


async def delete(indexes: Indexes, call: Call, row: VectorStore, request: DeleteRequest) -> None:
    ids = [chunk.chunk_id for chunk in request.chunks]
    await indexes.asked(call, row, lambda provider, store: provider.delete(call, store, chunk_ids=ids))
