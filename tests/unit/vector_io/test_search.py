"""Search: modes, rankers, filters, thresholds, and errors that are no empty page."""

from typing import Any

import pytest

from apps.registry import service
from apps.registry.models import Model, Provider
from llamastack.db import db
from llamastack.errors import BadRequest
from tests.unit.vector_io.conftest import URL, Shelf, add_model

SKY = "The sky is blue because air scatters short waves of light."
SEA = "The sea is salt because rivers carry minerals into it."
DESERT = "A desert has little rain."


@pytest.fixture
async def store(shelf: Shelf) -> str:
    made = await shelf.store()
    files = {"sky.txt": (SKY, {"year": 2020, "kind": "air"}), "sea.txt": (SEA, {"year": 2021}), "d.txt": (DESERT, {})}
    for name, (text, attributes) in files.items():
        await shelf.attach(made, text, name, attributes=attributes)
    return made


def names(found: list[Any]) -> list[str]:
    return [result["filename"] for result in found]


async def test_the_right_chunk_answers(shelf: Shelf, store: str) -> None:
    page = await shelf.post(f"{URL}/{store}/search", query="why is the sky blue")
    assert (page["object"], page["search_query"]) == ("vector_store.search_results.page", ["why is the sky blue"])
    assert (page["has_more"], page["next_page"]) == (False, None)
    first = page["data"][0]
    assert (first["filename"], first["attributes"]) == ("sky.txt", {"year": 2020, "kind": "air"})
    assert first["content"] == [{"type": "text", "text": SKY}]
    assert first["file_id"].startswith("file-")
    assert 0 < first["score"] <= 1
    assert first["chunk_id"]


async def test_several_queries_give_one_list_without_doubles(shelf: Shelf, store: str) -> None:
    found = await shelf.search(store, ["sky blue air light", "sea salt rivers minerals"], max_num_results=2)
    assert sorted(names(found)) == ["sea.txt", "sky.txt"]


async def test_each_mode_finds_it(shelf: Shelf, store: str) -> None:
    for mode in ("vector", "keyword", "hybrid"):
        found = await shelf.search(store, "salt sea", search_mode=mode)
        assert names(found)[0] == "sea.txt", mode
        assert all(0 <= result["score"] <= 1 for result in found)


async def test_each_ranker_is_taken(shelf: Shelf, store: str) -> None:
    for ranker in ("rrf", "weighted", "normalized", "auto", "default-2024-11-15", "none"):
        options = {"ranker": ranker, "alpha": 0.3, "impact_factor": 10}
        assert names(await shelf.search(store, "salt sea", ranking_options=options))[0] == "sea.txt", ranker


async def test_a_named_model_reranks_what_was_found(shelf: Shelf, store: str) -> None:
    await db(add_model, "ranker", "rerank")
    await shelf.stack.live.refresh()
    plain = names(await shelf.search(store, "the sky"))
    for options in ({"ranker": "ranker"}, {"ranker": "neural", "model": "ranker"}):
        ranked = await shelf.search(store, "the sky", ranking_options=options)
        assert names(ranked) == plain[::-1]
        assert ranked[0]["score"] == 1
    assert len(await shelf.search(store, "the sky", max_num_results=1, ranking_options={"ranker": "ranker"})) == 1
    options = {"ranker": "ranker", "score_threshold": 0.9}
    assert len(await shelf.search(store, "the sky", ranking_options=options)) == 1


async def test_a_reranker_that_there_is_not_is_a_404(shelf: Shelf, store: str) -> None:
    body: dict[str, Any] = {"query": "sky", "ranking_options": {"ranker": "nobody"}}
    assert (await shelf.error(f"{URL}/{store}/search", 404, **body))["param"] == "ranking_options.ranker"


async def test_hits_below_the_threshold_are_left_out(shelf: Shelf, store: str) -> None:
    best = await shelf.search(store, SKY, ranking_options={"score_threshold": 0.9})
    assert names(best) == ["sky.txt"]


KEPT: list[tuple[Any, list[str]]] = [
    ({"type": "eq", "key": "year", "value": 2020}, ["sky.txt"]),
    ({"type": "gte", "key": "year", "value": 2020}, ["sea.txt", "sky.txt"]),
    ({"type": "ne", "key": "kind", "value": "water"}, ["sky.txt"]),
    ({"type": "eq", "key": "missing", "value": 1}, []),
    ({"type": "nin", "key": "missing", "value": [1]}, []),
    (
        {
            "type": "or",
            "filters": [
                {"type": "eq", "key": "kind", "value": "air"},
                {"type": "in", "key": "year", "value": [2021, 2022]},
            ],
        },
        ["sea.txt", "sky.txt"],
    ),
]


