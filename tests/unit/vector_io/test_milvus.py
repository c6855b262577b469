"""Milvus where it is not there, refuses, or is found otherwise than it should be. The contract has the rest."""

import asyncio
import resource
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from apps.vector_io.filters import Comparison, kind, matches, parse, same
from apps.vector_io.protocol import Query
from apps.vector_io.providers.in_milvus.client import connected
from apps.vector_io.providers.in_milvus.collection import Collection
from apps.vector_io.providers.in_milvus.rows import MOST_BYTES, rows
from apps.vector_io.providers.in_milvus.stores import Locks, Stores, named
from apps.vector_io.providers.in_milvus.values import value_of
from apps.vector_io.providers.inline.milvus import MilvusLite, MilvusLiteConfig, milvus_lite
from apps.vector_io.providers.remote.milvus import Milvus, MilvusConfig
from llamastack.errors import BadRequest, Conflict, DiskFull, NotFound, Unavailable, UpstreamError
from llamastack.providers import ProviderUnavailable
from tests.conformance.vector_providers import milvus_server
from tests.conformance.vector_stores import CALL, chunk, many, new_store, vector
from tests.servers import free_port

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(2**53 - 3, 2**53 + 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=4),
)


def lite(folder: Path) -> MilvusLite:
    return MilvusLite("vectors", MilvusLiteConfig(db_path=str(folder)))


@asynccontextmanager
async def started(provider: Any) -> AsyncIterator[Any]:
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()


@settings(deadline=None)
@given(SCALARS, SCALARS)
def test_encoded_values_have_the_order_of_the_values(one: Any, other: Any) -> None:
    assert (value_of(one) == value_of(other)) == same(one, other)
    assert value_of(one).isalnum()
    if kind(one) == kind(other):
        assert (value_of(one) < value_of(other)) == (one < other)
    else:
        assert value_of(one)[0] != value_of(other)[0]


@pytest.mark.parametrize(
    "uri",
    [
        "./milvus.db",
        "http://host:19530/milvus.db",
        "unix:/run/milvus",
        "localhost:19530",
        "http://root:secret@host:19530",
        "http://host:19530/one/two",
        "https://host?x.db",
        "https://in01.global-cluster.example",
    ],
)
def test_an_address_that_is_none_of_a_server_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(ValidationError) as refused:
        MilvusConfig(uri=uri)
    assert "secret" not in str(refused.value.errors(include_input=False))


@pytest.mark.parametrize("uri", ["http://localhost:19530", "https://in01.zilliz.example/vectors", "http://[::1]:1/"])
def test_an_address_of_a_server_is_taken(uri: str) -> None:
    assert MilvusConfig(uri=uri).uri == uri


async def test_a_tenants_own_milvus_is_refused() -> None:
    provider = Milvus("vectors", MilvusConfig(uri="http://127.0.0.1:1"))
    provider.confined = True
    with pytest.raises(ProviderUnavailable, match="operator"):
        await provider.start()
    await provider.stop()


async def test_a_server_that_is_not_there_is_told_at_the_start() -> None:
    provider = Milvus("vectors", MilvusConfig(uri=f"http://127.0.0.1:{free_port()}", timeout_seconds=5))
    with pytest.raises(ProviderUnavailable, match="cannot be reached"):
        await provider.start()
    await provider.stop()


async def test_a_certificate_that_is_not_there_is_told_at_the_start() -> None:
    config = MilvusConfig(uri="https://127.0.0.1:1", server_pem_path="/nowhere/ca.pem")
    assert config.of_the_server["server_pem_path"] == "/nowhere/ca.pem"
    provider = Milvus("vectors", config)
    with pytest.raises(ProviderUnavailable, match="cannot be read"):
        await provider.start()
    await provider.stop()


