"""Llama Stack's own routes: chunks without files, and vector stores by their old name."""

from typing import Any

from django.http import HttpResponse
from ninja import Router

from apps.access.service import Request
from apps.registry.models import VectorStore
from apps.vector_io import stores
from apps.vector_io.schemas.direct import (
    DeleteRequest,
    InsertRequest,
    QueryRequest,
    QueryResponse,
    RegisterVectorDB,
    VectorDB,
    VectorDBs,
)
from apps.vector_io.schemas.stores import CreateVectorStore
from llamastack.call import Principal
from llamastack.db import db
from llamastack.stack import current

VECTOR_DB = "/vector-dbs/{vector_db_id}"
DONE: dict[str, Any] = {"responses": {204: {"description": "Done"}}}
router = Router(tags=["vector_io"])


@router.post("/vector-io/insert", summary="Insert chunks", openapi_extra=DONE)
async def insert_chunks(request: Request, body: InsertRequest) -> HttpResponse:
    """Chunks of no file. Those that bring no embedding are embedded here; one of a known id replaces that."""
    await current().vector_io.insert(request.auth, body)
    return HttpResponse(status=204)


@router.post("/vector-io/query", response=QueryResponse, summary="Query chunks")
async def query_chunks(request: Request, body: QueryRequest) -> Any:
    return await current().vector_io.query(request.auth, body)


@router.post("/vector-io/delete", summary="Delete chunks", openapi_extra=DONE)
async def delete_chunks(request: Request, body: DeleteRequest) -> HttpResponse:
    """Those that there are of these ids."""
    await current().vector_io.delete_chunks(request.auth, body)
    return HttpResponse(status=204)


@router.get("/vector-dbs", response=VectorDBs, summary="List vector databases")
async def list_vector_dbs(request: Request) -> Any:
    """Vector stores, as llama-stack-client 0.2 knows them."""
    return await db(_listed, request.auth.principal)


@router.post("/vector-dbs", response=VectorDB, summary="Register a vector database")
async def register_vector_db(request: Request, body: RegisterVectorDB) -> Any:
    """A vector store of an id of the caller's choice."""
    wanted = CreateVectorStore(
        name=body.vector_db_name or body.vector_db_id,
        embedding_model=body.embedding_model,
        embedding_dimension=body.embedding_dimension,
        provider_id=body.provider_id,
    )
    await current().vector_io.create(request.auth, wanted, body.vector_db_id)
    return await db(_got, request.auth.principal, body.vector_db_id)


@router.get(VECTOR_DB, response=VectorDB, summary="Get a vector database")
async def get_vector_db(request: Request, vector_db_id: str) -> Any:
    return await db(_got, request.auth.principal, vector_db_id)


@router.delete(VECTOR_DB, summary="Unregister a vector database", openapi_extra=DONE)
async def unregister_vector_db(request: Request, vector_db_id: str) -> HttpResponse:
    await current().vector_io.delete(request.auth, vector_db_id)
    return HttpResponse(status=204)


def _listed(principal: Principal) -> VectorDBs:
    rows = VectorStore.objects.visible_to(principal).filter(gone=False)
    return VectorDBs(data=[_shown(row) for row in rows])


def _got(principal: Principal, identifier: str) -> VectorDB:
    return _shown(stores.found(principal, identifier))


def _shown(row: VectorStore) -> VectorDB:
    return VectorDB(
        identifier=row.identifier,
        provider_id=row.provider_id,
        provider_resource_id=row.key,
        embedding_model=row.embedding_model,
        embedding_dimension=row.embedding_dimension,
        owner=row.owner,
    )
