"""One contract for every vector_io provider that runs here: what is kept, what is found, and what is refused."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest

from apps.vector_io.filters import matches, parse
from apps.vector_io.protocol import Chunk, Query, Store, VectorIO
from apps.vector_io.ranking import Ranking
from llamastack.errors import BadRequest, NotFound, StackError
from tests.conformance.vector_providers import CONFIGS
from tests.conformance.vector_stores import (
    CALL,
    DIMENSION,
    Kept,
    chunk,
    exact,
    many,
    new_store,
    random_vectors,
    unit,
    vector,
)


@pytest.fixture(params=CONFIGS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    return Kept(request.param, CONFIGS[request.param](tmp_path / "vectors"))


@pytest.fixture
async def provider(kept: Kept) -> AsyncIterator[VectorIO]:
    async with kept.started() as started:
        yield started


@pytest.fixture
async def store(provider: VectorIO) -> AsyncIterator[Store]:
    made = new_store()
    await provider.create_store(CALL, made)
    yield made
    await provider.drop_store(CALL, made)


async def found(provider: VectorIO, store: Store, **query: Any) -> list[str]:
    given = Query(**({"vector": vector(1.0)} | query))
    return [hit.chunk.id for hit in await provider.query(CALL, store, given)]


async def test_what_was_inserted_is_found_with_all_it_has(provider: VectorIO, store: Store) -> None:
    one = chunk(
        "chunk-1",
        0.6,
        0.8,
        content="Zürich, 東京 and 🙂\nsecond line 'quoted' \"twice\" \\ % _ { }",
        file_id="file-1",
        filename="Bücher/naïve 🙂.pdf",
        page=3,
        position=7,
        attributes={"year": 2024, "share": 0.25, "author": "Zoë", "draft": False},
        metadata={"tokens": 12, "nested": {"list": [1, None, "x\x00y"]}},
    )
    await provider.insert(CALL, store, [one])
    [hit] = await provider.query(CALL, store, Query(vector=vector(1.0)))
    assert hit.chunk == one
    assert hit.chunk.embedding is None
    assert hit.score == pytest.approx(0.6, abs=1e-3)


async def test_the_nearest_come_first_whatever_the_vectors_lengths(provider: VectorIO, store: Store) -> None:
    await provider.insert(CALL, store, [chunk("far", 0.1, 5), chunk("near", 90, 1), chunk("behind", -3)])
    hits = await provider.query(CALL, store, Query(vector=vector(0.01)))
    assert [hit.chunk.id for hit in hits] == ["near", "far", "behind"]
    assert [round(hit.score, 2) for hit in hits] == [1.0, 0.02, -1.0]


@pytest.mark.parametrize("mode", ["vector", "keyword", "hybrid"])
async def test_the_hits_vectors_are_told_where_they_are_asked_for(provider: VectorIO, store: Store, mode: Any) -> None:
    import numpy

    chunks = [chunk("a", 1.0, 2.0, content="a lighthouse"), chunk("b", 0.0, 3.0, content="a lighthouse keeper")]
    await provider.insert(CALL, store, chunks)
    query = Query("lighthouse", vector(1.0), mode, embeddings=True)
    found = {hit.chunk.id: hit.chunk.embedding for hit in await provider.query(CALL, store, query)}
    assert found.keys() == {"a", "b"}
    for one in chunks:
        assert one.embedding is not None
        assert numpy.allclose(found[one.id], unit(one.embedding), atol=1e-3)
    assert {hit.chunk.embedding for hit in await provider.query(CALL, store, replace(query, embeddings=False))} == {
        None
    }


async def test_a_chunk_inserted_again_replaces_itself(provider: VectorIO, store: Store) -> None:
    await provider.insert(CALL, store, [chunk("a", content="old"), chunk("b")])
    await provider.insert(CALL, store, [chunk("a", 0, 1, content="new", file_id="file-2")])
    await provider.insert(CALL, store, [chunk("c", content="first"), chunk("c", content="second")])
    hits = await provider.query(CALL, store, Query(vector=vector(0, 1)))
    assert sorted((hit.chunk.id, hit.chunk.content) for hit in hits) == [("a", "new"), ("b", "text"), ("c", "second")]
    assert hits[0].chunk.id == "a"
    assert (await provider.size(CALL, store)).chunks == 3
    assert await found(provider, store, mode="keyword", text="old first") == []
    assert await provider.chunks(CALL, store, "") != []


async def test_what_is_deleted_is_found_no_more(provider: VectorIO, store: Store) -> None:
    await provider.insert(CALL, store, [*many(3, "file-1"), *many(3, "file-2"), chunk("odd")])
    assert len(await found(provider, store)) == 7  # so that an index in memory has seen them
    assert await provider.delete(CALL, store, chunk_ids=["odd", "file-2-1", "missing"]) == 2
    assert await provider.delete(CALL, store, file_id="file-1") == 3
    assert await provider.delete(CALL, store, file_id="file-1") == 0
    assert await provider.delete(CALL, store) == 0
    assert sorted(await found(provider, store)) == ["file-2-0", "file-2-2"]
    assert await provider.chunks(CALL, store, "file-1") == []
    assert (await provider.size(CALL, store)).chunks == 2
    assert sorted(await found(provider, store, mode="keyword", text="text")) == ["file-2-0", "file-2-2"]


ATTRIBUTES: list[dict[str, Any]] = [
    {"year": 2024, "author": "Zoë", "draft": True, "day": "2024-05-01"},
    {"year": 2023.5, "author": "Ann", "draft": False, "day": "2023-12-31"},
    {"year": 2022, "author": "O'Hara \"\\", "a.b$[0]": "odd"},
    {"year": "2024", "draft": 1},
    {"year": True, "author": "zoë"},
    {"year": 0, "author": ""},
    {"year": -1.5e300, "day": "Ω"},
    {},
]
YEAR = {"type": "gte", "key": "year", "value": 2023}
ZOE = {"type": "eq", "key": "author", "value": "Zoë"}
FILTERS: list[dict[str, Any]] = [
    *({"type": type, "key": "year", "value": value} for type in ("eq", "ne") for value in (2024, "2024", True, 0)),
    *({"type": type, "key": "year", "value": 2023.5} for type in ("gt", "gte", "lt", "lte")),
    *({"type": type, "key": "day", "value": "2023-12-31"} for type in ("gt", "gte", "lt", "lte")),
    {"type": "lt", "key": "author", "value": "a"},
    {"type": "gte", "key": "year", "value": 10**30},
    {"type": "in", "key": "year", "value": [2024, "2024"]},
    {"type": "in", "key": "draft", "value": [True]},
    {"type": "in", "key": "draft", "value": [1, False]},
    {"type": "in", "key": "author", "value": []},
    {"type": "nin", "key": "author", "value": ["Zoë", 5]},
    {"type": "nin", "key": "author", "value": []},
    {"type": "eq", "key": "author", "value": "O'Hara \"\\"},
    {"type": "eq", "key": "a.b$[0]", "value": "odd"},
    {"type": "ne", "key": "missing", "value": 1},
    {"type": "nin", "key": "missing", "value": [1]},
    {"type": "lt", "key": "missing", "value": 1},
    {"type": "eq", "key": "missing' OR 1=1 --", "value": "'; DROP TABLE chunks; --"},
    {"type": "and", "filters": [YEAR, ZOE]},
    {"type": "or", "filters": [YEAR, {"type": "eq", "key": "author", "value": ""}]},
    {"type": "and", "filters": [{"type": "or", "filters": [YEAR, ZOE]}, {"type": "ne", "key": "draft", "value": True}]},
    {"type": "or", "filters": [{"type": "and", "filters": [YEAR, ZOE]}, {"type": "eq", "key": "year", "value": 0}]},
]


async def test_filters_keep_the_same_chunks_in_every_index(provider: VectorIO, store: Store) -> None:
    given = [chunk(f"c{n}", 1, n, attributes=attributes) for n, attributes in enumerate(ATTRIBUTES)]
    await provider.insert(CALL, store, given)
    for filter in map(parse, FILTERS):
        right = {one.id for one in given if matches(filter, one.attributes)}
        for query in ({}, {"mode": "keyword", "text": "text"}, {"mode": "hybrid", "text": "text"}):
            assert set(await found(provider, store, filter=filter, **query)) == right, (filter, query)


async def test_a_filter_that_keeps_few_loses_none_of_them(provider: VectorIO, store: Store) -> None:
    chunks = [replace(one, attributes={"part": n % 100}) for n, one in enumerate(many(2000))]
    await provider.insert(CALL, store, chunks)
    wanted = random_vectors(1, seed=7)[0]
    filter = parse({"type": "eq", "key": "part", "value": 42})
    right = exact([one for one in chunks if one.attributes["part"] == 42], wanted, 10)
    assert await found(provider, store, vector=wanted, filter=filter, limit=10) == right


async def test_a_files_attributes_change_for_all_its_chunks(provider: VectorIO, store: Store) -> None:
    await provider.insert(
        CALL, store, [*many(2, "file-1", attributes={"a": 1}), *many(2, "file-2", attributes={"a": 1})]
    )
    one, two = (parse({"type": "eq", "key": "a", "value": value}) for value in (1, 2))
    assert len(await found(provider, store, filter=one)) == 4
    await provider.set_attributes(CALL, store, "file-1", {"a": 2, "b": "x"})
    await provider.set_attributes(CALL, store, "no file", {"a": 2})
    assert sorted(await found(provider, store, filter=one)) == ["file-2-0", "file-2-1"]
    assert sorted(await found(provider, store, filter=two)) == ["file-1-0", "file-1-1"]
    assert (await provider.chunks(CALL, store, "file-1"))[1].attributes == {"a": 2, "b": "x"}
    await provider.set_attributes(CALL, store, "file-1", {})
    assert await found(provider, store, filter=two) == []


PETS = {
    "cat": "The cat sleeps on the warm sofa all day",
    "dog": "A dog guards the house, and barks at the cat of the neighbours",
    "fish": "Fish need clean water; the fish tank holds forty litres of water",
    "none": "Bicycles have two wheels",
}


async def test_keywords_find_what_has_the_words_and_the_best_first(provider: VectorIO, store: Store) -> None:
    await provider.insert(CALL, store, [chunk(id, content=content) for id, content in PETS.items()])
    hits = await provider.query(CALL, store, Query("clean water for fish", mode="keyword"))
    assert hits[0].chunk.id == "fish"
    assert all(0 <= hit.score <= 1 for hit in hits)
    assert set(await found(provider, store, mode="keyword", text="CAT")) == {"cat", "dog"}
    assert await found(provider, store, mode="keyword", text="unicorns") == []


@pytest.mark.parametrize("text", ["", "???", '"', "cat AND (", "a*b -c NEAR/3", "' | & ! :*", "col:cat", "the", "\\"])
async def test_any_text_is_a_search_by_keywords(provider: VectorIO, store: Store, text: str) -> None:
    await provider.insert(CALL, store, [chunk("a", content="the cat and col")])
    assert await found(provider, store, mode="keyword", text=text) in ([], ["a"])
    assert await found(provider, store, mode="hybrid", text=text) == ["a"]


@pytest.mark.parametrize("by", ["rrf", "weighted", "normalized"])
async def test_hybrid_joins_both(provider: VectorIO, store: Store, by: Any) -> None:
    directions = {"cat": (0.0, 1.0), "dog": (0.9, 0.1), "fish": (0.0, 0.0, 1.0), "none": (1.0,)}
    await provider.insert(CALL, store, [chunk(id, *directions[id], content=text) for id, text in PETS.items()])
    ask: dict[str, Any] = {"mode": "hybrid", "text": "cat dog"}
    hits = await provider.query(CALL, store, Query(vector=vector(1.0), ranking=Ranking(by), **ask))
    assert hits[0].chunk.id == "dog"  # second by its vector, first by its words
    assert len(hits) == 4
    assert all(0 <= hit.score <= 1 for hit in hits)
    words_alone = Ranking(by, vector_weight=0)
    assert await found(provider, store, ranking=words_alone, limit=2, **ask) == ["dog", "cat"]
    vectors_alone = Ranking(by, keyword_weight=0)
    assert await found(provider, store, ranking=vectors_alone, limit=2, **ask) == ["none", "dog"]


async def test_a_threshold_leaves_out_what_scores_less(provider: VectorIO, store: Store) -> None:
    await provider.insert(CALL, store, [chunk("a", 1), chunk("b", 0.8, 0.6), chunk("c", 0.1, 0.9)])
    assert await found(provider, store, score_threshold=0.75) == ["a", "b"]
    assert await found(provider, store, score_threshold=1.01) == []
    assert await found(provider, store, mode="hybrid", text="unicorns", score_threshold=0.99) == []
    [best, *_] = await provider.query(CALL, store, Query("text", mode="keyword"))
    assert await found(provider, store, mode="keyword", text="text", score_threshold=best.score + 0.01) == []


async def test_a_vector_of_another_dimension_is_refused_and_nothing_is_kept(provider: VectorIO, store: Store) -> None:
    wrong = replace(chunk("b"), embedding=vector(1.0, dimension=8))
    with pytest.raises(BadRequest, match="has 8 numbers, and those of this vector store have 16") as refused:
        await provider.insert(CALL, store, [chunk("a"), wrong])
    assert refused.value.param == "chunks[1].embedding"
    with pytest.raises(BadRequest, match="8 numbers"):
        await provider.query(CALL, store, Query(vector=vector(1.0, dimension=8)))
    assert (await provider.size(CALL, store)).chunks == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding": None},
        {"embedding": vector(float("nan"))},
        {"embedding": vector(float("inf"))},
        {"content": "a\0b"},
        {"content": "\ud800"},
        {"attributes": {"a": float("inf")}},
        {"attributes": {"a": ["list"]}},
    ],
)
async def test_a_chunk_that_nothing_could_hold_is_refused(provider: VectorIO, store: Store, changes: Any) -> None:
    with pytest.raises(BadRequest, match=r"\.$"):
        await provider.insert(CALL, store, [chunk("a"), replace(chunk("b"), **changes)])
    assert (await provider.size(CALL, store)).chunks == 0


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query(mode="keyword"),
        Query("text", mode="hybrid"),
        Query(vector=vector(float("nan"))),
        Query(vector=vector(1.0), limit=0),
    ],
)
async def test_a_search_that_lacks_what_it_needs_is_refused(provider: VectorIO, store: Store, query: Query) -> None:
    with pytest.raises(BadRequest):
        await provider.query(CALL, store, query)


async def test_stores_and_tenants_with_the_same_ids_are_apart(provider: VectorIO) -> None:
    one = new_store("left")
    two, other = replace(one, tenant="right"), new_store("left")
    for number, each in enumerate((one, two, other)):
        await provider.create_store(CALL, each)
        await provider.insert(CALL, each, [chunk("a", content=f"text {number}", file_id="file-1")])
    await provider.delete(CALL, two, file_id="file-1")
    await provider.set_attributes(CALL, other, "file-1", {"a": 1})
    assert [hit.chunk.content for hit in await provider.query(CALL, one, Query(vector=vector(1.0)))] == ["text 0"]
    assert await found(provider, two) == []
    assert await found(provider, one, mode="keyword", text="text 1 2") == ["a"]
    assert (await provider.chunks(CALL, one, "file-1"))[0].attributes == {}
    await provider.drop_store(CALL, other)
    assert await found(provider, one) == ["a"]
    for each in (one, two):
        await provider.drop_store(CALL, each)


async def test_a_store_that_is_not_there_is_not_found(provider: VectorIO) -> None:
    missing = new_store()
    for calling in (
        provider.insert(CALL, missing, [chunk("a")]),
        provider.query(CALL, missing, Query(vector=vector(1.0))),
        provider.delete(CALL, missing, chunk_ids=["a"]),
        provider.chunks(CALL, missing, "file-1"),
        provider.set_attributes(CALL, missing, "file-1", {}),
        provider.size(CALL, missing),
    ):
        with pytest.raises(NotFound, match=missing.key):
            await calling


async def test_a_store_is_created_and_dropped_as_often_as_one_likes(provider: VectorIO) -> None:
    store = new_store()
    await provider.drop_store(CALL, store)
    for _ in range(2):
        await provider.create_store(CALL, store)
    await provider.insert(CALL, store, [chunk("a")])
    await provider.create_store(CALL, store)
    assert await found(provider, store) == ["a"]
    with pytest.raises(StackError, match="numbers"):
        await provider.create_store(CALL, replace(store, dimension=8))
    for _ in range(2):
        await provider.drop_store(CALL, store)
    with pytest.raises(NotFound):
        await found(provider, store)
    await provider.create_store(CALL, store)
    assert await found(provider, store) == []
    await provider.drop_store(CALL, store)


async def test_an_empty_store_has_nothing_and_no_trouble(provider: VectorIO, store: Store) -> None:
    for query in ({}, {"mode": "keyword", "text": "cat"}, {"mode": "hybrid", "text": "cat"}):
        assert await found(provider, store, filter=parse(YEAR), **query) == []
        assert await found(provider, store, **query) == []
    await provider.insert(CALL, store, [])
    size = await provider.size(CALL, store)
    assert (size.chunks, size.bytes) == (0, 0)


async def test_more_may_be_asked_for_than_there_is(provider: VectorIO, store: Store) -> None:
    await provider.insert(CALL, store, many(5))
    for query in ({}, {"mode": "keyword", "text": "text"}, {"mode": "hybrid", "text": "text"}):
        assert len(await found(provider, store, limit=1000, **query)) == 5
        assert len(await found(provider, store, limit=3, **query)) == 3


async def test_a_vector_of_zeros_is_near_to_nothing(provider: VectorIO, store: Store) -> None:
    await provider.insert(CALL, store, [chunk("zero", 0.0), chunk("a")])
    hits = {hit.chunk.id: hit.score for hit in await provider.query(CALL, store, Query(vector=vector(1.0)))}
    assert hits.get("zero", 0.0) == pytest.approx(0)
    assert hits["a"] == pytest.approx(1, abs=1e-3)
    assert all(score == pytest.approx(0) for score in await scores(provider, store, vector(0.0)))


async def scores(provider: VectorIO, store: Store, wanted: Any) -> list[float]:
    return [hit.score for hit in await provider.query(CALL, store, Query(vector=wanted))]


async def test_a_files_chunks_are_listed_by_place_and_page_by_page(provider: VectorIO, store: Store) -> None:
    given = [*many(25), chunk("twin-b", file_id="file-1", position=3), chunk("twin-a", file_id="file-1", position=3)]
    await provider.insert(CALL, store, [*reversed(given), *many(3, "file-2")])
    listed: list[Chunk] = []
    while page := await provider.chunks(
        CALL, store, "file-1", after=listed[-1].place if listed else None, limit=10, embeddings=True
    ):
        assert len(page) <= 10
        listed += page
    assert [one.place for one in listed] == sorted(one.place for one in given)
    by_id = {one.id: one for one in given}
    for one in listed:
        assert one.embedding is not None
        right = by_id[one.id].embedding
        assert right is not None
        assert numpy.allclose(one.embedding, unit(right), atol=1e-3)
    assert [one.embedding for one in await provider.chunks(CALL, store, "file-1", limit=1)] == [None]


async def test_the_size_is_of_texts_and_vectors(provider: VectorIO, store: Store) -> None:
    await provider.insert(CALL, store, [chunk("a", content="Zürich"), chunk("b", content="x")])
    size = await provider.size(CALL, store)
    assert size.chunks == 2
    assert size.bytes == 8 + 2 * DIMENSION * 4


async def test_all_is_there_after_a_restart(kept: Kept) -> None:
    store = new_store()
    async with kept.started() as provider:
        await provider.create_store(CALL, store)
        await provider.insert(CALL, store, many(50, attributes={"a": 1}))
        await provider.delete(CALL, store, chunk_ids=["file-1-0"])
        before = await provider.query(CALL, store, Query("text", vector(1.0), "hybrid"))
    async with kept.started() as provider:
        assert await provider.query(CALL, store, Query("text", vector(1.0), "hybrid")) == before
        assert (await provider.size(CALL, store)).chunks == 49
        await provider.insert(CALL, store, many(2, "file-2"))
        assert (await provider.size(CALL, store)).chunks == 51
        await provider.drop_store(CALL, store)


async def test_two_of_one_provider_see_what_the_other_does(kept: Kept, provider: VectorIO, store: Store) -> None:
    """As while one is replaced, with calls in flight on the old."""
    async with kept.started() as other:
        await provider.insert(CALL, store, [chunk("a", attributes={"n": 1}), chunk("b")])
        assert await found(other, store) == ["a", "b"]
        await provider.delete(CALL, store, chunk_ids=["a"])
        await provider.insert(CALL, store, [chunk("c", attributes={"n": 1})])
        assert await found(other, store) == ["b", "c"]
        await other.insert(CALL, store, [chunk("d", attributes={"n": 2})])
        assert await found(provider, store, filter=parse({"type": "gt", "key": "n", "value": 0})) == ["c", "d"]
        await other.drop_store(CALL, store)
        with pytest.raises(NotFound):
            await found(provider, store)
        await other.create_store(CALL, store)
        assert await found(provider, store) == []
        await other.insert(CALL, store, [chunk("e")])
        assert await found(provider, store) == ["e"]


async def test_insertions_and_searches_at_once_lose_nothing(provider: VectorIO, store: Store) -> None:
    async def insert(number: int) -> None:
        for part in range(4):
            await provider.insert(CALL, store, many(25, f"file-{number}-{part}", seed=number))

    async def search() -> None:
        for _ in range(10):
            for hit in await provider.query(CALL, store, Query("text", vector(1.0), "hybrid", limit=20)):
                assert hit.chunk.content == "text"

    await asyncio.gather(*(insert(number) for number in range(5)), *(search() for _ in range(3)))
    assert (await provider.size(CALL, store)).chunks == 500
    assert len(await found(provider, store, limit=1000)) == 500


async def test_the_same_chunks_inserted_at_once_stand_once(provider: VectorIO, store: Store) -> None:
    await asyncio.gather(*(provider.insert(CALL, store, many(40)) for _ in range(4)))
    assert (await provider.size(CALL, store)).chunks == 40
    assert len(set(await found(provider, store, limit=100))) == 40