@contextmanager
def serving(folder: Path, port: int) -> Iterator[str]:
    """milvus-lite's server in threads."""
    milvus_lite()  # with the settings it has else
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    server, database, _ = start_server_in_thread(str(folder), port=port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
        database.close()


async def test_a_server_that_goes_away_is_told_and_found_again_when_it_is_back(tmp_path: Path) -> None:
    port, store = free_port(), new_store()
    provider = Milvus("vectors", MilvusConfig(uri=f"http://127.0.0.1:{port}", timeout_seconds=20))
    with serving(tmp_path, port):
        await provider.start()
        await provider.create_store(CALL, store)
        await provider.insert(CALL, store, many(3))
        assert (await provider.health()).ok
    with pytest.raises(Unavailable, match="cannot be reached") as gone:
        await provider.query(CALL, store, Query(vector=vector(1.0)))
    assert gone.value.retry_after
    assert not (await provider.health()).ok
    with serving(tmp_path, port):
        while not (await provider.health()).ok:
            await asyncio.sleep(0.05)
        assert len(await provider.query(CALL, store, Query(vector=vector(1.0)))) == 3
        await provider.stop()


@contextmanager
def refusing(status: grpc.StatusCode) -> Iterator[str]:
    """A gRPC server that answers everything with this status."""

    class Refusing(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda _, context: context.abort(status, "no"))

    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads, handlers=[Refusing()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.stop(0).wait()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "check the provider's `token`"),
        (grpc.StatusCode.PERMISSION_DENIED, "check the provider's `token`"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "in time"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "no more requests"),
        (grpc.StatusCode.UNAVAILABLE, "cannot be reached"),
    ],
)
async def test_a_server_that_refuses_is_told_at_the_start(status: grpc.StatusCode, message: str) -> None:
    with refusing(status) as uri:
        provider = Milvus("vectors", MilvusConfig(uri=uri, token="root:wrong", timeout_seconds=5))
        with pytest.raises(ProviderUnavailable, match=message):
            await provider.start()
        await provider.stop()


async def test_a_folder_that_another_process_has_open_is_told_and_free_later(tmp_path: Path) -> None:
    other = milvus_lite().MilvusLite(str(tmp_path / "data"))
    provider = lite(tmp_path / "data")
    with pytest.raises(ProviderUnavailable, match="Another process"):
        await provider.start()
    other.close()
    async with started(provider):
        assert (await provider.health()).ok


async def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "old.db").write_bytes(b"an older milvus-lite")
    provider = lite(tmp_path / "old.db")
    with pytest.raises(ProviderUnavailable, match="older versions"):
        await provider.start()
    await provider.stop()


async def test_what_a_crash_left_of_a_collection_is_in_nobodys_way(tmp_path: Path) -> None:
    store = new_store()
    (tmp_path / "data" / "collections" / named(store) / "wal").mkdir(parents=True)
    async with started(lite(tmp_path / "data")) as provider:
        with pytest.raises(NotFound):
            await provider.size(CALL, store)
        await provider.create_store(CALL, store)
        await provider.insert(CALL, store, many(2))
        assert (await provider.size(CALL, store)).chunks == 2


async def test_a_collection_that_grows_is_sorted_so_that_searches_stay_quick(tmp_path: Path) -> None:
    async with started(lite(tmp_path / "data")) as provider:
        store = new_store()
        await provider.create_store(CALL, store)
        await provider.insert(CALL, store, [chunk(f"long-{n}", content="x" * 60_000) for n in range(20)])
        assert list(tmp_path.glob("data/collections/*/partitions/*/data/*.parquet"))


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_what_is_answered_after_half_a_write_outlives_a_crash_too(tmp_path: Path) -> None:
    store = new_store()
    async with started(lite(tmp_path / "data")) as provider:
        await provider.create_store(CALL, store)
        await provider.insert(CALL, store, [chunk("before")])
        with no_file_longer_than(1 << 20), pytest.raises(UpstreamError):
            await provider.insert(CALL, store, [chunk(f"long-{n}", content="x" * 60_000) for n in range(40)])
        await provider.insert(CALL, store, [chunk("after")])
        await provider.insert(CALL, store, [chunk("last")])
        shutil.copytree(tmp_path / "data", tmp_path / "left")  # as a crash would leave it now
    async with started(lite(tmp_path / "left")) as provider:
        assert await provider.delete(CALL, store, chunk_ids=["before", "after", "last"]) == 3
        assert (await provider.size(CALL, store)).chunks in (0, 40)


async def test_a_full_disk_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = lite(tmp_path)
    error = UpstreamError("Milvus answered with an error.")
    assert provider.meant(error) is error
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))
    assert isinstance(provider.meant(error), DiskFull)


async def test_who_stops_leaves_no_thread_and_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(threading.enumerate())
    async with started(lite(tmp_path / "data")) as provider, started(lite(tmp_path / "data")) as other:
        store = new_store()
        await provider.create_store(CALL, store)
        await other.insert(CALL, store, many(2))
        [room] = tmp_path.glob("milvus-*")
        assert room.stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    async with asyncio.timeout(60):
        while [thread for thread in {*threading.enumerate()} - before if not thread.name.startswith("asyncio")]:
            await asyncio.sleep(0.02)
    assert list(tmp_path.glob("milvus-*")) == []


async def test_the_socket_of_a_server_that_was_killed_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    others = tmp_path / "milvus-1-2-other"
    others.mkdir()
    async with started(lite(tmp_path / "data")):
        [room] = set(tmp_path.glob("milvus-*")) - {others}
        (left := room.with_name(f"{room.name}-left")).mkdir()
        (left / "socket").touch()
    assert left.exists()
    async with started(lite(tmp_path / "data")):
        assert not left.exists()
    assert list(tmp_path.glob("milvus-*")) == [others]