async def test_filters_keep_what_they_say(shelf: Shelf, store: str) -> None:
    for given, kept in KEPT:
        assert sorted(names(await shelf.search(store, "anything", filters=given))) == kept, given


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"filters": {"type": "like", "key": "a", "value": "b"}}, "filters.type"),
    ({"filters": {"type": "and", "filters": []}}, "filters.filters"),
    ({"filters": {"type": "eq", "key": "a", "value": None}}, "filters.value"),
    ({"max_num_results": 0}, "max_num_results"),
    ({"max_num_results": 51}, "max_num_results"),
    ({"query": ""}, "query"),
    ({"query": []}, "query"),
    ({"query": ["x"] * 17}, "query"),
    ({"query": "x" * 32_769}, "query"),
    ({"search_mode": "magic"}, "search_mode"),
    ({"search_mode": "vector", "ranking_options": {"ranker": "rrf"}}, "ranking_options.ranker"),
    ({"ranking_options": {"score_threshold": 1.5}}, "ranking_options.score_threshold"),
    ({"ranking_options": {"ranker": "neural"}}, "ranking_options.model"),
    ({"ranking_options": {"weights": {"neural": 0.5}}}, "ranking_options.weights.neural"),
    ({"rewrite_query": True}, "rewrite_query"),
    ({"colour": "blue"}, "colour"),
]


async def test_what_is_wrong_is_named(shelf: Shelf) -> None:
    made = await shelf.store()
    for body, param in WRONG:
        error = await shelf.error(f"{URL}/{made}/search", 400, **({"query": "sky"} | body))
        assert error["param"] == param, body


async def test_the_default_chat_model_rewrites_a_query(shelf: Shelf, store: str) -> None:
    await db(add_model, "talker", "llm", default=True)
    await shelf.stack.live.refresh()
    shelf.words.says = ' "salt sea minerals" '
    page = await shelf.post(f"{URL}/{store}/search", query="Would you tell me about oceans?", rewrite_query=True)
    assert page["search_query"] == ["salt sea minerals"]
    assert names(page["data"])[0] == "sea.txt"


async def test_an_embedding_model_that_is_gone_is_a_503_that_says_so(shelf: Shelf, store: str) -> None:
    model = await db(Model.objects.get, identifier="counts")
    await db(service.delete_model, model)
    await shelf.stack.live.refresh()
    error = await shelf.error(f"{URL}/{store}/search", 503, query="sky")
    assert "embedding model 'counts'" in error["message"]
    error = await shelf.error("/v1/vector-io/insert", 503, vector_store_id=store, chunks=[{"content": "sky"}])
    assert "embedding model 'counts'" in error["message"]


async def test_a_text_that_the_embedding_model_cannot_read_is_refused_by_its_field(shelf: Shelf, store: str) -> None:
    shelf.words.failing = BadRequest("Set 'text_truncation'.", param="input", code="context_length_exceeded")
    error = await shelf.error(f"{URL}/{store}/search", 400, query="sky")
    assert (error["param"], error["message"]) == ("query", "The query is longer than counts reads at once. Shorten it.")
    chunks = [{"content": "sky"}]
    error = await shelf.error("/v1/vector-io/insert", 400, vector_store_id=store, chunks=chunks)
    assert (error["param"], "longer than counts reads" in error["message"]) == ("chunks", True)


async def test_a_provider_that_is_gone_is_a_503_that_says_so(shelf: Shelf, store: str) -> None:
    row = await db(Provider.objects.get, identifier="memory")
    await db(service.edit_provider, row, {}, False)
    await shelf.stack.live.refresh()
    error = await shelf.error(f"{URL}/{store}/search", 503, query="sky")
    assert "provider 'memory'" in error["message"]


async def test_an_index_that_is_gone_is_a_503_and_no_empty_page(shelf: Shelf, store: str) -> None:
    shelf.index.stores.clear()
    error = await shelf.error(f"{URL}/{store}/search", 503, query="sky")
    assert "no index of this vector store any more" in error["message"]


async def test_a_file_that_is_still_read_is_not_found_yet(shelf: Shelf, store: str) -> None:
    from apps.vector_io.models import VectorStoreFile

    await db(VectorStoreFile.objects.filter(filename="sky.txt").update, status="in_progress")
    assert names(await shelf.search(store, SKY, max_num_results=1)) != ["sky.txt"]
    assert len(await shelf.search(store, SKY, max_num_results=2)) == 2
