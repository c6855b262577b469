"""What the contract does not reach: order of texts and numbers, servers that are killed, others' collections."""

import random
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from apps.vector_io.filters import Scalar, matches, parse
from apps.vector_io.protocol import Query, Store
from apps.vector_io.providers.chroma.provider import FIRST, collection_name, first
from apps.vector_io.providers.chroma.where import ordered
from apps.vector_io.providers.inline.chromadb import InlineChroma, InlineChromaConfig
from apps.vector_io.providers.remote.chromadb import RemoteChroma, RemoteChromaConfig
from llamastack.errors import Conflict, NotFound, StackError, Unavailable
from llamastack.providers import ProviderUnavailable
from tests.chroma import Chroma, running
from tests.conformance.vector_stores import CALL, DIMENSION, chunk, many, new_store, vector


@pytest.fixture(scope="module")
def server() -> Iterator[Chroma]:
    with running() as chroma:
        yield chroma


@pytest.fixture
async def vectors(server: Chroma) -> AsyncIterator[RemoteChroma]:
    one = RemoteChroma("vectors", RemoteChromaConfig(url=server.url))
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def store(vectors: RemoteChroma) -> AsyncIterator[Store]:
    made = new_store()
    await vectors.create_store(CALL, made)
    yield made
    await vectors.drop_store(CALL, made)


NUMBERS = [0, 0.0, -0.0, 1, 1.0, -1, 0.1, 0.1 + 0.2, 0.3, 5e-324, -5e-324, 1e300, -1e300, 2**53, 2**60, -(2**60), 1e22]
TEXTS = ["", "a", "ab", "abcdefg", "abcdefgh", "abcdefgi", "abcdefga", "abcdefghijklmn", "abcdefghijklmno", "b", "Zoë"]
TEXTS += [
    "zoë",
    "東京",
    "🙂",
    "\uffff",
    "\x01",
    "0",
    "1",
    "True",
    "number 1",
    "' OR 1=1 --",
    "a" * 512,
    "a" * 511 + "b",
]
VALUES: list[Scalar] = [*NUMBERS, *TEXTS, True, False]


async def test_each_filter_keeps_what_it_would_keep_anywhere(vectors: RemoteChroma, store: Store) -> None:
    chosen = random.Random(7)
    given = [chunk(f"c{n}", 1, n, attributes={"key": value}) for n, value in enumerate(VALUES)]
    given += [chunk("none"), chunk("other", attributes={"other": 1})]
    await vectors.insert(CALL, store, given)
    for _ in range(120):
        operator = chosen.choice(["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"])
        value: Any = chosen.choice(VALUES[:-2] if operator[0] in "gl" else VALUES)
        if operator.endswith("in"):
            value = chosen.sample(VALUES, chosen.randint(0, 5))
        filter = parse({"type": operator, "key": "key", "value": value})
        hits = await vectors.query(CALL, store, Query(vector=vector(1.0), limit=100, filter=filter))
        assert {hit.chunk.id for hit in hits} == {one.id for one in given if matches(filter, one.attributes)}, filter


def test_numbers_are_ordered_as_whole_ones() -> None:
    numbers = sorted(map(float, NUMBERS))
    assert [ordered(number) for number in numbers] == sorted(ordered(number) for number in numbers)
    assert ordered(0.0) == ordered(-0.0)
    assert len({ordered(number) for number in numbers}) == len(set(numbers))


async def test_a_replaced_chunk_keeps_nothing_of_what_it_was(vectors: RemoteChroma, store: Store) -> None:
    await vectors.insert(CALL, store, [chunk("a", content="old old old", page=3, attributes={"year": 1, "by": "Ann"})])
    await vectors.insert(CALL, store, [chunk("a", content="...", attributes={"year": "x"})])
    [hit] = await vectors.query(CALL, store, Query(vector=vector(1.0)))
    assert (hit.chunk.page, hit.chunk.attributes) == (None, {"year": "x"})
    for filter in ({"type": "eq", "key": "by", "value": "Ann"}, {"type": "lt", "key": "year", "value": 5}):
        assert await vectors.query(CALL, store, Query(vector=vector(1.0), filter=parse(filter))) == []
    assert await vectors.query(CALL, store, Query("old", mode="keyword")) == []


