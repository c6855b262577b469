"""Llama Stack's own routes: chunks without files, and vector databases."""

from typing import Any

import pytest

from tests.unit.vector_io.conftest import URL, Shelf
from tests.unit.vector_io.fakes import DIMENSION, vector

INSERT, QUERY, DELETE = "/v1/vector-io/insert", "/v1/vector-io/query", "/v1/vector-io/delete"
CHUNKS: list[dict[str, Any]] = [
    {"content": "The sky is blue.", "metadata": {"document_id": "one", "year": 2020, "odd": [1]}},
    {"content": [{"type": "text", "text": "The sea is salt."}], "metadata": {}, "chunk_id": "own"},
    {
        "content": "A desert is dry.",
        "chunk_id": "dry",
        "metadata": {},
        "chunk_metadata": {"document_id": "two", "source": "d.txt"},
        "embedding": vector("A desert is dry."),
        "embedding_model": "counts",
        "embedding_dimension": DIMENSION,
    },
]


@pytest.mark.parametrize("name", ["vector_db_id", "vector_store_id"])
async def test_chunks_are_inserted_found_and_deleted(shelf: Shelf, name: str) -> None:
    store = await shelf.store()
    await shelf.post(INSERT, 204, **{name: store}, chunks=CHUNKS)
    found = await shelf.post(QUERY, **{name: store}, query="sky blue", params={"max_chunks": 2})
    first = found["chunks"][0]
    assert (first["content"], first["metadata"]) == (CHUNKS[0]["content"], CHUNKS[0]["metadata"])
    assert first["chunk_metadata"]["document_id"] == "one"
    assert found["scores"] == sorted(found["scores"], reverse=True)
    assert len(found["chunks"]) == 2
    only = {"filters": {"type": "eq", "key": "year", "value": 2020}}
    assert len((await shelf.post(QUERY, **{name: store}, query="sky", params=only))["chunks"]) == 1
    dry = (await shelf.post(QUERY, **{name: store}, query="dry desert"))["chunks"][0]
    assert (dry["chunk_id"], dry["chunk_metadata"]["source"]) == ("dry", "d.txt")
    await shelf.post(DELETE, 204, **{name: store}, chunks=[{"chunk_id": "dry", "document_id": "two"}])
    assert "dry" not in [chunk.id for chunk in shelf.chunks]
    result = (await shelf.search(store, "sky blue"))[0]
    assert (result["file_id"], result["attributes"]) == ("one", {"document_id": "one", "year": 2020})


async def test_a_chunk_inserted_again_is_there_once(shelf: Shelf) -> None:
    store = await shelf.store()
    for _ in range(2):
        await shelf.post(INSERT, 204, vector_db_id=store, chunks=CHUNKS)
    assert len(shelf.chunks) == 3


async def test_files_are_found_too(shelf: Shelf) -> None:
    store = await shelf.store()
    file_id = await shelf.attach(store, "The sky is blue.", "sky.txt", attributes={"a": 1})
    found = (await shelf.post(QUERY, vector_store_id=store, query="sky"))["chunks"][0]
    assert found["metadata"] == {"document_id": file_id, "filename": "sky.txt", "page": None, "a": 1}
    known = {"chunk_id": found["chunk_id"], "content_token_count": 4, "chunk_tokenizer": "counts"}
    assert found["chunk_metadata"] == {"document_id": file_id, "source": "sky.txt", **known}


async def test_a_chunk_is_told_with_all_that_llama_stack_tells(shelf: Shelf) -> None:
    store = await shelf.store()
    told = {"created_timestamp": 1, "updated_timestamp": 2, "chunk_window": "0-16", "chunk_tokenizer": "words"}
    counts = {"content_token_count": 4, "metadata_token_count": 2}
    chunk = CHUNKS[2] | {"chunk_metadata": CHUNKS[2]["chunk_metadata"] | told | counts}
    await shelf.post(INSERT, 204, vector_store_id=store, chunks=[chunk])
    (found,) = (await shelf.post(QUERY, vector_store_id=store, query="dry"))["chunks"]
    assert found["chunk_metadata"] == chunk["chunk_metadata"] | {"chunk_id": "dry"}
    assert found["embedding"] == pytest.approx(vector("A desert is dry."), abs=1e-6)
    assert (found["embedding_model"], found["embedding_dimension"]) == ("counts", DIMENSION)
    assert found["chunk_id"] == found["stored_chunk_id"] == "dry"
    chunk["chunk_metadata"]["created_timestamp"] = "yesterday"
    error = await shelf.error(INSERT, 400, vector_store_id=store, chunks=[chunk])
    assert error["param"] == "chunks[0].chunk_metadata.created_timestamp"


