"""An ingestion that is being done: its files are read a few at a time, and each is kept whole or not at all."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from apps.inference.protocol import RoutedInference
from apps.jobs.work import Cancelled, Lost, Running
from apps.registry.models import VectorStore
from apps.vector_io import embedding, stores
from apps.vector_io.batching import Batching
from apps.vector_io.models import Status, VectorStoreFile
from apps.vector_io.protocol import Store, VectorIO
from apps.vector_io.reading import Read, Reader
from llamastack.call import Call
from llamastack.db import db
from llamastack.errors import NotFound, ProviderOff, StackError
from llamastack.stack import LlamaStack

FILES_AT_ONCE = 8
TELLS_SECONDS = 0.5
INSERTED = 500  # chunks at once
INVALID = ("encrypted_document", "empty_document", "no_text", "broken_document", "document_too_large")
CODES = dict.fromkeys(INVALID, "invalid_file") | {
    "unsupported_document": "unsupported_file",
    "not_found": "invalid_file",
    "invalid_chunking_strategy": "invalid_file",
}
LONGEST = 2000
logger = logging.getLogger(__name__)


class Gone(Exception):
    """The file was detached, its store deleted or its batch cancelled meanwhile."""


@dataclass
class Ingesting:
    stack: LlamaStack
    running: Running
    call: Call
    store: VectorStore

    def __post_init__(self) -> None:
        self.inference: RoutedInference = self.stack.inference
        self.resumed = self.running.job.fence > 1
        self.total = self.completed = self.failed = 0
        self.off: ProviderOff | None = None

    async def run(self) -> None:
        """Raises Cancelled and Lost; Unavailable where the database is gone, or whoever keeps the store or a file is
        switched off: then what has not been read waits."""
        waiting = await db(self._waiting)
        self.total = len(waiting)
        if not waiting:
            return
        try:
            await self._tell()
            await self._refuse_off()
            await self._read_all(waiting)
        except Cancelled:
            await db(self._cancel_others)
            raise
        await self._tell()
        await self.running.log(f"{self.completed} files were read, and {self.failed} could not be.")

    async def _refuse_off(self) -> None:
        """Before anything is read in vain. What else is wrong with the provider, each file tells."""
        try:
            async with self.stack.vector_io.indexes.at(self.store.tenant, self.store.provider_id):
                return
        except ProviderOff:
            raise
        except StackError:
            return

    def _waiting(self) -> list[VectorStoreFile]:
        return list(VectorStoreFile.objects.under_way(self.running.job).order_by("created_at", "id"))

    def _cancel_others(self) -> None:
        VectorStoreFile.objects.under_way(self.running.job).update(status=Status.cancelled)

    async def _read_all(self, waiting: list[VectorStoreFile]) -> None:
        async with Batching(self._embed) as batching:
            reading = asyncio.create_task(self._read_each(waiting, batching))
            try:
                while not reading.done():
                    await asyncio.wait([reading], timeout=TELLS_SECONDS)
                    await self._tell()
                reading.result()
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _read_each(self, waiting: list[VectorStoreFile], batching: Batching) -> None:
        try:
            reader = await self._reader(batching)
        except StackError as error:  # the model's, of which there is one for all
            for row in waiting:
                await self._fail(row, error)
            return
        places = asyncio.Semaphore(FILES_AT_ONCE)

        async def one(row: VectorStoreFile) -> None:
            async with places:
                await self._one(reader, row)

        try:
            async with asyncio.TaskGroup() as group:
                for row in waiting:
                    group.create_task(one(row))
        except ExceptionGroup as errors:  # the job's, or the database's
            raise errors.exceptions[0] from errors
        if self.off is not None:
            raise self.off

    async def _reader(self, batching: Batching) -> Reader:
        try:
            model = await self.stack.live.named(self.call, self.store.embedding_model)
        except NotFound as error:
            raise embedding.gone(self.store) from error
        tokenizer, most = await embedding.reading(self.inference, self.call, model)
        return Reader(self.stack, self.call, self.store, tokenizer, most, batching)

    async def _embed(self, texts: Any) -> Any:
        return await embedding.vectors(
            self.inference, self.call, self.store.embedding_model, texts, self.store.dimensions
        )

    # --- one file ---

    async def _one(self, reader: Reader, row: VectorStoreFile) -> None:
        try:
            await self._refuse_gone(row)
            read = await reader.read(row)
            await self.stack.vector_io.indexes.asked(
                self.call, self.store, lambda provider, store: self._insert(provider, store, row, read), inserts=True
            )
        except Gone:
            return
        except ProviderOff as error:
            self.off = error  # others may have a provider that is there
        except StackError as error:
            await self._fail(row, error)
        except Exception as error:  # of whatever kind: this file has failed, and the others go on
            logger.exception("File %s of vector store %s was not read", row.file_id, self.store.identifier)
            await self._fail(row, StackError(f"The server failed while it read this file: {type(error).__name__}."))
        else:
            await self._complete(row, read)

    async def _insert(self, provider: VectorIO, store: Store, row: VectorStoreFile, read: Read) -> None:
        await self._refuse_gone(row)
        if self.resumed:  # whoever began it may have kept a part, by another version's chunks
            await provider.delete(self.call, store, file_id=row.id)
        for start in range(0, len(read.chunks), INSERTED):
            await provider.insert(self.call, store, read.chunks[start : start + INSERTED])

    async def _refuse_gone(self, row: VectorStoreFile) -> None:
        if not await db(VectorStoreFile.objects.under_way(self.running.job).filter(pk=row.pk).exists):
            raise Gone

    async def _complete(self, row: VectorStoreFile, read: Read) -> None:
        if await self._finished(row, status=Status.completed, **read.fields):
            self.completed += 1
        else:
            await self._forget(row)

    async def _fail(self, row: VectorStoreFile, error: StackError) -> None:
        """No chunk of it stays."""
        await self._forget(row)
        code = CODES.get(error.code or "", "server_error")
        if await self._finished(
            row, status=Status.failed, error_code=code, error=error.message[:LONGEST].replace("\0", "")
        ):
            self.failed += 1

    async def _finished(self, row: VectorStoreFile, **fields: Any) -> bool:
        done = await db(VectorStoreFile.objects.finish, self.running.job, row.id, **fields)
        if done is None:
            raise Lost
        return done

    async def _forget(self, row: VectorStoreFile) -> None:
        """Its chunks, at once or, where the provider cannot now, by a job of their own."""
        try:
            async with self.stack.vector_io.indexes.at(self.store.tenant, self.store.provider_id) as provider:
                await provider.delete(self.call, stores.index(self.store), file_id=row.id)
        except NotFound:
            return
        except StackError:
            await db(stores.removal(self.call, self.store, [row.id]).save, force_insert=True)

    async def _tell(self) -> None:
        await self.running.progress(done=self.completed + self.failed, total=self.total, failed=self.failed)
