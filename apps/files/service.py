"""Files: rows in the database, bytes at a provider. A file is there once both are."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.files.models import File
from apps.files.protocol import FileStore, NewFile
from apps.files.schemas import FileFilter, FileObject, FileUpload
from apps.registry.live import Live
from llamastack.apis import Api
from llamastack.call import Call, Principal
from llamastack.db import db
from llamastack.errors import BadRequest, Conflict, NotFound, ProviderOff, StackError
from llamastack.ids import new_id
from llamastack.pagination import Page, page
from llamastack.snapshot import ProviderRecord

UPLOAD_LASTS = timedelta(days=1)
BATCH_LASTS = 30 * 24 * 3600  # seconds, as OpenAI's do
SWEPT = 500  # rows that are read at once
AT_ONCE = 8
SHOWN = 100
Forget = Callable[[str], Awaitable[None]]
logger = logging.getLogger(__name__)


class FilesService:
    """Satisfies `Files`."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.forget: list[Forget] = []  # what others do with a file before it is deleted
        self._removals: set[asyncio.Task[bool]] = set()

    async def stop(self) -> None:
        for task in self._removals:
            task.cancel()
        await asyncio.gather(*self._removals, return_exceptions=True)

    # --- what the protocol has ---

    async def upload(self, call: Call, new: NewFile) -> FileObject:
        record = self._chosen(call.principal.tenant)
        file = begun(call.principal, record.provider_id)
        await db(file.save, force_insert=True)
        try:
            async with self.live.pool.use(record) as store:
                return await self._uploaded(file, store, new)
        except BaseException:  # whatever it was: nothing of the file is to stay
            self._in_background(self._given_up(file))
            raise

    async def _uploaded(self, file: File, store: FileStore, new: NewFile) -> FileObject:
        kept = await store.write(file.id, new)
        file.bytes, file.kept_as = kept.bytes, "" if kept.name == file.id else kept.name
        described = new.described()
        if not file.bytes:
            raise BadRequest("The file is empty.", param="file", code="empty_file")
        file.filename, file.purpose = described.filename, described.purpose
        seconds = lifetime(described, store)
        file.expires_at = None if seconds is None else file.created_at + timedelta(seconds=seconds)
        fields = {name: getattr(file, name) for name in ("bytes", "kept_as", "filename", "purpose", "expires_at")}
        if not await db(File.objects.finish, file.id, **fields):
            raise Conflict("The upload took too long, and was given up.")
        return shown(file)

    async def list(self, call: Call, paging: FileFilter) -> Page[FileObject]:
        return await db(listed, call.principal, paging)

    async def get(self, call: Call, file_id: str) -> FileObject:
        return shown(await self._found(call.principal, file_id))

    async def delete(self, call: Call, file_id: str) -> None:
        """Gone for everybody first, and then its bytes: whatever comes between, the sweep removes them later."""
        file = await self._found(call.principal, file_id)
        for forget in self.forget:
            await forget(file.id)
        if not await db(File.objects.expire, file.id, timezone.now()):
            raise not_found(file_id)
        await _quietly(self._remove(file))

    async def content(self, call: Call, file_id: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        file = await self._found(call.principal, file_id)
        async with self.live.pool.use(self._keeper(file)) as store:
            pieces = store.read(file.kept_name, start, file.bytes if end is None else end)
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece

    # --- rows and providers ---

    async def _found(self, principal: Principal, file_id: str) -> File:
        rows = File.objects.visible_to(principal).filter(pk=file_id, uploaded=True)
        file: File | None = await db(rows.first)
        if file is None or (file.expires_at is not None and file.expires_at <= timezone.now()):
            raise not_found(file_id)
        return file

    def _chosen(self, tenant: str) -> ProviderRecord:
        """The provider that new files of a tenant go to: its own before a shared one, the one that was first."""
        records = [record for record in self.live.snapshot.providers_of(tenant) if record.api == Api.files]
        usable = [record for record in records if record.unavailable is None]
        if not usable:
            raise ProviderOff(
                "No provider keeps files here. Switch one on in the admin, or add one to 'providers.files' of the "
                "run.yaml."
            )
        return min(usable, key=lambda record: (record.tenant != tenant, record.key))

    def _keeper(self, file: File) -> ProviderRecord:
        record = self.live.snapshot.provider(file.tenant, file.provider_id, Api.files)
        if record is None:
            raise ProviderOff(
                f"Provider '{file.provider_id}', which keeps this file, is switched off, or not registered any more."
            )
        return record

    # --- what has expired ---

    async def swept(self) -> AsyncIterator[int]:
        """Remove what has expired, and what broken uploads have left; yields how many files are gone, again and again.

        Harmless to repeat, and to do twice at once. A provider that fails is left alone until the next time.
        """
        removed, last = 0, ""
        failing: set[str] = set()
        while files := await db(lambda after: list(File.objects.overdue(after)[:SWEPT]), last):
            last = files[-1].id
            room = asyncio.Semaphore(AT_ONCE)
            removed += sum(await asyncio.gather(*(self._swept(file, room, failing) for file in files)))
            yield removed
        for record in self.live.snapshot.providers.values():
            if record.api == Api.files and record.provider_id not in failing:
                await _quietly(self._tidied(record))

    async def _swept(self, file: File, room: asyncio.Semaphore, failing: set[str]) -> bool:
        async with room:
            if file.provider_id in failing:
                return False
            gone = await _quietly(self._remove(file))
            if not gone:
                failing.add(file.provider_id)
            return gone

    async def _tidied(self, record: ProviderRecord) -> None:
        async with self.live.pool.use(record) as store:
            await store.sweep()

    async def _given_up(self, file: File) -> None:
        """An upload that failed: where its provider fails too, the sweep need not wait for the row's day to end."""
        await db(File.objects.expire, file.id, timezone.now())
        await self._remove(file)

    async def _remove(self, file: File) -> None:
        """Where it fails, the row stays, and it is tried again by the next sweep."""
        async with self.live.pool.use(self._keeper(file)) as store:
            await store.delete(file.kept_name)
        await db(lambda: File.objects.filter(pk=file.pk).delete())

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_quietly(work))
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)