async def test_a_hybrid_query_takes_a_ranker(shelf: Shelf) -> None:
    store = await shelf.store()
    await shelf.post(INSERT, 204, vector_db_id=store, chunks=CHUNKS)
    query = ["sea", {"type": "text", "text": "salt"}]
    rankers: list[Any] = ["weighted", {"type": "rrf", "impact_factor": 5}, {"type": "weighted", "alpha": 1}]
    given = [{"ranker": ranker} for ranker in rankers]
    for ranker in [*given, {"reranker_type": "weighted", "reranker_params": {"alpha": 1}}]:
        params = {"mode": "hybrid", "score_threshold": 0.0} | ranker
        found = await shelf.post(QUERY, vector_store_id=store, query=query, params=params)
        assert found["chunks"][0]["chunk_id"] == "own"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"content": "x", "embedding": [1.0, 2.0]}, "chunks[1].embedding"),
    ({"content": "x", "embedding_dimension": 3}, "chunks[1].embedding"),
    ({"content": "x", "embedding_model": "other"}, "chunks[1].embedding_model"),
    ({"content": "x", "embedding": ["a"]}, "chunks[1].embedding[0]"),
    ({"content": ""}, "chunks[1].content"),
    ({"content": {"type": "image", "image": {"url": {"uri": "x"}}}}, "chunks[1].content"),
    ({"metadata": {}}, "chunks[1].content"),
]


async def test_a_wrong_chunk_is_named_and_none_is_kept(shelf: Shelf) -> None:
    store = await shelf.store()
    for chunk, param in WRONG:
        error = await shelf.error(INSERT, 400, vector_store_id=store, chunks=[CHUNKS[0], chunk])
        assert error["param"].startswith(param), chunk
    assert shelf.chunks == []


async def test_an_image_is_refused_with_what_to_send_instead(shelf: Shelf) -> None:
    store, image = await shelf.store(), {"type": "image", "image": {"url": {"uri": "https://example.com/sky.png"}}}
    for content, place in ((image, ""), ([{"type": "text", "text": "The sky."}, image], "[1]")):
        for path, body, field in (
            (INSERT, {"chunks": [{"content": content}]}, "chunks[0].content"),
            (QUERY, {"query": content}, "query"),
        ):
            error = await shelf.error(path, 400, vector_store_id=store, **body)
            assert (error["param"], "say in a text" in error["message"]) == (f"{field}{place}.type", True)


async def test_what_cannot_be_honoured_is_refused(shelf: Shelf) -> None:
    store = await shelf.store()
    error = await shelf.error(INSERT, 400, vector_store_id=store, chunks=CHUNKS, ttl_seconds=5)
    assert (error["param"], error["code"]) == ("ttl_seconds", "unsupported_parameter")
    assert (await shelf.error(QUERY, 400, vector_store_id=store, query="x", params={"odd": 1}))["param"] == "params.odd"
    params = {"mode": "hybrid", "reranker_type": "weighted", "reranker_params": {"alpha": 5}}
    error = await shelf.error(QUERY, 400, vector_store_id=store, query="x", params=params)
    assert error["param"] == "params.reranker_params.alpha"
    assert (await shelf.error(QUERY, 404, vector_store_id="none", query="x"))["param"] == "vector_store_id"
    await shelf.error(INSERT, 400, vector_store_id=store, chunks=[])


async def test_vector_databases_are_vector_stores_by_an_id_of_ones_choice(shelf: Shelf) -> None:
    body = {"vector_db_id": "my-db", "embedding_model": "counts", "embedding_dimension": DIMENSION}
    made = await shelf.post("/v1/vector-dbs", **body)
    assert (made["identifier"], made["type"], made["provider_id"]) == ("my-db", "vector_db", "memory")
    assert await shelf.get("/v1/vector-dbs/my-db") == made
    assert (await shelf.get("/v1/vector-dbs"))["data"] == [made]
    assert (await shelf.get(f"{URL}/my-db"))["name"] == "my-db"
    await shelf.post(INSERT, 204, vector_db_id="my-db", chunks=CHUNKS)
    assert (await shelf.search("my-db", "sky"))[0]["content"][0]["text"] == "The sky is blue."
    assert (await shelf.error("/v1/vector-dbs", 409, **body))["param"] == "vector_db_id"
    other = body | {"vector_db_id": "other", "embedding_dimension": 5}
    assert (await shelf.error("/v1/vector-dbs", 400, **other))["param"] == "embedding_dimension"
    for name in ("a/b", ".", ".."):
        assert (await shelf.error("/v1/vector-dbs", 400, **(body | {"vector_db_id": name})))["param"] == "vector_db_id"
    response = await shelf.http.delete("/v1/vector-dbs/my-db")
    assert response.status_code == 204
    await shelf.get("/v1/vector-dbs/my-db", 404)


async def test_the_deprecated_aliases_serve_the_same(shelf: Shelf) -> None:
    made = await shelf.post("/v1/openai/v1/vector_stores", name="old")
    assert (await shelf.get(f"/v1/openai/v1/vector_stores/{made['id']}"))["name"] == "old"
