"""Vector stores over HTTP, kept in Weaviate with its provider's key, or with the one that each request brings along."""

import asyncio
import json
from typing import Any

import pytest

from apps.jobs.models import Job
from apps.registry import service
from apps.registry.models import Provider
from llamastack.db import db
from tests.unit.vector_io.conftest import URL, WAITS_SECONDS, Shelf
from tests.weaviate.served import ScriptedWeaviate, running

DATA = {"X-LlamaStack-Provider-Data": json.dumps({"weaviate_api_key": "callers"})}


async def added(shelf: Shelf, **config: Any) -> None:
    row = Provider(identifier="weaviate", provider_type="remote::weaviate", api="vector_io")
    await db(service.edit_provider, row, config, enabled=True)
    await shelf.stack.live.refresh()


async def test_a_store_is_made_filled_and_searched_with_the_callers_key(shelf: Shelf) -> None:
    with running(ScriptedWeaviate(keys=("callers",))) as weaviate:
        await added(shelf, weaviate_cluster_url=weaviate.url)
        refused = await shelf.http.post(URL, json={"provider_id": "weaviate"})
        assert (refused.status_code, "401" in refused.text) == (401, True)

        shelf.http.headers.update(DATA)
        store = await shelf.store(name="pets", provider_id="weaviate")
        one = await shelf.attach(store, "The cat sleeps on the sofa", attributes={"year": 2024})
        await shelf.attach(store, "A dog guards the house", attributes={"year": 2023})
        later: dict[str, Any] = {"type": "gt", "key": "year", "value": 2023}
        for mode in ("vector", "keyword", "hybrid"):
            found = await shelf.search(store, "cat dog", filters=later, search_mode=mode)
            assert [hit["file_id"] for hit in found] == [one], mode
        await shelf.post(f"{URL}/{store}/files/{one}", attributes={"year": 2022})
        assert await shelf.search(store, "cat", filters=later) == []


@pytest.mark.parametrize(("config", "headers"), [({"weaviate_api_key": "own"}, {}), ({}, DATA)])
async def test_what_is_deleted_goes_from_weaviate_with_the_providers_key_or_the_callers(
    shelf: Shelf, config: dict[str, str], headers: dict[str, str]
) -> None:
    with running(ScriptedWeaviate(keys=("own", "callers"))) as weaviate:
        await added(shelf, weaviate_cluster_url=weaviate.url, **config)
        shelf.http.headers.update(headers)
        store = await shelf.store(name="pets", provider_id="weaviate")
        one = await shelf.attach(store, "The cat sleeps on the sofa")
        await shelf.attach(store, "A dog guards the house")
        [tenants] = [collection.tenants for collection in weaviate.collections.values()]
        [objects] = tenants.values()
        assert len(objects) == 2
        async with asyncio.timeout(WAITS_SECONDS):
            await shelf.delete(f"{URL}/{store}/files/{one}")
            while len(objects) != 1:
                await asyncio.sleep(0.02)
            await shelf.delete(f"{URL}/{store}")
            while tenants:
                await asyncio.sleep(0.02)
            await shelf.until("/v1alpha/jobs", lambda jobs: all(job["ended_at"] for job in jobs["data"]))
        assert [job.payload for job in await db(list, Job.objects.all()) if "provider_data" in job.payload] == []


async def test_a_callers_key_that_may_not_be_kept_is_no_hindrance_to_deletions(shelf: Shelf) -> None:
    row = Provider(identifier="batches", provider_type="inline::reference", api="batches")
    await db(service.edit_provider, row, {"store_provider_data": False}, enabled=True)
    with running(ScriptedWeaviate(keys=("own", "callers"))) as weaviate:
        await added(shelf, weaviate_cluster_url=weaviate.url, weaviate_api_key="own")
        shelf.http.headers.update(DATA)
        store = await shelf.store(name="pets", provider_id="weaviate")
        [tenants] = [collection.tenants for collection in weaviate.collections.values()]
        await shelf.stack.worker.stop()
        await shelf.delete(f"{URL}/{store}")
        assert "provider_data" not in (await db(Job.objects.get)).payload
        shelf.stack.worker.start()
        async with asyncio.timeout(WAITS_SECONDS):
            while tenants:
                await asyncio.sleep(0.02)