async def test_long_ids_and_odd_names_are_kept(vectors: RemoteChroma) -> None:
    store = Store("vs_" + "é/🙂 " * 50, "tenant\n'; --" * 100, DIMENSION)
    await vectors.create_store(CALL, store)
    given = chunk("🙂/" + "x" * 5000, content="", file_id="../'\"" + "é" * 500, position=10**12)
    await vectors.insert(CALL, store, [given])
    assert await vectors.chunks(CALL, store, given.file_id) == [given]
    assert await vectors.delete(CALL, store, file_id=given.file_id) == 1
    await vectors.drop_store(CALL, store)


async def test_positions_far_apart_are_listed_all(vectors: RemoteChroma, store: Store) -> None:
    given = [chunk(f"c{position}", file_id="f", position=position) for position in (0, 3, 1000, 10**6, 10**15)]
    await vectors.insert(CALL, store, given)
    assert await vectors.chunks(CALL, store, "f", limit=4) == given[:4]
    assert await vectors.chunks(CALL, store, "f", after=given[1].place, limit=9) == given[2:]


async def test_a_word_that_is_often_there_comes_first(vectors: RemoteChroma, store: Store) -> None:
    """More have the word than are read and ranked."""
    texts = {f"c{n}": "searching here once, among much that has nothing to do with it" for n in range(250)}
    texts |= {f"c{n}": "search and searches: searching searchers " * 3 for n in (120, 240)}
    await vectors.insert(CALL, store, [chunk(id, content=text) for id, text in texts.items()])
    hits = await vectors.query(CALL, store, Query("search", mode="keyword", limit=5))
    assert [hit.chunk.id for hit in hits[:2]] == ["c120", "c240"]


async def test_a_name_of_several_words_is_found_by_each(vectors: RemoteChroma, store: Store) -> None:
    await vectors.insert(CALL, store, [chunk("a", content="call set_default_encoding() first"), chunk("b")])
    for text in ("encoding", "set_default_encoding", "default"):
        hits = await vectors.query(CALL, store, Query(text, mode="keyword"))
        assert [hit.chunk.id for hit in hits] == ["a"], text


async def test_what_a_crash_has_left_of_a_creation_is_gone(vectors: RemoteChroma, store: Store) -> None:
    collection = await vectors.engine.collection(collection_name(store))
    await vectors.engine.upsert(collection, first(DIMENSION))
    await vectors.create_store(CALL, store)
    assert (await vectors.engine.get(collection, ids=[FIRST])).ids == []


async def test_a_collection_of_others_is_left_alone(vectors: RemoteChroma) -> None:
    store = new_store()
    with pytest.raises(Conflict, match="was not made by this server"):
        await vectors.engine.create(collection_name(store), {"made by": "others"})
    with pytest.raises(Conflict, match="was not made by this server"):
        await vectors.create_store(CALL, store)


async def test_what_was_answered_outlives_a_server_that_is_killed() -> None:
    with running() as server:
        one = RemoteChroma("vectors", RemoteChromaConfig(url=server.url))
        await one.start()
        store = new_store()
        await one.create_store(CALL, store)
        for number in range(3):
            await one.insert(CALL, store, many(30, f"file-{number}"))
        server.kill()
        assert not (await one.health()).ok
        with pytest.raises(StackError) as down:
            await one.query(CALL, store, Query(vector=vector(1.0)))
        assert down.value.status == 503
        await one.stop()
        server.start()
        await one.start()
        assert (await one.health()).ok
        assert len(await one.query(CALL, store, Query(vector=vector(1.0), limit=100))) == 90
        assert len(await one.query(CALL, store, Query("text", mode="keyword", limit=100))) == 90
        await one.stop()


