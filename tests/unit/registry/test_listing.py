"""GET /v1/models with many models: in parts and slices, the same as one by one, and written anew where one changed."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx

from apps.registry import service
from apps.registry.listing import Listing
from apps.registry.models import Model, Origin, Provider
from apps.registry.schemas import ProviderModel
from llamastack.db import db
from llamastack.snapshot import Changes, Snapshot
from llamastack.stack import LlamaStack

MANY = 300


async def with_many(running: LlamaStack, sky: Provider) -> None:
    rows = [
        Model(
            identifier=f"many-{number:03}", origin=Origin.api, override={"provider_id": "sky", "aliases": [f"{number}"]}
        )
        for number in range(MANY)
    ]
    await db(Model.objects.add_all, rows)
    await running.live.refresh()


async def test_a_long_list_comes_in_parts_and_is_what_each_model_says_of_itself(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    await with_many(running, sky)
    answer = await client.get("/v1/models")
    assert int(answer.headers["content-length"]) == len(answer.content) > 64 * 1024
    assert answer.headers["content-type"] == "application/json"
    listed: list[dict[str, Any]] = answer.json()["data"]
    assert [model["id"] for model in listed] == sorted(model["id"] for model in listed)
    assert len(listed) == MANY + 2
    for model in listed[:2] + listed[-3:]:
        assert model == (await client.get(f"/v1/models/{model['id']}")).json()


async def test_lists_of_any_length_are_json(running: LlamaStack, sky: Provider, client: httpx.AsyncClient) -> None:
    await with_many(running, sky)
    snapshot = running.live.snapshot
    everything = sorted(snapshot.models)
    for count in (0, 1, 2, 100, 250, MANY):
        gone = frozenset(everything[count:])
        running.live.snapshot = snapshot.after(Changes(snapshot.version, gone={"model": gone}))
        assert len((await client.get("/v1/models")).json()["data"]) == count


async def test_a_part_that_ends_with_the_list_ends_it(
    running: LlamaStack, sky: Provider, client: httpx.AsyncClient
) -> None:
    """A single model of more than a part's length, and two of them."""
    note = {"note": "x" * 70_000}
    for number in (1, 2):
        await db(service.edit_model, Model(identifier=f"long-{number}"), {"provider_id": "sky", "metadata": note})
        await running.live.refresh()
        listed = (await client.get("/v1/models")).json()["data"]
        assert [model["id"] for model in listed if model["metadata"] == note] == ["long-1", "long-2"][:number]


async def told(listing: Listing, snapshot: Snapshot) -> bytes:
    return b"".join(await listing.of(snapshot, "default"))


async def test_what_was_written_of_a_model_is_kept_until_it_changes(running: LlamaStack, sky: Provider) -> None:
    await with_many(running, sky)
    listing, before = Listing(), running.live.snapshot
    first = await told(listing, before)
    kept = dict(listing._told)
    one = next(model for model in before.models.values() if model.identifier == "many-007")
    after = before.after(Changes(before.version, (), (replace(one, metadata={"note": "new"}),)))
    assert b'"note":"new"' in await told(listing, after)
    assert [key for key, was in listing._told.items() if kept[key] is not was] == [one.key]
    assert await told(listing, before) == first
    vllm = replace(before.providers[sky.pk], provider_type="remote::vllm")
    await told(listing, before.after(Changes(before.version, (vllm,))))
    assert all(kept[key] is not was for key, was in listing._told.items())


async def test_what_was_written_of_models_that_are_gone_is_forgotten(running: LlamaStack, sky: Provider) -> None:
    await with_many(running, sky)
    listing, before = Listing(), running.live.snapshot
    await told(listing, before)
    few = before.after(Changes(before.version, gone={"model": frozenset(sorted(before.models)[3:])}))
    await told(listing, few)
    assert listing._told.keys() == few.models.keys()


async def test_others_are_served_while_a_long_list_is_written(running: LlamaStack, sky: Provider) -> None:
    await with_many(running, sky)
    ended = asyncio.Event()
    turns = await asyncio.gather(_turns(ended), _written(running, ended))
    assert turns[0] > 1


async def _turns(ended: asyncio.Event) -> int:
    count = 0
    while not ended.is_set():
        count += 1
        await asyncio.sleep(0)
    return count


async def _written(running: LlamaStack, ended: asyncio.Event) -> None:
    listing = Listing()
    listing.slice_seconds = 0
    await listing.of(running.live.snapshot, "default")
    ended.set()


async def test_a_thousand_models_that_are_found_are_one_change(running: LlamaStack, sky: Provider) -> None:
    listing = [ProviderModel(provider_model_id=f"found-{number}") for number in range(1000)]
    before = running.live.snapshot
    queries: list[str] = []
    found: Callable[..., int] = service.record_listing
    assert await db(_counting, queries, found, sky.pk, listing) == 1000
    assert len(queries) < 40
    await running.live.refresh()
    assert running.live.snapshot.model("default", "sky/found-999")
    assert running.live.snapshot.version == before.version + 1 + 2  # and the two it had, which are not listed now


def _counting(queries: list[str], work: Callable[..., int], *arguments: Any) -> int:
    from django.db import connection

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        queries.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        return work(*arguments)


async def test_a_name_is_taken_by_a_model_or_by_an_alias_of_one_of_many(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    await with_many(running, sky)
    for name, owner in (("many-007", "many-007"), ("7", "many-007")):
        body = {"model_id": name, "provider_id": "sky"}
        rows = Model.objects.filter(identifier=owner)
        await db(rows.update, tenant="default")
        refused = await client.post("/v1/models", json=body)
        assert (refused.status_code, name in refused.json()["error"]["message"]) == (409, True)
        await db(rows.update, tenant="*")


async def test_a_home_that_names_no_model_is_told_of_one_that_has_none_itself(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    await with_many(running, sky)
    body = {"model_id": "mine", "homes": [{"model": "mani-007"}]}
    refused = await client.post("/v1/models", json=body)
    assert refused.status_code == 400
    assert "did you mean 'many-007'?" in refused.json()["error"]["message"]
    there = await client.post("/v1/models", json={"model_id": "mine", "homes": [{"model": "7"}]})
    assert there.status_code == 200
