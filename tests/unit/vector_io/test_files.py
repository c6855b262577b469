"""Files of vector stores: read whole or not at all, told why not, changed, detached, attached in batches."""

import asyncio
import json
import math
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.files.models import File
from apps.jobs.models import Job
from apps.registry import service
from apps.registry.models import Model, Provider
from apps.vector_io.models import VectorStoreFile
from llamastack.db import db
from llamastack.errors import RateLimited, Unavailable
from tests import documents
from tests.unit.vector_io.conftest import URL, Shelf, add_model
from tests.unit.vector_io.fakes import DIMENSION, MOST

WORDS = [f"word{number}" for number in range(400)]
LONG = " ".join(WORDS)


async def test_a_file_is_read_and_tells_how(shelf: Shelf) -> None:
    store = await shelf.store()
    file_id = await shelf.attach(store, "The sky is blue.", "sky.txt", attributes={"year": 2020, "draft": False})
    file = await shelf.get(f"{URL}/{store}/files/{file_id}")
    assert (file["id"], file["object"], file["vector_store_id"]) == (file_id, "vector_store.file", store)
    assert (file["status"], file["last_error"], file["chunks"], file["parser"]) == ("completed", None, 1, "text")
    assert (file["attributes"], file["filename"]) == ({"year": 2020, "draft": False}, "sky.txt")
    assert file["usage_bytes"] == len("The sky is blue.") + 4 * DIMENSION
    assert (await shelf.get(f"{URL}/{store}"))["usage_bytes"] == file["usage_bytes"]


