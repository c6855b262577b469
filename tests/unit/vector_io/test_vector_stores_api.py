"""/v1/vector_stores: stores are made of an embedding model that was asked, listed, changed and deleted."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.access.models import ApiKey
from apps.jobs.models import Job
from apps.registry.models import VectorStore
from llamastack.db import db
from llamastack.errors import Unavailable
from tests.unit.vector_io.conftest import URL, Shelf, add_model
from tests.unit.vector_io.fakes import DIMENSION


async def test_a_store_tells_what_it_is(shelf: Shelf) -> None:
    made = await shelf.post(
        URL,
        name="facts",
        description="What is known",
        metadata={"for": "me", "rank": 1, "own": True},
        expires_after={"anchor": "last_active_at", "days": 7},
    )
    assert made["id"].startswith("vs_")
    assert (made["object"], made["name"], made["status"]) == ("vector_store", "facts", "completed")
    assert made["metadata"] == {"for": "me", "rank": 1, "own": True}
    assert made["expires_at"] == made["last_active_at"] + 7 * 24 * 3600
    assert made["file_counts"] == {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0}
    told = (made["provider_id"], made["embedding_model"], made["embedding_dimension"], made["description"])
    assert told == ("memory", "counts", DIMENSION, "What is known")
    assert await shelf.get(f"{URL}/{made['id']}") == made


async def test_an_empty_body_makes_a_store_of_the_only_embedding_model(shelf: Shelf) -> None:
    made = await shelf.post(URL)
    assert (made["embedding_model"], made["name"], made["usage_bytes"]) == ("counts", "", 0)


async def test_of_several_embedding_models_the_default_is_taken_or_one_is_to_be_named(shelf: Shelf) -> None:
    await db(add_model, "other", "embedding", metadata={"embedding_dimension": DIMENSION})
    await shelf.stack.live.refresh()
    error = await shelf.error(URL, 400)
    assert (error["param"], error["code"]) == ("embedding_model", "no_default_model")
    assert (await shelf.post(URL, embedding_model="other"))["embedding_model"] == "other"
    await db(add_model, "third", "embedding", metadata={"embedding_dimension": DIMENSION}, default=True)
    await shelf.stack.live.refresh()
    assert (await shelf.post(URL))["embedding_model"] == "third"


async def test_an_unknown_embedding_model_is_a_404_that_names_the_field(shelf: Shelf) -> None:
    error = await shelf.error(URL, 404, embedding_model="countz")
    assert (error["param"], "counts" in error["message"]) == ("embedding_model", True)


async def test_a_model_that_embeds_nothing_is_refused(shelf: Shelf) -> None:
    await db(add_model, "talker", "llm")
    await shelf.stack.live.refresh()
    assert (await shelf.error(URL, 400, embedding_model="talker"))["param"] == "embedding_model"


async def test_the_dimension_is_what_the_model_answers_whatever_is_asked_or_registered(shelf: Shelf) -> None:
    error = await shelf.error(URL, 400, embedding_dimension=3)
    assert (error["param"], "64" in error["message"]) == ("embedding_dimension", True)
    await db(add_model, "liar", "embedding", metadata={"embedding_dimension": 7})
    await shelf.stack.live.refresh()
    assert (await shelf.post(URL, embedding_model="liar"))["embedding_dimension"] == DIMENSION
    assert (await shelf.post(URL, embedding_model="counts", embedding_dimension=64))["embedding_dimension"] == 64


async def test_an_embedding_model_that_is_down_makes_no_store(shelf: Shelf) -> None:
    shelf.words.failing = Unavailable("The model is asleep.")
    error = await shelf.error(URL, 503)
    assert error["message"] == "The model is asleep."
    assert (await shelf.get(URL))["data"] == []


async def test_a_provider_is_named_or_chosen(shelf: Shelf) -> None:
    assert (await shelf.post(URL, provider_id="memory"))["provider_id"] == "memory"
    error = await shelf.error(URL, 400, provider_id="nowhere")
    assert (error["param"], "memory" in error["message"]) == ("provider_id", True)


async def test_a_provider_that_is_down_is_a_503_with_its_reason(shelf: Shelf) -> None:
    store = await shelf.store()
    shelf.index.failing = Unavailable("The database of vectors is gone.")
    for path, body in ((URL, {}), (f"{URL}/{store}/search", {"query": "sky"})):
        error = await shelf.error(path, 503, **body)
        assert error["message"] == "The database of vectors is gone."
    assert len((await shelf.get(URL))["data"]) == 1


async def test_lists_go_in_pages_in_both_directions(shelf: Shelf) -> None:
    ids = [await shelf.store(name=str(number)) for number in range(5)]
    newest = ids[::-1]
    page = await shelf.get(URL, limit=2)
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (newest[:2], True)
    page = await shelf.get(URL, limit=2, after=page["last_id"])
    assert [one["id"] for one in page["data"]] == newest[2:4]
    page = await shelf.get(URL, limit=1, before=page["first_id"])
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (newest[1:2], True)
    page = await shelf.get(URL, order="asc", after=ids[2])
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (ids[3:], False)
    for cursor in ("after", "before"):
        error = (await shelf.get(URL, 400, **{cursor: "vs_none"}))["error"]
        assert (error["code"], error["param"], f"'{cursor}'" in error["message"]) == ("invalid_cursor", cursor, True)
    assert (await shelf.get(URL, 400, filter="completed"))["error"]["param"] == "filter"


async def test_a_store_is_changed(shelf: Shelf) -> None:
    store = await shelf.store(name="one", metadata={"a": "b"}, expires_after={"anchor": "last_active_at", "days": 1})
    changed = await shelf.post(f"{URL}/{store}", name="two")
    assert (changed["name"], changed["metadata"], changed["expires_after"]["days"]) == ("two", {"a": "b"}, 1)
    changed = await shelf.post(f"{URL}/{store}", metadata={}, expires_after=None)
    assert (changed["metadata"], changed["expires_after"], changed["expires_at"]) == ({}, None, None)


async def test_a_deleted_store_is_gone_and_its_index_with_it(shelf: Shelf) -> None:
    store = await shelf.store()
    await shelf.attach(store, "The sky is blue.")
    gone = await shelf.delete(f"{URL}/{store}")
    assert gone == {"id": store, "object": "vector_store.deleted", "deleted": True}
    for path in (f"{URL}/{store}", f"{URL}/{store}/files"):
        assert (await shelf.get(path, 404))["error"]["code"] == "vector_store_not_found"
    await shelf.until("/v1alpha/jobs", lambda jobs: all(job["status"] == "completed" for job in jobs["data"]))
    assert shelf.index.stores == {}


async def test_the_index_of_a_deleted_store_goes_once_its_provider_is_back(shelf: Shelf) -> None:
    store = await shelf.store()
    shelf.index.failing = Unavailable("Gone for a moment.")
    await shelf.delete(f"{URL}/{store}")
    await shelf.until("/v1alpha/jobs", lambda jobs: jobs["data"][0]["attempt"] == 1)
    shelf.index.failing = None
    await db(Job.objects.update, lease_until=timezone.now() - timedelta(minutes=1))
    await shelf.until("/v1alpha/jobs", lambda jobs: jobs["data"][0]["status"] == "completed")
    assert shelf.index.stores == {}


async def test_an_expired_store_says_so_until_it_is_given_more_days(shelf: Shelf) -> None:
    store = await shelf.store(expires_after={"anchor": "last_active_at", "days": 1})
    file_id = await shelf.attach(store, "The sky is blue.")
    await db(VectorStore.objects.update, last_active_at=timezone.now() - timedelta(days=2))
    assert (await shelf.get(f"{URL}/{store}"))["status"] == "expired"
    for path, body in (("search", {"query": "sky"}), ("files", {"file_id": file_id})):
        error = await shelf.error(f"{URL}/{store}/{path}", 400, **body)
        assert error["code"] == "vector_store_expired"
    await shelf.post(f"{URL}/{store}", expires_after=None)
    assert await shelf.search(store, "sky")


async def test_what_an_expired_store_held_is_removed(shelf: Shelf) -> None:
    kept, store = await shelf.store(), await shelf.store(expires_after={"anchor": "last_active_at", "days": 1})
    for one in (kept, store):
        await shelf.attach(one, "The sky is blue.")
    await db(VectorStore.objects.update, last_active_at=timezone.now() - timedelta(days=2))
    now = timezone.now()
    job = await db(Job.objects.create, id="job_sweep", kind="vector_stores.sweep", owner="system", created_at=now)
    shelf.stack.worker.ring()
    await shelf.until(f"/v1alpha/jobs/{job.id}", lambda job: job["status"] == "completed")
    await shelf.until("/v1alpha/jobs", lambda jobs: all(job["ended_at"] for job in jobs["data"]))
    assert [key for _, key in shelf.index.stores] == [kept]
    shown = await shelf.get(f"{URL}/{store}")
    assert (shown["status"], shown["file_counts"]["total"]) == ("expired", 0)
    await shelf.post(f"{URL}/{store}", expires_after=None)
    assert await shelf.search(store, "sky") == []


async def test_an_expired_store_of_chunks_without_files_is_emptied_once(shelf: Shelf) -> None:
    store = await shelf.store(expires_after={"anchor": "last_active_at", "days": 1})
    chunk = {"content": "The sky is blue.", "chunk_id": "sky", "metadata": {"document_id": "sky"}}
    await shelf.post("/v1/vector-io/insert", 204, vector_store_id=store, chunks=[chunk])
    await db(VectorStore.objects.update, last_active_at=timezone.now() - timedelta(days=2))
    for number in range(2):
        now = timezone.now()
        await db(Job.objects.create, id=f"job_{number}", kind="vector_stores.sweep", owner="system", created_at=now)
        shelf.stack.worker.ring()
        await shelf.until("/v1alpha/jobs", lambda jobs: all(job["ended_at"] for job in jobs["data"]))
    assert shelf.index.stores == {}
    assert await db(Job.objects.filter(kind="vector_stores.remove").count) == 1
    await shelf.post(f"{URL}/{store}", expires_after=None)
    await shelf.post("/v1/vector-io/insert", 204, vector_store_id=store, chunks=[chunk])
    assert len(await shelf.search(store, "sky")) == 1


async def test_whoever_uses_a_store_begins_its_days_anew(shelf: Shelf) -> None:
    store = await shelf.store(expires_after={"anchor": "last_active_at", "days": 1})
    before = timezone.now() - timedelta(hours=20)
    await db(VectorStore.objects.update, last_active_at=before)
    await shelf.search(store, "sky")
    assert (await shelf.get(f"{URL}/{store}"))["last_active_at"] > before.timestamp() + 3600


async def test_another_tenants_store_is_none(shelf: Shelf) -> None:
    store = await shelf.store()
    file_id = await shelf.attach(store, "The sky is blue.")
    _, secret = await db(ApiKey.issue, "other", "eve", tenant="other")
    await shelf.stack.live.refresh()
    shelf.http.headers["Authorization"] = f"Bearer {secret}"
    assert (await shelf.get(URL))["data"] == []
    for path in ("", "/files", f"/files/{file_id}", f"/files/{file_id}/content"):
        assert (await shelf.get(f"{URL}/{store}{path}", 404))["error"]["code"] == "vector_store_not_found"
    for path, body in (
        ("", {}),
        ("/search", {"query": "sky"}),
        ("/files", {"file_id": file_id}),
        ("/file_batches", {"file_ids": [file_id]}),
    ):
        await shelf.error(f"{URL}/{store}{path}", 404, **body)
    await shelf.delete(f"{URL}/{store}", 404)
    own = await shelf.store()
    assert (await shelf.error(f"{URL}/{own}/files", 404, file_id=file_id))["param"] == "file_id"
    assert (await shelf.error(URL, 404, file_ids=["file-none"]))["param"] == "file_ids[0]"
    assert (await shelf.error(f"{URL}/{own}/file_batches", 404, file_ids=[file_id]))["param"] == "file_ids[0]"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "x" * 256}, "name"),
    ({"name": "a\0b"}, "name"),
    ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
    ({"metadata": {"x": "y" * 513}}, "metadata.x"),
    ({"metadata": {"x": [1]}}, "metadata.x"),
    ({"metadata": {"x": None}}, "metadata.x"),
    ({"expires_after": {"anchor": "last_active_at", "days": 0}}, "expires_after.days"),
    ({"expires_after": {"anchor": "created_at", "days": 1}}, "expires_after.anchor"),
    ({"file_ids": ["f"] * 501}, "file_ids"),
    ({"embedding_dimension": "64"}, "embedding_dimension"),
    ({"chunking_strategy": {"type": "odd"}}, "chunking_strategy"),
    ({"colour": "blue"}, "colour"),
]


async def test_what_is_wrong_is_named(shelf: Shelf) -> None:
    for body, param in WRONG:
        assert (await shelf.error(URL, 400, **body))["param"] == param, body


async def test_what_is_wrong_with_texts_and_values_is_said_in_their_words(shelf: Shelf) -> None:
    assert "255 characters" in (await shelf.error(URL, 400, name="x" * 256))["message"]
    assert "512 characters" in (await shelf.error(URL, 400, metadata={"x": "y" * 513}))["message"]
    assert "a text, a number or a boolean" in (await shelf.error(URL, 400, metadata={"x": {}}))["message"]


BOUNDS: list[tuple[dict[str, int], str]] = [
    ({"max_chunk_size_tokens": 99, "chunk_overlap_tokens": 0}, "greater than or equal to 100"),
    ({"max_chunk_size_tokens": 4097, "chunk_overlap_tokens": 0}, "less than or equal to 4096"),
    ({"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 51}, "half"),
    ({"max_chunk_size_tokens": 121, "chunk_overlap_tokens": 0}, "counts reads 120 tokens"),
]


async def test_chunk_sizes_have_bounds(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.upload("text")
    for sizes, said in BOUNDS:
        strategy = {"type": "static", "static": sizes}
        error = await shelf.error(f"{URL}/{store}/files", 400, file_id=file_id, chunking_strategy=strategy)
        assert said in error["message"]
        assert error["param"].startswith("chunking_strategy.static")


async def test_a_store_of_the_run_yaml_is_made_when_it_is_first_used(shelf: Shelf) -> None:
    made = {"embedding_model": "counts", "embedding_dimension": DIMENSION, "provider_id": "memory"}
    await db(VectorStore.objects.create, identifier="docs", key="vs_docs", origin="yaml", **made)
    assert await shelf.search("docs", "sky") == []
    await shelf.attach("docs", "The sky is blue.")
    assert len(await shelf.search("docs", "sky")) == 1


async def test_a_shared_store_is_read_by_all_and_changed_by_the_default_tenants_admins(shelf: Shelf) -> None:
    made = {"embedding_model": "counts", "embedding_dimension": DIMENSION, "provider_id": "memory"}
    await db(VectorStore.objects.create, identifier="docs", key="vs_docs", origin="yaml", **made)
    await shelf.attach("docs", "The sky is blue.")
    _, secret = await db(ApiKey.issue, "other", "eve", tenant="other", admin=True)
    await shelf.stack.live.refresh()
    shelf.http.headers["Authorization"] = f"Bearer {secret}"
    assert len(await shelf.search("docs", "sky")) == 1
    file_id = await shelf.upload("The sea is salt.")
    for path, body in ((f"{URL}/docs", {"name": "mine"}), (f"{URL}/docs/files", {"file_id": file_id})):
        assert (await shelf.error(path, 403, **body))["code"] == "permission_denied"
    await shelf.delete(f"{URL}/docs", 403)