async def test_a_tenant_or_database_that_is_not_there_is_named(server: Chroma) -> None:
    one = RemoteChroma("vectors", RemoteChromaConfig(url=server.url, tenant="nobody", database="nowhere"))
    await one.start()
    with pytest.raises(StackError, match="nowhere"):
        await one.create_store(CALL, new_store())
    with pytest.raises(NotFound):
        await one.size(CALL, new_store())
    await one.stop()


async def test_a_tenants_provider_reaches_no_private_address(server: Chroma) -> None:
    one = RemoteChroma("vectors", RemoteChromaConfig(url=server.url))
    one.confined = True
    await one.start()
    with pytest.raises(Unavailable, match="leads to no public address"):
        await one.create_store(CALL, new_store())
    await one.stop()


def test_upstreams_configs_are_taken_and_a_token_is_not_shown() -> None:
    stored = {"backend": "kv_default", "namespace": "vector_io::chroma"}
    assert "secret" not in repr(RemoteChromaConfig(url="http://chroma:8000", persistence=stored, token="secret"))
    assert InlineChromaConfig(db_path="~/chroma", kvstore=stored).persistence == stored
    for wrong in ({"url": "chroma:8000"}, {"url": "http://chroma", "tenant": ""}, {"uri": "http://chroma"}):
        with pytest.raises(ValidationError):
            RemoteChromaConfig.model_validate(wrong)


async def test_an_address_is_needed() -> None:
    with pytest.raises(ProviderUnavailable, match="set `url`"):
        await RemoteChroma("vectors", RemoteChromaConfig(url="")).start()


async def test_chroma_writes_no_index_that_a_kill_could_break_and_keeps_nothing_of_a_dropped_store(
    tmp_path: Path,
) -> None:
    one, store = InlineChroma("vectors", InlineChromaConfig(db_path=str(tmp_path))), new_store()
    await one.start()
    await one.create_store(CALL, store)
    await one.insert(CALL, store, many(1200))
    kept = ("embedding_metadata", "embedding_metadata_array", "embedding_fulltext_search", "embeddings_queue")
    with closing(sqlite3.connect(tmp_path / "chroma.sqlite3")) as database:
        for right in (True, False):
            assert [bool(count) for count in counted(database, kept)] == [right] * len(kept)
            assert list(tmp_path.rglob("*.pickle")) == []
            await one.drop_store(CALL, store)
    await one.stop()


def counted(database: sqlite3.Connection, tables: Sequence[str]) -> list[int]:
    return [database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]


async def test_to_start_and_to_stop_are_harmless_to_repeat(tmp_path: Path, server: Chroma) -> None:
    for one in (
        InlineChroma("vectors", InlineChromaConfig(db_path=str(tmp_path / "chroma"))),
        RemoteChroma("vectors", RemoteChromaConfig(url=server.url)),
    ):
        await one.stop()
        for _ in range(2):
            await one.start()
        assert (await one.health()).ok
        for _ in range(2):
            await one.stop()


async def test_a_file_of_many_chunks_is_described_anew(vectors: RemoteChroma, store: Store) -> None:
    await vectors.insert(CALL, store, many(1100, attributes={"old": "x"}))
    await vectors.set_attributes(CALL, store, "file-1", {"new": 1})
    filter = parse({"type": "eq", "key": "new", "value": 1})
    hits = await vectors.query(CALL, store, Query(vector=vector(1.0), limit=2000, filter=filter))
    assert len(hits) == 1100
    assert all(hit.chunk.attributes == {"new": 1} for hit in hits)


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProviderUnavailable, match="cannot be made"):
        await InlineChroma("vectors", InlineChromaConfig(db_path=str(tmp_path / "file" / "chroma"))).start()
