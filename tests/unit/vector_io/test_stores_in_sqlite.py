"""What goes wrong with a store's file, and what is done to keep up with it."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy
import pytest

from apps.vector_io.protocol import Query, Size
from apps.vector_io.providers.in_sqlite.file import StoreFile
from apps.vector_io.providers.inline.faiss.index import Index
from apps.vector_io.providers.inline.faiss.provider import Faiss, FaissConfig
from apps.vector_io.providers.inline.sqlite_vec import SQLiteVec, SQLiteVecConfig
from llamastack.errors import BadRequest, DiskFull, NotFound, Unavailable
from llamastack.home import home
from llamastack.providers import ProviderUnavailable
from tests.conformance.vector_stores import CALL, chunk, many, new_store, random_vectors, vector

NEAREST = Query(vector=vector(1.0))


class OnASmallDisk(Faiss):
    def file(self, path: Path) -> StoreFile:
        file = super().file(path)
        file.connection.execute("PRAGMA max_page_count = 60")
        return file


class Forgetful(Faiss):
    most_open = 2


def faiss(folder: Path, kind: type[Faiss] = Faiss) -> Faiss:
    return kind("vectors", FaissConfig(storage_dir=str(folder)))


async def test_a_full_disk_is_told_and_what_was_there_stays(tmp_path: Path) -> None:
    provider, store = faiss(tmp_path, OnASmallDisk), new_store()
    await provider.start()
    await provider.create_store(CALL, store)
    await provider.insert(CALL, store, [chunk("a")])
    with pytest.raises(DiskFull):
        await provider.insert(CALL, store, [replace(one, content="long " * 1000) for one in many(100)])
    assert [hit.chunk.id for hit in await provider.query(CALL, store, NEAREST)] == ["a"]
    await provider.insert(CALL, store, [chunk("b")])
    assert (await provider.size(CALL, store)).chunks == 2
    await provider.stop()


async def test_a_damaged_file_is_an_error_and_no_empty_answer(tmp_path: Path) -> None:
    provider, store = faiss(tmp_path), new_store()
    await provider.start()
    await provider.create_store(CALL, store)
    [path] = tmp_path.glob("*.db")
    path.write_bytes(b"This is no database. " * 1000)
    for journal in tmp_path.glob("*-*"):
        journal.unlink()
    with pytest.raises(Unavailable, match="damaged"):
        await provider.query(CALL, store, NEAREST)
    await provider.drop_store(CALL, store)
    await provider.create_store(CALL, store)
    assert await provider.query(CALL, store, NEAREST) == []
    await provider.stop()


async def test_a_folder_that_cannot_be_made_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    provider = faiss(tmp_path / "file" / "vectors")
    with pytest.raises(ProviderUnavailable, match="cannot be made"):
        await provider.start()
    assert not (await provider.health()).ok
    await provider.stop()


async def test_a_store_whose_creation_never_ended_is_not_there(tmp_path: Path) -> None:
    provider, store = faiss(tmp_path), new_store()
    await provider.start()
    await provider.create_store(CALL, store)
    [path] = tmp_path.glob("*.db")
    await provider.drop_store(CALL, store)
    sqlite3.connect(path).close()
    path.touch()
    with pytest.raises(NotFound):
        await provider.query(CALL, store, NEAREST)
    await provider.create_store(CALL, store)
    assert await provider.size(CALL, store) == Size(0, 0)
    await provider.stop()


async def test_stores_that_nobody_uses_are_closed_and_opened_again(tmp_path: Path) -> None:
    provider = faiss(tmp_path, Forgetful)
    await provider.start()
    stores = [new_store() for _ in range(5)]
    for number, store in enumerate(stores):
        await provider.create_store(CALL, store)
        await provider.insert(CALL, store, [chunk(f"chunk-{number}")])
    for _ in range(3):
        found = await asyncio.gather(*(provider.query(CALL, store, NEAREST) for store in stores))
        assert [hit.chunk.id for [hit] in found] == [f"chunk-{number}" for number in range(5)]
    await provider.stop()


async def test_a_store_is_asked_by_its_own_dimension(tmp_path: Path) -> None:
    provider, store = faiss(tmp_path), new_store()
    await provider.start()
    await provider.create_store(CALL, store)
    await provider.insert(CALL, store, [chunk("a")])
    with pytest.raises(BadRequest, match="16 numbers"):
        await provider.query(CALL, replace(store, dimension=8), Query(vector=vector(1.0, dimension=8)))
    await provider.stop()


async def test_who_has_missed_too_many_changes_reads_all_anew(tmp_path: Path) -> None:
    one, other, store = faiss(tmp_path), faiss(tmp_path), new_store()
    for provider in (one, other):
        await provider.start()
    await one.create_store(CALL, store)
    await one.insert(CALL, store, many(20))
    assert len(await one.query(CALL, store, NEAREST)) == 10
    await other.delete(CALL, store, chunk_ids=[f"file-1-{n}" for n in range(18)])
    [path] = tmp_path.glob("*.db")
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM changes WHERE version < (SELECT max(version) FROM changes)")
    connection.close()
    assert {hit.chunk.id for hit in await one.query(CALL, store, NEAREST)} == {"file-1-18", "file-1-19"}
    for provider in (one, other):
        await provider.stop()


def test_rows_of_removed_chunks_are_given_back() -> None:
    index, vectors = Index(16), random_vectors(3000)
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
    index.add(range(1, 3001), [1] * 3000, vectors)
    gone = [number for number in range(1, 3001) if number % 3]
    index.changed(gone[:900], {})
    assert index.vectors.ntotal == 3000
    index.changed(gone[900:], {})
    assert index.vectors.ntotal == 1000
    assert [number for number, _ in index.nearest(vectors[2], 1, None)] == [3]
    assert {number for number, _ in index.nearest(vectors[0], 2000, None)} == set(range(3, 3001, 3))


def test_by_default_a_provider_has_a_folder_of_its_name() -> None:
    assert Faiss("mine", FaissConfig()).folder == home() / "vector_io" / "mine"
    assert SQLiteVec("mine", SQLiteVecConfig()).folder == home() / "vector_io" / "mine"
    assert SQLiteVec("mine", SQLiteVecConfig(db_path="/data/sqlite_vec.db")).folder == Path("/data/sqlite_vec")


async def test_sqlite_vec_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    provider = SQLiteVec("mine", SQLiteVecConfig(db_path=str(tmp_path / "v.db")))
    await provider.start()
    with pytest.raises(BadRequest, match="8192"):
        await provider.create_store(CALL, new_store(dimension=10_000))
    await provider.stop()