async def _quietly(work: Coroutine[Any, Any, None]) -> bool:
    """Whether it went well; the log says why not."""
    try:
        await work
    except StackError as error:
        logger.warning("A file could not be removed, and will be later: %s", error.message)
        return False
    except Exception:  # nobody waits for this
        logger.exception("A file could not be removed, and will be later")
        return False
    return True


def begun(principal: Principal, provider_id: str) -> File:
    now = timezone.now()
    return File(
        id=new_id("file-"),
        tenant=principal.tenant,
        owner=principal.name,
        created_at=now,
        expires_at=now + UPLOAD_LASTS,
        provider_id=provider_id,
    )


def lifetime(described: FileUpload, store: FileStore) -> int | None:
    """Seconds until a file expires: its own, else its purpose's, else its provider's. None: it is kept."""
    if described.expires_after is not None:
        return described.expires_after.seconds
    return BATCH_LASTS if described.purpose == "batch" else store.lifetime_seconds


def listed(principal: Principal, paging: FileFilter) -> Page[FileObject]:
    known = File.objects.visible_to(principal)
    rows = known.kept()
    if paging.purpose is not None:
        rows = rows.filter(purpose=paging.purpose)
    found = [shown(file) for file in rows.after(paging.after, paging.order, known)[: paging.limit + 1]]
    return page(found[: paging.limit], len(found) > paging.limit)


def shown(file: File) -> FileObject:
    return FileObject(
        id=file.id,
        bytes=file.bytes,
        created_at=int(file.created_at.timestamp()),
        expires_at=None if file.expires_at is None else int(file.expires_at.timestamp()),
        filename=file.filename,
        purpose=file.purpose,
    )


def not_found(file_id: str) -> NotFound:
    return NotFound(f"There is no file '{file_id[:SHOWN]}'. GET /v1/files lists them.", param="file_id")
