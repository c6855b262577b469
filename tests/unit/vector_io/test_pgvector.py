"""PostgreSQL with pgvector, where it is not there, and where its index has been built. The contract has the rest."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from apps.vector_io.filters import parse
from apps.vector_io.protocol import Chunk, Query
from apps.vector_io.providers.remote.pgvector.connections import address
from apps.vector_io.providers.remote.pgvector.provider import PGVector, PGVectorConfig
from apps.vector_io.providers.remote.pgvector.tables import Table
from llamastack.errors import BadRequest, Unavailable
from llamastack.providers import ProviderUnavailable
from llamastack.services import start
from tests.conformance.vector_stores import CALL, exact, many, new_store, random_vectors, vector
from tests.plugin import ON_SQLITE
from tests.servers import free_port


class Grown(PGVector):
    """Every store of it is large enough for an index."""

    index_bytes = 0


def nowhere() -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": free_port(), "db": "vectors", "user": "nobody"}


async def test_a_database_that_is_not_there_is_told_at_the_start() -> None:
    with pytest.raises(ProviderUnavailable, match="cannot be reached"):
        await PGVector("vectors", PGVectorConfig(**nowhere())).start()


async def test_a_tenants_own_database_is_refused() -> None:
    provider = PGVector("vectors", PGVectorConfig(**nowhere()))
    provider.confined = True
    with pytest.raises(ProviderUnavailable, match="operator"):
        await provider.start()


def test_the_servers_own_database_is_nothing_a_tenant_may_name() -> None:
    assert PGVectorConfig().of_the_server == {"host": ""}
    assert PGVectorConfig(host="db").of_the_server == {"host": "db"}


def test_a_column_has_half_the_precision_where_hnsw_needs_it() -> None:
    tables = [Table(1, dimension) for dimension in (384, 2000, 2001, 4000, 4001)]
    assert [table.type for table in tables] == ["vector", "vector", "halfvec", "halfvec", "vector"]
    assert [table.can_be_indexed for table in tables] == [True, True, True, True, False]


async def test_a_database_that_goes_away_is_told_and_one_that_refuses_its_user_too() -> None:
    running = await asyncio.to_thread(start, durable=False, redis=False)
    parts = urlsplit(running.services.database_url)
    named = {"host": parts.hostname, "port": parts.port, "db": parts.path[1:], "user": parts.username}
    try:
        with pytest.raises(ProviderUnavailable, match="cannot be reached"):
            await PGVector("vectors", PGVectorConfig(**named, password="wrong")).start()
        provider, store = PGVector("vectors", PGVectorConfig(**named, password=parts.password)), new_store()
        await provider.start()
        await provider.create_store(CALL, store)
        assert (await provider.health()).ok
    finally:
        await asyncio.to_thread(running.close)
    with pytest.raises(Unavailable, match="cannot be reached") as gone:
        await provider.query(CALL, store, Query(vector=vector(1.0)))
    assert gone.value.retry_after
    assert not (await provider.health()).ok
    await provider.stop()


async def until_indexed(store: str) -> None:
    found = """
        SELECT indisvalid FROM vector_io.stores, pg_index
        WHERE key = %s AND indexrelid = to_regclass('vector_io.store_' || number || '_near')
    """
    async with await psycopg.AsyncConnection.connect(address(PGVectorConfig()), autocommit=True) as connection:
        while await (await connection.execute(found, [store])).fetchone() != (True,):
            await asyncio.sleep(0.05)


async def grown_on_postgresql() -> None:
    provider, store = Grown("vectors", PGVectorConfig()), new_store()
    await provider.start()
    await provider.create_store(CALL, store)
    chunks = [chunk for n in range(100) for chunk in many(20, f"file-{n}", seed=n, attributes={"file": n})]
    for place in range(0, len(chunks), 500):
        await provider.insert(CALL, store, chunks[place : place + 500])
    await until_indexed(store.key)
    later = [chunk for n in range(100, 110) for chunk in many(20, f"file-{n}", seed=n, attributes={"file": n})]
    await provider.insert(CALL, store, later)
    await provider.delete(CALL, store, file_id="file-0")
    kept = [chunk for chunk in chunks + later if chunk.file_id != "file-0"]
    for wanted in random_vectors(5, seed=1234):
        hits = await provider.query(CALL, store, Query(vector=wanted))
        assert len({hit.chunk.id for hit in hits} & set(exact(kept, wanted, 10))) >= 9
        few = parse({"type": "in", "key": "file", "value": [5, 105]})
        right = exact([chunk for chunk in kept if chunk.attributes["file"] in (5, 105)], wanted, 10)
        assert [hit.chunk.id for hit in await provider.query(CALL, store, Query(vector=wanted, filter=few))] == right
    everything = await provider.query(CALL, store, Query(vector=random_vectors(1)[0], limit=5000))
    assert len(everything) >= 0.98 * len(kept)
    await provider.drop_store(CALL, store)
    await provider.stop()


async def long_vectors_on_postgresql() -> None:
    provider = Grown("vectors", PGVectorConfig())
    await provider.start()
    for dimension in (3072, 5000):
        store = new_store(dimension=dimension)
        await provider.create_store(CALL, store)
        one = vector(0.6, 0.8, dimension=dimension)
        await provider.insert(CALL, store, [Chunk("a", "text", embedding=one)])
        [hit] = await provider.query(CALL, store, Query(vector=vector(1.0, dimension=dimension)))
        assert hit.score == pytest.approx(0.6, abs=1e-3)
        await provider.drop_store(CALL, store)
    with pytest.raises(BadRequest, match="16000"):
        await provider.create_store(CALL, new_store(dimension=20_000))
    await provider.stop()


async def test_a_store_that_has_grown_finds_as_much() -> None:
    if ON_SQLITE:
        with pytest.raises(ProviderUnavailable, match="own database is SQLite"):
            await Grown("vectors", PGVectorConfig()).start()
    else:
        await grown_on_postgresql()


async def test_vectors_may_be_long() -> None:
    if not ON_SQLITE:
        await long_vectors_on_postgresql()
