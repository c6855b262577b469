"""What each provider of files must do, whichever it is: bytes in, the same bytes or a part of them out, or nothing."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from apps.files.protocol import FileStore, NewFile
from apps.files.providers.inline.localfs import LocalFiles, LocalFilesConfig
from apps.files.schemas import FileUpload
from llamastack.errors import BadRequest, Unavailable
from llamastack.ids import new_id
from tests.s3 import by_moto, serving
from tests.unit.files import test_openai_files as openai
from tests.unit.files import test_s3 as s3

LARGE = 8 * 1024 * 1024 + 3  # more than a part of those that send parts
Opened = Callable[[Path], AbstractAsyncContextManager[FileStore]]


@asynccontextmanager
async def localfs(folder: Path) -> AsyncIterator[FileStore]:
    store = LocalFiles("l", LocalFilesConfig(storage_dir=str(folder)))
    await store.start()
    yield store


@asynccontextmanager
async def scripted_s3(folder: Path) -> AsyncIterator[FileStore]:
    async with serving() as bucket:
        store = await s3.started(bucket.url)
        yield store
        assert bucket.uploads == {}
        await store.stop()


@asynccontextmanager
async def moto_s3(folder: Path) -> AsyncIterator[FileStore]:
    async with by_moto() as url:
        store = await s3.started(url, auto_create_bucket=True)
        yield store
        await store.stop()


@asynccontextmanager
async def openai_files(folder: Path) -> AsyncIterator[FileStore]:
    async with openai.serving() as account:
        store = await openai.started(account.url)
        yield store
        assert account.uploads == {}
        await store.stop()


@pytest.fixture(params=[localfs, scripted_s3, moto_s3, openai_files])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FileStore]:
    opened: Opened = request.param
    async with opened(tmp_path) as store:
        yield store


async def pieces(content: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def new(content: Any) -> NewFile:
    body = pieces(content) if isinstance(content, bytes) else content
    return NewFile(body, lambda: FileUpload(filename="a.jsonl", purpose="user_data"))


async def read(store: FileStore, name: str, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in store.read(name, start, end)])


@pytest.mark.parametrize("size", [1, 70_000, LARGE])
async def test_what_is_kept_is_what_was_sent_and_so_is_each_part(store: FileStore, size: int) -> None:
    content = os.urandom(size)
    kept = await store.write(new_id("file-"), new(content))
    assert kept.bytes == size
    for start, end in ((0, size), (size - 1, size), (size // 3, size // 2 + 1)):
        assert await read(store, kept.name, start, end) == content[start:end]


async def test_files_that_are_written_at_once_are_kept_apart(store: FileStore) -> None:
    contents = [os.urandom(200_000) for _ in range(4)]
    kept = await asyncio.gather(*(store.write(new_id("file-"), new(content)) for content in contents))
    assert [await read(store, one.name, 0, one.bytes) for one in kept] == contents


async def test_a_reader_may_leave_early(store: FileStore) -> None:
    kept = await store.write(new_id("file-"), new(bytes(1_000_000)))
    async with aclosing(store.read(kept.name, 0, kept.bytes)) as reading:  # type: ignore[type-var]
        assert await anext(reading)
    assert len(await read(store, kept.name, 0, kept.bytes)) == kept.bytes


@pytest.mark.parametrize("before", [0, 100_000, LARGE])
async def test_nothing_is_kept_of_a_file_that_breaks_off(store: FileStore, before: int) -> None:
    async def broken() -> AsyncIterator[bytes]:
        async for piece in pieces(bytes(before)):
            yield piece
        raise BadRequest("The upload broke off.")

    file_id = new_id("file-")
    with pytest.raises(BadRequest, match="broke off"):
        await store.write(file_id, new(broken()))
    with pytest.raises(Unavailable):
        await read(store, file_id, 0, 1)


@pytest.mark.parametrize("before", [100_000, LARGE])
async def test_nor_of_one_whose_sender_goes_away(store: FileStore, before: int) -> None:
    waits = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        async for piece in pieces(bytes(before)):
            yield piece
        waits.set()
        await asyncio.Event().wait()

    file_id = new_id("file-")
    writing = asyncio.create_task(store.write(file_id, new(slow())))
    await waits.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    with pytest.raises(Unavailable):
        await read(store, file_id, 0, 1)


async def test_to_delete_twice_or_what_never_was_does_no_harm(store: FileStore) -> None:
    kept = await store.write(new_id("file-"), new(b"abc"))
    other = await store.write(new_id("file-"), new(b"other"))
    for name in (kept.name, kept.name, new_id("file-")):
        await store.delete(name)
    with pytest.raises(Unavailable):
        await read(store, kept.name, 0, 3)
    assert await read(store, other.name, 0, 5) == b"other"


async def test_more_than_there_is_is_an_error_and_not_a_short_answer(store: FileStore) -> None:
    kept = await store.write(new_id("file-"), new(b"abc"))
    with pytest.raises(Unavailable):
        await read(store, kept.name, 0, 4)


async def test_a_sweep_takes_nothing_that_is_kept(store: FileStore) -> None:
    kept = await store.write(new_id("file-"), new(b"abc"))
    await store.sweep()
    await store.sweep()
    assert await read(store, kept.name, 0, 3) == b"abc"
