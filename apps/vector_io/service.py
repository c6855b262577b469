"""Vector stores: rows in the database, chunks at a provider. A file's chunks are made by a job (jobs.py)."""

from collections.abc import Sequence

from apps.files.protocol import Files
from apps.files.schemas import FileObject
from apps.inference.protocol import RoutedInference
from apps.registry.kept import refuse_unkept, without_unkept
from apps.registry.live import Live
from apps.registry.models import VectorStore
from apps.vector_io import attached, direct, embedding, file_batches, stores
from apps.vector_io.indexes import Indexes
from apps.vector_io.models import VectorStoreFile
from apps.vector_io.protocol import Chunk, Store, VectorIO
from apps.vector_io.reading import SAYS, chat_model, too_long
from apps.vector_io.schemas.base import Contextual, Static
from apps.vector_io.schemas.direct import DeleteRequest, InsertRequest, QueryRequest, QueryResponse
from apps.vector_io.schemas.search import SearchPage, SearchRequest
from apps.vector_io.schemas.stores import (
    AttachFile,
    ContentFilter,
    CreateFileBatch,
    CreateVectorStore,
    FileBatchObject,
    FileContent,
    FileContentPage,
    UpdateFile,
    VectorStoreFileObject,
    VectorStoreObject,
    attaching,
)
from apps.vector_io.searching import Searching
from llamastack import settings
from llamastack.call import Call
from llamastack.db import db
from llamastack.errors import BadRequest, Conflict, NotFound
from llamastack.snapshot import ModelRecord

READ = 500  # chunks at once
KEEPS = "Files are read later, and vector stores keep"
NOT_READ = "file_not_completed"