async def test_ids_may_be_long_and_of_any_characters(tmp_path: Path) -> None:
    ids = ["x" * 60_000, "'; \"\\\n\t%_$meta[0]", "東京 🙂", "", "a\u0300", "à"]
    async with started(lite(tmp_path / "data")) as provider:
        store = new_store()
        await provider.create_store(CALL, store)
        await provider.insert(CALL, store, [chunk(id, file_id=id) for id in ids])
        hits = await provider.query(CALL, store, Query(vector=vector(1.0)))
        assert {hit.chunk.id for hit in hits} == set(ids)
        for id in ids:
            assert [one.id for one in await provider.chunks(CALL, store, id)] == [id]
        assert await provider.delete(CALL, store, chunk_ids=[*ids, "\ud800"]) == len(ids)


async def test_a_chunk_that_is_too_long_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    async with started(lite(tmp_path / "data")) as provider:
        store = new_store()
        await provider.create_store(CALL, store)
        for field, long in (
            ("content", {"content": "é" * (MOST_BYTES // 2 + 1)}),
            ("id", {"id": "x" * (MOST_BYTES + 1)}),
            ("metadata", {"metadata": {"a": "x" * MOST_BYTES}}),
            ("attributes", {"attributes": {str(n): "x" * 512 for n in range(100)}}),
        ):
            with pytest.raises(BadRequest, match="at most 65,535 bytes") as refused:
                await provider.insert(CALL, store, [chunk("a"), replace(chunk("b"), **long)])
            assert refused.value.param == f"chunks[1].{field}"
        await provider.insert(CALL, store, [chunk("a", content="é" * (MOST_BYTES // 2))])
        assert (await provider.size(CALL, store)).chunks == 1


async def test_a_dimension_that_milvus_has_not_is_refused(tmp_path: Path) -> None:
    async with started(lite(tmp_path / "data")) as provider:
        with pytest.raises(BadRequest, match="at most 32,768"):
            await provider.create_store(CALL, new_store(dimension=40_000))


async def test_a_list_of_a_thousand_values_is_a_filter(tmp_path: Path) -> None:
    values = [*range(998), "1", True]
    async with started(lite(tmp_path / "data")) as provider:
        store = new_store()
        await provider.create_store(CALL, store)
        given = [replace(one, attributes={"n": n * 100}) for n, one in enumerate(many(20))]
        await provider.insert(CALL, store, given)
        for type in ("in", "nin"):
            filter = parse({"type": type, "key": "n", "value": values})
            hits = await provider.query(CALL, store, Query(vector=vector(1.0), limit=50, filter=filter))
            right = {one.id for one in given if matches(filter, one.attributes)}
            assert {hit.chunk.id for hit in hits} == right


class Server:
    """milvus-lite's client that takes it for a server: with indexes, of which a collection is loaded, and upserts."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_server_version(self, timeout: float) -> str:
        return "v2.6.4"


@contextmanager
def as_server(uri: str, index_type: str = "HNSW") -> Iterator[Stores]:
    client = connected(uri, 20.0)
    try:
        yield Stores(Server(client), "Strong", index_type, 20.0, Locks())
    finally:
        client.close()


def made(count: int) -> Any:
    given = many(count, attributes={"n": 1})
    return rows(given, numpy.asarray([one.embedding for one in given]))


@pytest.mark.parametrize("index_type", ["HNSW", "AUTOINDEX", "FLAT"])
def test_a_servers_collection_is_indexed_loaded_and_searched(index_type: str) -> None:
    store, filter = new_store(), Comparison("n", "eq", 1)

    def found(collection: Collection) -> list[int]:
        near, worded = collection.nearest(vector(1.0), 10, filter), collection.worded("text", 10, filter)
        return [len(near), len(worded), collection.size().chunks]

    with as_server(milvus_server(), index_type) as stores:
        stores._make(named(store), store)  # and nothing else, as when its maker was killed
        stores.create(store)
        stores.write(store, lambda collection: collection.insert(made(20)))
        assert set(stores.client.list_indexes(named(store))) == {"embedding", "words", "file"}
        assert stores.read(store, found) == [10, 10, 20]
        stores.client.release_collection(named(store))
        assert stores.read(store, found) == [10, 10, 20]
        assert stores.write(store, lambda collection: collection.delete(["file-1-0"], None)) == 1
        with pytest.raises(Conflict):
            stores.create(replace(store, dimension=8))
        stores.drop(store)
        with pytest.raises(NotFound, match=store.key):
            stores.read(store, found)
