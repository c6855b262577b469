"""Vector stores over HTTP: parse, call the service, shape the answer."""

from typing import Any

from ninja import Query, Router

from apps.access.service import Request
from apps.vector_io import attached, file_batches, stores
from apps.vector_io.schemas.base import Deleted
from apps.vector_io.schemas.search import SearchPage, SearchRequest
from apps.vector_io.schemas.stores import (
    AttachFile,
    ContentFilter,
    CreateFileBatch,
    CreateVectorStore,
    FileBatchObject,
    FileContentPage,
    FileFilter,
    StoreFilter,
    UpdateFile,
    UpdateVectorStore,
    VectorStoreFileObject,
    VectorStoreObject,
)
from llamastack.bodies import refuse_unknown
from llamastack.db import db
from llamastack.pagination import Page
from llamastack.stack import current

STORE = "/vector_stores/{vector_store_id}"
FILE = STORE + "/files/{file_id}"
BATCH = STORE + "/file_batches/{batch_id}"
router = Router(tags=["vector_io"])


@router.post("/vector_stores", response=VectorStoreObject, summary="Create a vector store")
async def create_vector_store(request: Request, body: CreateVectorStore) -> Any:
    """With files, whose chunks are made from now on. The embedding model is asked how long its vectors are."""
    return await current().vector_io.create(request.auth, body)


@router.get("/vector_stores", response=Page[VectorStoreObject], summary="List vector stores")
async def list_vector_stores(request: Request, paging: Query[StoreFilter]) -> Any:
    """Those of the caller's tenant and those that all share, the newest first."""
    refuse_unknown(request.GET, list(StoreFilter.model_fields))
    return await db(stores.listed, request.auth.principal, paging)


@router.get(STORE, response=VectorStoreObject, summary="Get a vector store")
async def get_vector_store(request: Request, vector_store_id: str) -> Any:
    return await db(stores.got, request.auth.principal, vector_store_id)


@router.post(STORE, response=VectorStoreObject, summary="Change a vector store")
async def update_vector_store(request: Request, vector_store_id: str, body: UpdateVectorStore) -> Any:
    """Its name, metadata and expiry, of which null takes the expiry away. Its days begin anew."""
    return await db(stores.updated, request.auth.principal, vector_store_id, body)


@router.delete(STORE, response=Deleted, summary="Delete a vector store")
async def delete_vector_store(request: Request, vector_store_id: str) -> Any:
    """Nobody finds it any more; its index is removed by a job. The files themselves stay."""
    await current().vector_io.delete(request.auth, vector_store_id)
    return Deleted(id=vector_store_id, object="vector_store.deleted")


@router.post(STORE + "/search", response=SearchPage, summary="Search a vector store")
async def search_vector_store(request: Request, vector_store_id: str, body: SearchRequest) -> Any:
    """The chunks that are nearest to the query, the best one first; an error is an error, and never an empty page."""
    return await current().vector_io.search(request.auth, vector_store_id, body)


@router.post(STORE + "/files", response=VectorStoreFileObject, summary="Attach a file")
async def attach_file(request: Request, vector_store_id: str, body: AttachFile) -> Any:
    """A file that is there, and asked for alike, stays as it is; otherwise, or where it has failed, it is read anew."""
    return await current().vector_io.attach(request.auth, vector_store_id, body)


@router.get(STORE + "/files", response=Page[VectorStoreFileObject], summary="List a vector store's files")
async def list_attached_files(request: Request, vector_store_id: str, paging: Query[FileFilter]) -> Any:
    refuse_unknown(request.GET, list(FileFilter.model_fields))
    return await db(attached.listed, request.auth.principal, vector_store_id, paging)


@router.get(FILE, response=VectorStoreFileObject, summary="Get a vector store's file")
async def get_attached_file(request: Request, vector_store_id: str, file_id: str) -> Any:
    """How it is: `last_error` says why it could not be read."""
    return await db(attached.got, request.auth.principal, vector_store_id, file_id)


@router.post(FILE, response=VectorStoreFileObject, summary="Change a file's attributes")
async def update_attached_file(request: Request, vector_store_id: str, file_id: str, body: UpdateFile) -> Any:
    """All of them: those that are not given are gone."""
    return await current().vector_io.update_file(request.auth, vector_store_id, file_id, body)


@router.delete(FILE, response=Deleted, summary="Detach a file")
async def detach_file(request: Request, vector_store_id: str, file_id: str) -> Any:
    """No search finds it any more; its chunks are removed by a job. The file itself stays."""
    await current().vector_io.detach(request.auth, vector_store_id, file_id)
    return Deleted(id=file_id, object="vector_store.file.deleted")


@router.get(FILE + "/content", response=FileContentPage, summary="Get a file's chunks")
async def get_attached_file_content(
    request: Request, vector_store_id: str, file_id: str, asked: Query[ContentFilter]
) -> Any:
    """Their texts, in the order of the file."""
    refuse_unknown(request.GET, list(ContentFilter.model_fields))
    return await current().vector_io.content(request.auth, vector_store_id, file_id, asked)


@router.post(STORE + "/file_batches", response=FileBatchObject, summary="Attach many files")
async def create_file_batch(request: Request, vector_store_id: str, body: CreateFileBatch) -> Any:
    return await current().vector_io.create_batch(request.auth, vector_store_id, body)


@router.get(BATCH, response=FileBatchObject, summary="Get a file batch")
async def get_file_batch(request: Request, vector_store_id: str, batch_id: str) -> Any:
    """Its counts say what became of its files, also of those that were detached or attached otherwise since then."""
    return await db(file_batches.got, request.auth.principal, vector_store_id, batch_id)


@router.post(BATCH + "/cancel", response=FileBatchObject, summary="Cancel a file batch")
async def cancel_file_batch(request: Request, vector_store_id: str, batch_id: str) -> Any:
    """Its files that have been read stay, and those that were attached otherwise, too, are read."""
    return await db(file_batches.cancelled, request.auth.principal, vector_store_id, batch_id)


@router.get(BATCH + "/files", response=Page[VectorStoreFileObject], summary="List a file batch's files")
async def list_files_of_batch(request: Request, vector_store_id: str, batch_id: str, paging: Query[FileFilter]) -> Any:
    """Those that the store still has, as they are there."""
    refuse_unknown(request.GET, list(FileFilter.model_fields))
    return await db(file_batches.listed, request.auth.principal, vector_store_id, batch_id, paging)