class VectorIOService:
    def __init__(self, live: Live, files: Files, inference: RoutedInference) -> None:
        self.live = live
        self.files = files
        self.inference = inference
        self.indexes = Indexes(live, settings.VECTOR_PROVIDER)
        self.searching = Searching(self.indexes, inference)

    # --- stores ---

    async def create(self, call: Call, request: CreateVectorStore, identifier: str | None = None) -> VectorStoreObject:
        """The store, whose index is there, and which reads its files from now on. `identifier` is the id to have."""
        if request.file_ids:
            await refuse_unkept(self.live, call, KEEPS)
        if identifier is not None:
            await self._refuse_taken(call, identifier)
        model = await self._model(call, request.embedding_model)
        record = self.indexes.chosen(call.principal.tenant, request.provider_id)
        wanted = attaching(dict.fromkeys(request.file_ids or ()), None, request.chunking_strategy)
        files = await self._files(call, wanted, "file_ids[{}]")
        dimension = await embedding.length(self.inference, call, model, request.embedding_dimension)
        row = stores.new(
            call.principal,
            identifier,
            name=request.name or "",
            description=request.description or "",
            metadata=request.metadata or {},
            provider_id=record.provider_id,
            embedding_model=model.identifier,
            embedding_dimension=dimension,
            dimensions=dimension
            if request.embedding_dimension and dimension != model.metadata.get("embedding_dimension")
            else None,
            expires_after_days=request.expires_after and request.expires_after.days,
        )
        await self._refuse_long(call, row, wanted, model)
        await self._refuse_mute(call, wanted)
        async with self.live.pool.use(record) as provider:
            await provider.create_store(call, stores.index(row))
        await db(row.save, force_insert=True)
        if wanted:
            await db(attached.attach, call, row, list(zip(wanted, files, strict=True)))
        return await db(stores.got, call.principal, row.identifier)

    async def delete(self, call: Call, identifier: str) -> None:
        await db(stores.removed, await without_unkept(self.live, call), identifier)

    async def _refuse_taken(self, call: Call, identifier: str) -> None:
        known = VectorStore.objects.filter(tenant=call.principal.tenant, identifier=identifier)
        if await db(known.exists):
            raise Conflict(f"There is a vector store '{identifier}' already.", param="vector_db_id")

    async def _model(self, call: Call, name: str | None) -> ModelRecord:
        if name is None:
            model = embedding.default_model(self.live.snapshot, call.principal.tenant, embedding.EMBEDDING)
            if model is None:
                raise BadRequest(
                    "No embedding model is the default. Name one as 'embedding_model', or mark one as default in the "
                    "admin or the run.yaml.",
                    param="embedding_model",
                    code="no_default_model",
                )
            return model
        try:
            model = await self.live.named(call, name)
        except NotFound as error:
            error.param = "embedding_model"
            raise
        if model.model_type != embedding.EMBEDDING:
            raise BadRequest(
                f"'{name}' is of type '{model.model_type}', and no embedding model.", param="embedding_model"
            )
        return model

    # --- files ---

    async def attach(self, call: Call, identifier: str, request: AttachFile) -> VectorStoreFileObject:
        await refuse_unkept(self.live, call, KEEPS)
        row = await db(stores.usable, call.principal, identifier, to_change=True)
        files = await self._files(call, [request], "file_id")
        await self._refuse_long(call, row, [request])
        await self._refuse_mute(call, [request])
        await db(attached.attach, call, row, [(request, files[0])])
        return await db(attached.got, call.principal, identifier, files[0].id)

    async def detach(self, call: Call, identifier: str, file_id: str) -> None:
        await db(attached.detached, await without_unkept(self.live, call), identifier, file_id)

    async def forget_file(self, file_id: str) -> None:
        """It is deleted: no store has it any more."""
        await db(attached.forgotten, file_id)

    async def update_file(
        self, call: Call, identifier: str, file_id: str, request: UpdateFile
    ) -> VectorStoreFileObject:
        """Its chunks have the attributes first: whoever sees them in the row finds by them."""
        store = await db(stores.found, call.principal, identifier, to_change=True)
        row, attributes = await self._read(call, store, file_id), request.attributes or {}
        await self.indexes.asked(
            call, store, lambda provider, at: provider.set_attributes(call, at, row.id, attributes)
        )
        await db(VectorStoreFile.objects.filter(pk=row.id).update, attributes=attributes)
        return await db(attached.got, call.principal, identifier, file_id)

    async def content(self, call: Call, identifier: str, file_id: str, asked: ContentFilter) -> FileContentPage:
        store = await db(stores.found, call.principal, identifier)
        row = await self._read(call, store, file_id)
        found: list[Chunk] = []

        async def more(provider: VectorIO, at: Store) -> list[Chunk]:
            after = found[-1].place if found else None
            vectors = asked.include_embeddings
            return await provider.chunks(call, at, row.id, after=after, limit=READ, embeddings=vectors)

        while page := await self.indexes.asked(call, store, more):
            found += page
        return FileContentPage(data=[_content(row, chunk, asked) for chunk in found])

    async def _read(self, call: Call, store: VectorStore, file_id: str) -> VectorStoreFile:
        row = await db(attached.found, call.principal, store, file_id)
        if row.state != "completed":
            raise Conflict(f"The file is {row.state}: wait until it is completed, or attach it again.", code=NOT_READ)
        return row

    async def _files(self, call: Call, wanted: Sequence[AttachFile], param: str) -> list[FileObject]:
        """The files, which the caller may read. Raises NotFound that names where in the request it stands."""
        found = []
        for place, asked in enumerate(wanted):
            try:
                found.append(await self.files.get(call, asked.file_id))
            except NotFound as error:
                error.param = param.format(place)
                raise
        return found

    async def _refuse_long(
        self, call: Call, row: VectorStore, wanted: Sequence[AttachFile], model: ModelRecord | None = None
    ) -> None:
        """Chunks of a size that is asked for, and that the embedding model cannot read."""
        static = [asked.chunking_strategy.static for asked in wanted if isinstance(asked.chunking_strategy, Static)]
        if not static:
            return
        model = model or await self._embedding_model(call, row)
        _, most = await embedding.reading(self.inference, call, model)
        if most is not None and max(sizes.max_chunk_size_tokens for sizes in static) > most:
            param = "chunking_strategy.static.max_chunk_size_tokens"
            raise BadRequest(too_long(model.identifier, most), param=param)

    async def _refuse_mute(self, call: Call, wanted: Sequence[AttachFile]) -> None:
        """Contexts that no chat model can say: there is none of that name, or none is the default."""
        strategies = [asked.chunking_strategy for asked in wanted]
        said = [strategy.contextual for strategy in strategies if isinstance(strategy, Contextual)]
        for model in {chat_model(self.live.snapshot, call, sizes) for sizes in said}:
            try:
                await self.live.admitted(call, model, "llm")
            except (NotFound, BadRequest) as error:
                error.param = SAYS
                raise

    async def _embedding_model(self, call: Call, row: VectorStore) -> ModelRecord:
        try:
            return await self.live.named(call, row.embedding_model)
        except NotFound as error:
            raise embedding.gone(row) from error

    # --- batches of files ---

    async def create_batch(self, call: Call, identifier: str, request: CreateFileBatch) -> FileBatchObject:
        await refuse_unkept(self.live, call, KEEPS)
        row = await db(stores.usable, call.principal, identifier, to_change=True)
        wanted = list({asked.file_id: asked for asked in request.wanted}.values())
        files = await self._files(call, wanted, "files[{}].file_id" if request.files else "file_ids[{}]")
        await self._refuse_long(call, row, wanted)
        await self._refuse_mute(call, wanted)
        batch = file_batches.new(call, row)
        await db(attached.attach, call, row, list(zip(wanted, files, strict=True)), batch)
        return await db(file_batches.got, call.principal, identifier, batch.id)

    # --- search ---

    async def search(self, call: Call, identifier: str, request: SearchRequest) -> SearchPage:
        row = await db(stores.usable, call.principal, identifier)
        return await self.searching.search(call, row, request)

    # --- chunks without files ---

    async def insert(self, call: Call, request: InsertRequest) -> None:
        row = await db(stores.usable, call.principal, request.vector_store_id, to_change=True)
        await direct.insert(self.indexes, self.inference, call, row, request)

    async def query(self, call: Call, request: QueryRequest) -> QueryResponse:
        row = await db(stores.usable, call.principal, request.vector_store_id)
        return await direct.query(self.searching, call, row, request)

    async def delete_chunks(self, call: Call, request: DeleteRequest) -> None:
        row = await db(stores.usable, call.principal, request.vector_store_id, to_change=True)
        await direct.delete(self.indexes, call, row, request)


def _content(row: VectorStoreFile, chunk: Chunk, asked: ContentFilter) -> FileContent:
    content = FileContent(text=chunk.content)
    if asked.include_embeddings and chunk.embedding is not None:
        content.embedding = [float(number) for number in chunk.embedding]
    if asked.include_metadata:
        content.metadata = {"file_id": row.file_id, "filename": row.filename, "page": chunk.page, **row.attributes}
        known = dict(chunk.metadata)
        content.chunk_metadata = {
            "chunk_id": chunk.id,
            "document_id": row.file_id,
            "source": row.filename,
            "content_token_count": known.pop("tokens", None),
            "chunk_tokenizer": known.pop("tokenizer", None),
            **known,
        }
    return content