async def test_auto_chunks_are_as_long_as_the_embedding_model_reads_and_say_so(shelf: Shelf) -> None:
    store = await shelf.store()
    file_id = await shelf.attach(store, LONG)
    file = await shelf.get(f"{URL}/{store}/files/{file_id}")
    sizes = {"max_chunk_size_tokens": MOST, "chunk_overlap_tokens": MOST // 2}
    assert file["chunking_strategy"] == {"type": "static", "static": sizes}
    assert all(len(chunk.content.split()) <= MOST for chunk in shelf.chunks)
    assert {word for chunk in shelf.chunks for word in chunk.content.split()} == set(WORDS)


async def test_before_that_they_are_told_as_openai_tells_them(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.upload("The sky is blue.")
    shelf.words.held.clear()
    file = await shelf.post(f"{URL}/{store}/files", file_id=file_id)
    sizes = {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}
    assert file["chunking_strategy"] == {"type": "static", "static": sizes}
    shelf.words.held.set()
    assert (await shelf.ended(store, file_id))["status"] == "completed"


async def test_a_static_strategy_is_kept(shelf: Shelf) -> None:
    store = await shelf.store()
    strategy = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}
    file_id = await shelf.attach(store, LONG, chunking_strategy=strategy)
    assert (await shelf.get(f"{URL}/{store}/files/{file_id}"))["chunking_strategy"] == strategy
    assert sorted(len(chunk.content.split()) for chunk in shelf.chunks) == [100] * 4


async def test_contexts_that_no_chat_model_can_say_are_refused(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.upload("Alpha beta gamma.")
    for contextual, status, told in (
        ({}, 400, "mark one as default"),
        ({"model_id": "none"}, 404, "'none'"),
        ({"model_id": "counts"}, 400, "of type 'embedding'"),
    ):
        strategy = {"type": "contextual", "contextual": contextual}
        for path, body in (
            (f"{URL}/{store}/files", {"file_id": file_id}),
            (f"{URL}/{store}/file_batches", {"file_ids": [file_id]}),
            (URL, {"file_ids": [file_id]}),
        ):
            error = await shelf.error(path, status, **body, chunking_strategy=strategy)
            assert (error["param"], told in error["message"]) == ("chunking_strategy.contextual.model_id", True)
    assert len((await shelf.get(URL))["data"]) == 1


async def test_a_chat_model_that_is_gone_when_the_file_is_read_is_told(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.upload("Alpha beta gamma.")
    await db(add_model, "talker", "llm", default=True)
    await shelf.stack.live.refresh()
    await shelf.stack.worker.stop()
    strategy: dict[str, Any] = {"type": "contextual", "contextual": {}}
    await shelf.post(f"{URL}/{store}/files", file_id=file_id, chunking_strategy=strategy)
    await db(service.delete_model, await db(Model.objects.get, identifier="talker"))
    await shelf.stack.live.refresh()
    shelf.stack.worker.start()
    assert "mark one as default" in (await shelf.ended(store, file_id))["last_error"]["message"]


async def test_contextual_chunks_are_embedded_with_what_a_chat_model_says_of_them(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.upload("Alpha beta gamma.")
    strategy: dict[str, Any] = {"type": "contextual", "contextual": {}}
    await db(add_model, "talker", "llm", default=True)
    await shelf.stack.live.refresh()
    await shelf.post(f"{URL}/{store}/files", file_id=file_id, chunking_strategy=strategy)
    file = await shelf.ended(store, file_id)
    assert (file["status"], file["chunking_strategy"]["type"]) == ("completed", "contextual")
    asked = next(request for request in shelf.words.requests if hasattr(request, "messages"))
    assert asked.messages[0].content.count("Alpha beta gamma.") == 2
    embedded = [request.input for request in shelf.words.requests if hasattr(request, "input")]
    assert ["About the sky.\n\nAlpha beta gamma."] in embedded
    assert [chunk.content for chunk in shelf.chunks] == ["Alpha beta gamma."]


async def test_a_file_that_is_attached_again_alike_stays_and_otherwise_is_read_anew(shelf: Shelf) -> None:
    store = await shelf.store()
    file_id = await shelf.attach(store, "The sky is blue.")
    before = await db(VectorStoreFile.objects.get)
    await shelf.post(f"{URL}/{store}/files", file_id=file_id)
    assert (await db(VectorStoreFile.objects.get)).pk == before.pk
    await shelf.post(f"{URL}/{store}/files", file_id=file_id, attributes={"a": 1})
    assert (await shelf.ended(store, file_id))["attributes"] == {"a": 1}
    await _settled(shelf)
    assert [chunk.attributes for chunk in shelf.chunks] == [{"a": 1}]


UNREADABLE: list[tuple[bytes, str, str, str]] = [
    (b"\x00\x01\x02\xff" * 40, "odd.bin", "unsupported_file", "odd.bin"),
    (b" \n ", "blank.txt", "invalid_file", "empty"),
    (documents.pdf("")[:200], "broken.pdf", "invalid_file", "cannot be read"),
    (documents.scan(), "scan.pdf", "invalid_file", "no text"),
    (documents.encrypted(documents.pdf("text"), "secret"), "locked.pdf", "invalid_file", "encrypted"),
    (documents.docx("0" * 30_000_000), "bomb.docx", "invalid_file", "unpack"),
]


async def test_a_file_that_cannot_be_read_has_failed_and_says_why(shelf: Shelf) -> None:
    for content, name, code, said in UNREADABLE:
        store = await shelf.store()
        file_id = await shelf.attach(store, content, name)
        file = await shelf.get(f"{URL}/{store}/files/{file_id}")
        assert (file["status"], file["last_error"]["code"]) == ("failed", code), name
        assert said in file["last_error"]["message"], name
        assert (await shelf.get(f"{URL}/{store}"))["file_counts"]["failed"] == 1, name
        assert shelf.chunks == [], name
        await shelf.get(f"{URL}/{store}/files/{file_id}/content", 409)


async def test_a_file_that_has_expired_before_it_is_read_has_failed(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.upload("text")
    await shelf.stack.worker.stop()
    await shelf.post(f"{URL}/{store}/files", file_id=file_id)
    await db(File.objects.filter(pk=file_id).update, expires_at=timezone.now())
    shelf.stack.worker.start()
    file = await shelf.ended(store, file_id)
    assert (file["status"], file["last_error"]["code"]) == ("failed", "invalid_file")
    assert "There is no file" in file["last_error"]["message"]
    await shelf.error(f"{URL}/{store}/files", 404, file_id=file_id)


async def test_a_file_that_is_deleted_while_it_is_read_leaves_nothing_and_the_others_go_on(shelf: Shelf) -> None:
    store = await shelf.store()
    file_id, other = await shelf.upload("The sky is blue."), await shelf.upload("The sea is salt.")
    shelf.words.held.clear()
    batch = await shelf.post(f"{URL}/{store}/file_batches", file_ids=[file_id, other])
    await shelf.until("/v1alpha/jobs", lambda jobs: jobs["data"][0]["status"] == "running")
    await shelf.delete(f"/v1/files/{file_id}")
    await shelf.get(f"{URL}/{store}/files/{file_id}", 404)
    shelf.words.held.set()
    path = f"{URL}/{store}/file_batches/{batch['id']}"
    ended = await shelf.until(path, lambda batch: batch["status"] != "in_progress")
    counts = {"in_progress": 0, "completed": 1, "failed": 0, "cancelled": 1, "total": 2}
    assert (ended["status"], ended["file_counts"]) == ("completed", counts)
    await _settled(shelf)
    assert [chunk.content for chunk in shelf.chunks] == ["The sea is salt."]


async def test_a_deleted_file_is_found_in_no_store_any_more(shelf: Shelf) -> None:
    stores = [await shelf.store(), await shelf.store()]
    file_id = await shelf.attach(stores[0], "The sky is blue.")
    await shelf.post(f"{URL}/{stores[1]}/files", file_id=file_id)
    await shelf.ended(stores[1], file_id)
    await shelf.delete(f"/v1/files/{file_id}")
    for store in stores:
        assert await shelf.search(store, "sky") == []
        assert (await shelf.get(f"{URL}/{store}"))["file_counts"]["total"] == 0
    await _settled(shelf)
    assert shelf.chunks == []


async def test_an_embedding_model_that_is_down_fails_the_file_and_another_try_reads_it(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.upload("The sky is blue.")
    shelf.words.failing = RateLimited("Too many texts.", retry_after=0.01)
    await shelf.post(f"{URL}/{store}/files", file_id=file_id)
    file = await shelf.ended(store, file_id)
    assert (file["status"], file["last_error"]["message"]) == ("failed", "Too many texts.")
    assert shelf.chunks == []
    shelf.words.failing = None
    await shelf.post(f"{URL}/{store}/files", file_id=file_id)
    assert (await shelf.ended(store, file_id))["status"] == "completed"


async def test_an_index_that_is_down_fails_the_file_and_nothing_of_it_stays(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.upload("The sky is blue.")
    shelf.index.failing = Unavailable("The index is gone.")
    await shelf.post(f"{URL}/{store}/files", file_id=file_id)
    file = await shelf.ended(store, file_id)
    assert (file["status"], file["last_error"]["message"]) == ("failed", "The index is gone.")
    shelf.index.failing = None
    assert shelf.chunks == []


async def test_an_index_that_goes_down_in_the_midst_of_a_file_leaves_nothing_of_it_in_the_end(shelf: Shelf) -> None:
    """What is written cannot be removed while the index is down: a job does it once it is back."""
    store, file_id = await shelf.store(), await shelf.upload(" ".join(f"word{number}" for number in range(60_000)))
    strategy = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}
    shelf.index.takes = 1
    await shelf.post(f"{URL}/{store}/files", file_id=file_id, chunking_strategy=strategy)
    file = await shelf.ended(store, file_id)
    assert (file["status"], file["last_error"]["message"]) == ("failed", "The index is gone.")
    assert len(shelf.chunks) == 500
    shelf.index.takes, shelf.index.failing = math.inf, None
    assert await shelf.search(store, "word1") == []
    await db(Job.objects.filter(kind="vector_stores.remove").update, lease_until=timezone.now() - timedelta(minutes=1))
    await _settled(shelf)
    assert shelf.chunks == []


async def test_a_file_that_is_detached_while_it_is_read_leaves_nothing(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.upload("The sky is blue.")
    shelf.words.held.clear()
    await shelf.post(f"{URL}/{store}/files", file_id=file_id)
    gone = await shelf.delete(f"{URL}/{store}/files/{file_id}")
    assert gone == {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}
    shelf.words.held.set()
    await _settled(shelf)
    assert shelf.chunks == []
    await shelf.get(f"{URL}/{store}/files/{file_id}", 404)


async def test_a_store_that_is_deleted_while_its_files_are_read_leaves_nothing(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.upload("The sky is blue.")
    shelf.words.held.clear()
    await shelf.post(f"{URL}/{store}/files", file_id=file_id)
    await shelf.delete(f"{URL}/{store}")
    shelf.words.held.set()
    await _settled(shelf)
    assert shelf.chunks == []


async def test_a_detached_file_is_found_no_more(shelf: Shelf) -> None:
    store = await shelf.store()
    file_id = await shelf.attach(store, "The sky is blue.")
    other = await shelf.attach(store, "The sky is grey.")
    await shelf.delete(f"{URL}/{store}/files/{file_id}")
    assert [found["file_id"] for found in await shelf.search(store, "sky blue", max_num_results=1)] == [other]
    await _settled(shelf)
    assert len(shelf.chunks) == 1
    assert (await shelf.get(f"/v1/files/{file_id}"))["id"] == file_id


async def test_attributes_are_changed_in_the_row_and_in_the_index(shelf: Shelf) -> None:
    store = await shelf.store()
    file_id = await shelf.attach(store, "The sky is blue.", attributes={"a": 1, "b": 2})
    path = f"{URL}/{store}/files/{file_id}"
    assert (await shelf.post(path, attributes={"a": 3}))["attributes"] == {"a": 3}
    assert (await shelf.get(path))["attributes"] == {"a": 3}
    for value, count in ((3, 1), (1, 0)):
        found = await shelf.search(store, "sky", filters={"type": "eq", "key": "a", "value": value})
        assert len(found) == count
    assert (await shelf.error(path, 400, attributes={"a": [1]}))["param"] == "attributes.a"
    assert (await shelf.post(path, attributes=None))["attributes"] == {}
    assert await shelf.search(store, "sky", filters={"type": "eq", "key": "a", "value": 3}) == []


async def test_content_is_the_chunks_with_what_is_known_of_them_where_that_is_asked_for(shelf: Shelf) -> None:
    store = await shelf.store()
    file_id = await shelf.attach(store, LONG, "words.txt", attributes={"a": 1})
    path = f"{URL}/{store}/files/{file_id}/content"
    page = await shelf.get(path)
    assert (page["object"], page["has_more"], page["next_page"]) == ("vector_store.file_content.page", False, None)
    assert page["data"][0] == {"type": "text", "text": " ".join(WORDS[:MOST])}
    first = (await shelf.get(path, include_embeddings=True, include_metadata=True))["data"][0]
    assert len(first["embedding"]) == DIMENSION
    assert first["metadata"] == {"file_id": file_id, "filename": "words.txt", "page": None, "a": 1}
    assert first["chunk_metadata"]["content_token_count"] == MOST


async def test_files_are_listed_by_their_state(shelf: Shelf) -> None:
    store = await shelf.store()
    good = await shelf.attach(store, "The sky is blue.")
    bad = await shelf.attach(store, " ")
    page = await shelf.get(f"{URL}/{store}/files")
    assert [file["id"] for file in page["data"]] == [bad, good]
    for state, ids in (("completed", [good]), ("failed", [bad]), ("in_progress", []), ("cancelled", [])):
        page = await shelf.get(f"{URL}/{store}/files", filter=state)
        assert [file["id"] for file in page["data"]] == ids
    page = await shelf.get(f"{URL}/{store}/files", limit=1, after=bad)
    assert ([file["id"] for file in page["data"]], page["has_more"]) == ([good], False)
    assert (await shelf.get(f"{URL}/{store}/files", 400, filter="odd"))["error"]["param"] == "filter"


async def test_a_batch_reads_its_files_and_counts_them(shelf: Shelf) -> None:
    store = await shelf.store()
    ids = [await shelf.upload(f"Text number {number}.") for number in range(5)] + [await shelf.upload(" ")]
    batch = await shelf.post(f"{URL}/{store}/file_batches", file_ids=ids, attributes={"of": "batch"})
    path = f"{URL}/{store}/file_batches/{batch['id']}"
    ended = await shelf.until(path, lambda batch: batch["status"] != "in_progress")
    assert (ended["object"], ended["status"]) == ("vector_store.files_batch", "completed")
    assert ended["file_counts"] == {"in_progress": 0, "completed": 5, "failed": 1, "cancelled": 0, "total": 6}
    files = (await shelf.get(f"{path}/files"))["data"]
    assert {file["id"] for file in files} == set(ids)
    assert all(file["attributes"] == {"of": "batch"} for file in files)
    assert len((await shelf.get(f"{path}/files", filter="failed"))["data"]) == 1


async def test_each_file_of_a_batch_may_have_attributes_of_its_own(shelf: Shelf) -> None:
    store = await shelf.store()
    files = [{"file_id": await shelf.upload("text"), "attributes": {"number": number}} for number in range(2)]
    batch = await shelf.post(f"{URL}/{store}/file_batches", files=files)
    path = f"{URL}/{store}/file_batches/{batch['id']}"
    await shelf.until(path, lambda batch: batch["status"] == "completed")
    numbers = {file["attributes"]["number"] for file in (await shelf.get(f"{path}/files"))["data"]}
    assert numbers == {0, 1}
    for body in ({}, {"files": files, "file_ids": ["x"]}, {"file_ids": []}, {"file_ids": ["x"] * 2001}):
        await shelf.error(f"{URL}/{store}/file_batches", 400, **body)
    await shelf.get(f"{URL}/{store}/file_batches/vsfb_none", 404)


async def test_a_batch_is_cancelled_and_what_was_read_stays(shelf: Shelf) -> None:
    store = await shelf.store()
    shelf.words.held.clear()
    batch = await shelf.post(f"{URL}/{store}/file_batches", file_ids=[await shelf.upload("text")])
    path = f"{URL}/{store}/file_batches/{batch['id']}"
    await shelf.post(f"{path}/cancel")
    ended = await shelf.until(path, lambda batch: batch["file_counts"]["cancelled"] == 1)
    assert ended["status"] == "cancelled"
    assert shelf.chunks == []


async def test_a_store_is_made_with_files(shelf: Shelf) -> None:
    ids = [await shelf.upload("The sky is blue."), await shelf.upload("The sea is salt.")]
    made = await shelf.post(URL, file_ids=ids)
    assert (made["status"], made["file_counts"]["total"]) in (("in_progress", 2), ("completed", 2))
    done = await shelf.until(f"{URL}/{made['id']}", lambda store: store["status"] == "completed")
    assert done["file_counts"]["completed"] == 2


async def test_whoever_goes_on_with_an_ingestion_makes_no_chunk_twice(shelf: Shelf) -> None:
    """The first one is cut off between its chunks and its word on them, as by kill -9."""
    store, file_id = await shelf.store(), await shelf.upload(LONG)
    await shelf.post(f"{URL}/{store}/files", file_id=file_id)
    await shelf.ended(store, file_id)
    await _settled(shelf)  # or its job's end would still be written
    ids = sorted(chunk.id for chunk in shelf.chunks)
    await db(VectorStoreFile.objects.update, status="in_progress")
    gone = timezone.now() - timedelta(minutes=1)
    await db(Job.objects.filter(kind="vector_stores.ingest").update, status="running", lease_until=gone)
    assert (await shelf.ended(store, file_id))["status"] == "completed"
    assert sorted(chunk.id for chunk in shelf.chunks) == ids


async def test_a_file_whose_job_was_set_aside_has_failed(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.upload("text")
    shelf.words.held.clear()
    await shelf.post(f"{URL}/{store}/files", file_id=file_id)
    await shelf.until("/v1alpha/jobs", lambda jobs: jobs["data"][0]["status"] == "running")
    await db(Job.objects.update, status="quarantined", error="Begun three times.")
    file = await shelf.get(f"{URL}/{store}/files/{file_id}")
    assert (file["status"], file["last_error"]["message"]) == ("failed", "Begun three times.")


async def test_provider_data_is_used_kept_encrypted_and_removed(shelf: Shelf) -> None:
    await db(add_model, "talker", "llm", default=True)
    await shelf.stack.live.refresh()
    store, file_id = await shelf.store(), await shelf.upload("The sky is blue.")
    await shelf.stack.worker.stop()
    shelf.http.headers["X-LlamaStack-Provider-Data"] = json.dumps({"openai_api_key": "sk-mine"})
    shelf.words.data.clear()
    strategy: dict[str, Any] = {"type": "contextual", "contextual": {}}
    await shelf.post(f"{URL}/{store}/files", file_id=file_id, chunking_strategy=strategy)
    kept = (await db(Job.objects.get)).payload["provider_data"]
    assert (kept.startswith("enc:v1:"), "sk-mine" in kept) == (True, False)
    shelf.stack.worker.start()
    assert (await shelf.ended(store, file_id))["status"] == "completed"
    await _settled(shelf)
    assert shelf.words.data == [{"openai_api_key": "sk-mine"}] * 2  # a chunk's context, and its vector
    assert "provider_data" not in (await db(Job.objects.get)).payload


async def test_provider_data_of_a_job_that_has_failed_is_removed_within_the_hour(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.upload("The sky is blue.")
    await shelf.stack.worker.stop()
    shelf.http.headers["X-LlamaStack-Provider-Data"] = json.dumps({"openai_api_key": "sk-mine"})
    await shelf.post(f"{URL}/{store}/files", file_id=file_id)
    job = await db(Job.objects.get)
    await db(Job.objects.update, payload=job.payload | {"provider_data": "enc:v1:of-another-key"})
    shelf.stack.worker.start()
    file = await shelf.ended(store, file_id)
    assert (file["status"], "LLAMA_STACK_SECRET_KEYS" in file["last_error"]["message"]) == ("failed", True)
    now = timezone.now()
    await db(Job.objects.create, id="job_sweep", kind="vector_stores.sweep", owner="system", created_at=now)
    shelf.stack.worker.ring()
    await _settled(shelf)
    assert "provider_data" not in (await db(Job.objects.get, pk=job.id)).payload


async def test_provider_data_is_refused_where_it_is_not_kept(shelf: Shelf) -> None:
    store, file_id = await shelf.store(), await shelf.upload("The sky is blue.")
    row = Provider(identifier="batches", provider_type="inline::reference", api="batches")
    await db(service.edit_provider, row, {"store_provider_data": False}, enabled=True)
    await shelf.stack.live.refresh()
    shelf.http.headers["X-LlamaStack-Provider-Data"] = json.dumps({"openai_api_key": "sk-mine"})
    for path, body in (
        (URL, {"file_ids": [file_id]}),
        (f"{URL}/{store}/files", {"file_id": file_id}),
        (f"{URL}/{store}/file_batches", {"file_ids": [file_id]}),
    ):
        assert (await shelf.error(path, 400, **body))["code"] == "invalid_provider_data"
    await shelf.store()  # reads nothing later
    assert await db(VectorStoreFile.objects.count) == 0


async def _settled(shelf: Shelf) -> None:
    await asyncio.sleep(0)
    await shelf.until("/v1alpha/jobs", lambda jobs: all(job["ended_at"] for job in jobs["data"]))


async def switch(shelf: Shelf, provider: str, *, on: bool) -> None:
    """As an operator does in the admin."""
    await db(lambda: service.edit_provider(Provider.objects.get(identifier=provider), {}, enabled=on))
    await shelf.stack.live.refresh()


async def until_it_waits(shelf: Shelf) -> Any:
    """The job that was made last, once it waits."""
    jobs = await shelf.until("/v1alpha/jobs", lambda jobs: jobs["data"][0]["error"] is not None)
    return jobs["data"][0]


async def go_on(shelf: Shelf) -> None:
    """Its pause is over."""
    await db(Job.objects.filter(status="queued").update, lease_until=None)
    shelf.stack.worker.ring()


@pytest.mark.parametrize(("provider", "told"), [("memory", "vector store's provider 'memory'"), ("local", "'local'")])
async def test_a_file_whose_provider_is_switched_off_is_read_when_it_is_back(
    shelf: Shelf, provider: str, told: str
) -> None:
    store, file_id = await shelf.store(), await shelf.upload("The sky is blue.")
    await shelf.stack.worker.stop()
    await shelf.post(f"{URL}/{store}/files", file_id=file_id)
    await switch(shelf, provider, on=False)
    shelf.stack.worker.start()
    job = await until_it_waits(shelf)
    assert (job["status"], job["attempt"], told in job["error"]) == ("queued", 0, True)
    assert (await shelf.get(f"{URL}/{store}/files/{file_id}"))["status"] == "in_progress"
    await switch(shelf, provider, on=True)
    await go_on(shelf)
    assert (await shelf.ended(store, file_id))["status"] == "completed"


async def test_what_is_to_be_removed_is_when_its_provider_is_back(shelf: Shelf) -> None:
    store = await shelf.store()
    file_id = await shelf.attach(store, "The sky is blue.")
    await _settled(shelf)
    await shelf.stack.worker.stop()
    await shelf.delete(f"{URL}/{store}/files/{file_id}")
    await switch(shelf, "memory", on=False)
    shelf.stack.worker.start()
    assert (await until_it_waits(shelf))["status"] == "queued"
    await switch(shelf, "memory", on=True)
    await go_on(shelf)
    await _settled(shelf)
    job = (await shelf.get("/v1alpha/jobs"))["data"][0]
    assert (job["kind"], job["status"], job["error"]) == ("vector_stores.remove", "completed", None)
