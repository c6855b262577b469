"""Batches of files that share files with others: each keeps its list, and what became of it."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.jobs.models import Job
from apps.registry.models import VectorStore
from apps.vector_io import stores
from apps.vector_io.models import VectorStoreFile
from llamastack.db import db
from llamastack.errors import BadRequest
from tests.unit.vector_io.conftest import URL, WAITS_SECONDS, Shelf

SMALL = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}


class Batch:
    def __init__(self, shelf: Shelf, store: str, made: Any) -> None:
        self.shelf, self.made = shelf, made
        self.path = f"{URL}/{store}/file_batches/{made['id']}"

    async def told(self) -> tuple[str, dict[str, int]]:
        """Its status, and its counts that are not 0."""
        return told(await self.shelf.get(self.path))

    async def ended(self) -> tuple[str, dict[str, int]]:
        return told(await self.shelf.until(self.path, lambda batch: batch["file_counts"]["in_progress"] == 0))

    async def files(self, **query: Any) -> set[str]:
        return {file["id"] for file in (await self.shelf.get(f"{self.path}/files", **query))["data"]}

    async def cancel(self) -> tuple[str, dict[str, int]]:
        return told(await self.shelf.post(f"{self.path}/cancel"))


def told(batch: Any) -> tuple[str, dict[str, int]]:
    counts = {state: number for state, number in batch["file_counts"].items() if number}
    assert counts.pop("total") == sum(counts.values())
    return batch["status"], counts


async def attach(shelf: Shelf, store: str, *ids: str, **body: Any) -> Batch:
    return Batch(shelf, store, await shelf.post(f"{URL}/{store}/file_batches", file_ids=ids, **body))


async def test_each_batch_keeps_the_files_that_it_was_made_of(shelf: Shelf) -> None:
    store = await shelf.store()
    sky, sea, bread = [await shelf.upload(text) for text in ("The sky.", "The sea.", "Bread.")]
    first = await attach(shelf, store, sky, sea)
    assert await first.ended() == ("completed", {"completed": 2})
    second = await attach(shelf, store, sea, bread)
    assert await second.ended() == ("completed", {"completed": 2})
    assert await first.told() == ("completed", {"completed": 2})
    assert (await first.files(), await second.files()) == ({sky, sea}, {sea, bread})
    assert (await shelf.get(f"{URL}/{store}"))["file_counts"]["total"] == 3
    for batch in (first, second):
        assert (await shelf.error(f"{batch.path}/cancel", 409))["code"] == "batch_ended"


async def test_a_batch_of_files_that_another_is_reading_ends_with_them(shelf: Shelf) -> None:
    store, sky = await shelf.store(), await shelf.upload("The sky.")
    shelf.words.held.clear()
    first, second = await attach(shelf, store, sky), await attach(shelf, store, sky)
    assert await second.told() == await first.told() == ("in_progress", {"in_progress": 1})
    shelf.words.held.set()
    assert await second.ended() == await first.ended() == ("completed", {"completed": 1})
    assert await db(Job.objects.count) == 1


async def test_a_file_that_is_asked_for_otherwise_while_it_is_read_is_read_so_for_both(shelf: Shelf) -> None:
    store, sky = await shelf.store(), await shelf.upload("The sky.")
    shelf.words.held.clear()
    first = await attach(shelf, store, sky)
    second = await attach(shelf, store, sky, attributes={"of": "second"})
    assert await first.told() == ("in_progress", {"in_progress": 1})
    shelf.words.held.set()
    assert await second.ended() == await first.ended() == ("completed", {"completed": 1})
    await settled(shelf)
    assert [chunk.attributes for chunk in shelf.chunks] == [{"of": "second"}]
    assert (await first.files(), await second.files()) == ({sky}, {sky})


async def test_a_batch_that_has_ended_tells_no_other_end_whatever_becomes_of_its_files(shelf: Shelf) -> None:
    store, sky = await shelf.store(), await shelf.upload("The sky.")
    first = await attach(shelf, store, sky)
    assert await first.ended() == ("completed", {"completed": 1})
    shelf.words.failing = BadRequest("No.")
    second = await attach(shelf, store, sky, chunking_strategy=SMALL)
    assert await second.ended() == ("failed", {"failed": 1})
    assert await first.told() == ("completed", {"completed": 1})
    assert await first.files(filter="failed") == {sky}  # as the store has it
    shelf.words.failing = None
    third = await attach(shelf, store, sky, chunking_strategy=SMALL)
    assert await third.ended() == ("completed", {"completed": 1})
    assert await second.told() == ("failed", {"failed": 1})
    assert await first.told() == ("completed", {"completed": 1})


async def test_a_file_that_has_failed_has_failed_in_each_batch_that_waited_for_it(shelf: Shelf) -> None:
    store, blank, sky = await shelf.store(), await shelf.upload(" "), await shelf.upload("The sky.")
    await shelf.stack.worker.stop()
    first, second = await attach(shelf, store, blank), await attach(shelf, store, blank, sky)
    shelf.stack.worker.start()
    assert await first.ended() == ("failed", {"failed": 1})
    assert await second.ended() == ("completed", {"completed": 1, "failed": 1})


async def test_a_detached_file_is_no_file_of_the_store_and_what_became_of_it_is_told(shelf: Shelf) -> None:
    store, sky, sea = await shelf.store(), await shelf.upload("The sky."), await shelf.upload("The sea.")
    first = await attach(shelf, store, sky, sea)
    await first.ended()
    await shelf.delete(f"{URL}/{store}/files/{sky}")
    assert await first.told() == ("completed", {"completed": 2})
    assert await first.files() == {sea}
    await shelf.stack.worker.stop()
    second = await attach(shelf, store, sky, sea)
    await shelf.delete(f"{URL}/{store}/files/{sky}")
    assert await second.told() == ("completed", {"completed": 1, "cancelled": 1})
    third = await attach(shelf, store, sky)
    assert (await second.told())[1] == {"completed": 1, "cancelled": 1}
    await shelf.delete(f"{URL}/{store}/files/{sky}")
    assert await third.told() == ("cancelled", {"cancelled": 1})


@pytest.mark.parametrize("begun", [True, False])
async def test_a_cancelled_batch_leaves_to_another_the_files_that_both_have(shelf: Shelf, begun: bool) -> None:
    store, sky, sea = await shelf.store(), await shelf.upload("The sky."), await shelf.upload("The sea.")
    await hold(shelf, begun)
    first, second = await attach(shelf, store, sky, sea), await attach(shelf, store, sea)
    await under_way(shelf, begun)
    assert await first.cancel() == ("cancelled", {"cancelled": 1, "in_progress": 1})
    assert await first.cancel() == ("cancelled", {"cancelled": 1, "in_progress": 1})
    assert await second.told() == ("in_progress", {"in_progress": 1})
    release(shelf, begun)
    assert await second.ended() == ("completed", {"completed": 1})
    assert await first.ended() == ("cancelled", {"cancelled": 1, "completed": 1})
    await settled(shelf)
    assert [chunk.content for chunk in shelf.chunks] == ["The sea."]


@pytest.mark.parametrize("begun", [True, False])
async def test_files_are_cancelled_with_the_last_batch_that_has_them(shelf: Shelf, begun: bool) -> None:
    store, sky, sea = await shelf.store(), await shelf.upload("The sky."), await shelf.upload("The sea.")
    await hold(shelf, begun)
    first, second = await attach(shelf, store, sky, sea), await attach(shelf, store, sky)
    await under_way(shelf, begun)
    await first.cancel()
    assert await second.cancel() == ("cancelled", {"cancelled": 1})
    assert await first.told() == ("cancelled", {"cancelled": 2})
    release(shelf, begun)
    await settled(shelf)
    assert (await db(Job.objects.get, kind="vector_stores.ingest")).status == "cancelled"
    assert await shelf.search(store, "sky") == []


@pytest.mark.parametrize("batch_is_first", [True, False])
async def test_a_cancelled_batch_leaves_a_file_that_was_attached_by_itself(shelf: Shelf, batch_is_first: bool) -> None:
    store, sky = await shelf.store(), await shelf.upload("The sky.")
    await hold(shelf, begun=False)
    if not batch_is_first:
        await shelf.post(f"{URL}/{store}/files", file_id=sky)
    batch = await attach(shelf, store, sky, attributes={} if batch_is_first else {"a": 1})
    if batch_is_first:
        await shelf.post(f"{URL}/{store}/files", file_id=sky)
    assert (await batch.cancel())[0] == "cancelled"
    release(shelf, begun=False)
    assert (await shelf.ended(store, sky))["status"] == "completed"
    assert await batch.told() == ("cancelled", {"completed": 1})


async def test_what_was_cancelled_is_read_for_whoever_attaches_it_again(shelf: Shelf) -> None:
    store, sky = await shelf.store(), await shelf.upload("The sky.")
    await hold(shelf, begun=False)
    first = await attach(shelf, store, sky)
    await first.cancel()
    second = await attach(shelf, store, sky)
    release(shelf, begun=False)
    assert await second.ended() == ("completed", {"completed": 1})
    assert await first.told() == ("cancelled", {"cancelled": 1})


async def test_a_batch_whose_job_is_cancelled_is_cancelled(shelf: Shelf) -> None:
    store, sky = await shelf.store(), await shelf.upload("The sky.")
    await hold(shelf, begun=False)
    first, second = await attach(shelf, store, sky), await attach(shelf, store, sky)
    await shelf.post(f"/v1alpha/jobs/{(await db(Job.objects.get)).pk}/cancel")
    assert await second.told() == await first.told() == ("cancelled", {"cancelled": 1})


async def test_the_batches_of_a_store_that_has_expired_tell_what_they_did(shelf: Shelf) -> None:
    store = await shelf.store(expires_after={"anchor": "last_active_at", "days": 1})
    batch = await attach(shelf, store, await shelf.upload("The sky."), await shelf.upload(" "))
    await batch.ended()
    await db(VectorStore.objects.update, last_active_at=timezone.now() - timedelta(days=2))
    await db(stores.empty, (await db(VectorStore.objects.get)).pk)
    assert await db(VectorStoreFile.objects.count) == 0
    assert await batch.told() == ("completed", {"completed": 1, "failed": 1})


async def hold(shelf: Shelf, begun: bool) -> None:
    """Files that are attached from now on are not read, be they begun or not."""
    if begun:
        shelf.words.requests.clear()
        shelf.words.held.clear()
    else:
        await shelf.stack.worker.stop()


async def under_way(shelf: Shelf, begun: bool) -> None:
    async with asyncio.timeout(WAITS_SECONDS):
        while begun and not shelf.words.requests:
            await asyncio.sleep(0.02)


def release(shelf: Shelf, begun: bool) -> None:
    if begun:
        shelf.words.held.set()
    else:
        shelf.stack.worker.start()


async def settled(shelf: Shelf) -> None:
    await shelf.until("/v1alpha/jobs", lambda jobs: all(job["ended_at"] for job in jobs["data"]))
