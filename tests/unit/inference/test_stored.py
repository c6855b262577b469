"""Stored chat completions: what `store` means, and the routes that read, change and delete them."""

import asyncio
from typing import Any

import httpx
import pytest

from apps.access.models import ApiKey
from apps.inference.gateway import Gateway
from apps.inference.models import StoredCompletion
from apps.inference.pace import Pace
from apps.inference.schemas import ChatCompletionRequest
from apps.inference.service import InferenceService
from apps.registry.models import Provider
from llamastack import stack
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.db import db
from llamastack.flusher import Flusher
from llamastack.stack import LlamaStack
from tests.unit.inference.test_chat_completions import events, serve_as
from tests.unit.inference.test_websocket import messages, socket
from tests.upstream import Upstream

HELLO = [{"role": "user", "content": "Hello"}]
URL = "/v1/chat/completions"
ALIAS = "/v1/openai/v1/chat/completions"
BODY = {"model": "sky/sky-1", "messages": HELLO}


async def chat(client: httpx.AsyncClient, **fields: Any) -> str:
    """The id of a completion that has been answered and, unless told otherwise, stored."""
    response = await client.post(URL, json=BODY | {"store": True} | fields)
    assert response.status_code == 200, response.text
    answer = events(response.text)[0] if fields.get("stream") else response.json()
    return str(answer["id"])


async def listed(client: httpx.AsyncClient, **query: Any) -> Any:
    response = await client.get(URL, params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def ids(client: httpx.AsyncClient, **query: Any) -> list[str]:
    return [item["id"] for item in (await listed(client, **query))["data"]]


async def until_stored(name: str) -> None:
    """A completion that nobody waits for is there soon."""
    async with asyncio.timeout(10):
        while not await db(StoredCompletion.objects.filter(pk=name).exists):
            await asyncio.sleep(0.02)


@pytest.fixture
async def no_store(running: LlamaStack) -> None:
    """Nothing can be stored any more."""
    flusher = Flusher()
    flusher.start()
    await flusher.stop()
    running.inference = InferenceService(running.live, flusher, Pace())
    running.gateway = Gateway(running.live, flusher, Pace())


# --- the three meanings of store ---


async def test_a_completion_is_there_as_soon_as_its_answer_is(client: httpx.AsyncClient, sky: Provider) -> None:
    answer = (await client.post(URL, json=BODY | {"store": True, "metadata": {"who": "me"}})).json()
    stored = (await client.get(f"{URL}/{answer['id']}")).json()
    assert stored == answer | {"metadata": {"who": "me"}, "input_messages": HELLO}
    assert stored["model"] == "sky/sky-1"


async def test_a_stream_is_stored_before_its_last_chunk(running: LlamaStack, sky: Provider) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    request = ChatCompletionRequest.model_validate(BODY | {"store": True} | options)
    chunks: Any = await running.inference.post_chat_completion(Call(ANONYMOUS_ADMIN), request)
    finished = False
    async for chunk in chunks:
        finished = finished or any(choice.finish_reason for choice in chunk.choices)
        stored = await db(StoredCompletion.objects.filter(pk=chunk.id).exists)
        assert stored == finished
    assert finished


async def test_a_streamed_completion_is_stored_as_a_whole_one(client: httpx.AsyncClient, sky: Provider) -> None:
    name = await chat(client, stream=True, stream_options={"include_usage": True})
    stored = (await client.get(f"{URL}/{name}")).json()
    assert (stored["object"], stored["model"], stored["usage"]["total_tokens"]) == ("chat.completion", "sky/sky-1", 9)
    assert stored["choices"][0]["message"]["content"] == "The sky is blue."
    assert stored["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("stream", [False, True])
async def test_without_a_word_on_it_a_completion_is_stored_soon(
    client: httpx.AsyncClient, sky: Provider, stream: bool
) -> None:
    await until_stored(await chat(client, store=None, stream=stream))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_completion_that_shall_not_be_stored_is_not(
    client: httpx.AsyncClient, sky: Provider, stream: bool
) -> None:
    refused = await chat(client, store=False, stream=stream)
    await until_stored(await chat(client, store=None))
    assert refused not in await ids(client)
    assert len(await ids(client)) == 1


@pytest.mark.parametrize("model", ["cut", "broken"])
async def test_a_stream_that_fails_is_not_stored(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider, model: str
) -> None:
    await serve_as(sky, running, model)
    await chat(client, model=model, stream=True)
    await until_stored(await chat(client, store=None))
    assert len(await ids(client)) == 1


async def test_plain_completions_and_embeddings_are_not_stored(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    await serve_as(sky, running, "vectors", model_type="embedding")
    assert (await client.post("/v1/completions", json={"model": "sky/sky-1", "prompt": "a"})).status_code == 200
    assert (await client.post("/v1/embeddings", json={"model": "vectors", "input": "a"})).status_code == 200
    await until_stored(await chat(client, store=None))
    assert len(await ids(client)) == 1


async def test_a_chat_over_a_websocket_is_stored_too(client: httpx.AsyncClient, sky: Provider) -> None:
    async with socket() as communicator:
        await communicator.send_json_to(BODY | {"store": True})
        chunk, *_, done = await messages(communicator)
    assert done == "[DONE]"
    stored = (await client.get(f"{URL}/{chunk['id']}")).json()
    assert stored["choices"][0]["message"]["content"] == "The sky is blue."


async def test_completions_of_one_vendor_with_one_id_are_kept_apart(client: httpx.AsyncClient, sky: Provider) -> None:
    assert await chat(client) != await chat(client)
    assert len(await ids(client)) == 2


async def test_the_vendor_is_not_asked_to_store_too(
    client: httpx.AsyncClient, sky: Provider, upstream: Upstream
) -> None:
    await chat(client, metadata={"a": "b"}, temperature=0)
    assert upstream.requests[-1] == {"model": "sky-1", "messages": HELLO, "temperature": 0}


async def test_what_no_database_column_of_json_may_hold_is_kept(client: httpx.AsyncClient, sky: Provider) -> None:
    said = [{"role": "user", "content": "a NUL: \x00"}]
    name = await chat(client, messages=said)
    assert (await client.get(f"{URL}/{name}")).json()["input_messages"] == said


async def test_a_number_of_a_vendors_own_that_is_too_large_is_shown_as_null(
    client: httpx.AsyncClient, sky: Provider
) -> None:
    name = await chat(client, store=True)

    def enlarge() -> None:
        row = StoredCompletion.objects.get(pk=name)
        row.completion = row.completion.removesuffix("}") + ',"cost":1e999}'
        row.save()

    await db(enlarge)
    assert (await client.get(f"{URL}/{name}")).json()["cost"] is None
    assert [item["cost"] for item in (await listed(client))["data"]] == [None]


# --- without a database ---


async def test_a_completion_that_cannot_be_stored_is_an_error(
    client: httpx.AsyncClient, sky: Provider, no_store: None
) -> None:
    response = await client.post(URL, json=BODY | {"store": True})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


async def test_a_stream_that_cannot_be_stored_ends_in_an_error_and_says_not_that_it_is_complete(
    client: httpx.AsyncClient, sky: Provider, no_store: None
) -> None:
    response = await client.post(URL, json=BODY | {"store": True, "stream": True})
    *chunks, last = events(response.text)
    assert last["error"]["type"] == "service_unavailable"
    assert not any(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"])


@pytest.mark.parametrize("store", [None, False])
async def test_a_completion_that_need_not_be_stored_is_answered_all_the_same(
    client: httpx.AsyncClient, sky: Provider, no_store: None, store: bool | None
) -> None:
    assert (await client.post(URL, json=BODY | {"store": store})).status_code == 200


async def test_stopping_the_server_stores_what_is_queued(client: httpx.AsyncClient, sky: Provider) -> None:
    name = await chat(client, store=None)
    await stack.stop()
    assert await db(StoredCompletion.objects.filter(pk=name).exists)


# --- metadata ---


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"k" * 65: "v"}, "metadata." + "k" * 65),
        ({"k": "v" * 513}, "metadata.k"),
        ({"k": 1}, "metadata.k"),
        ({"k": "\x00"}, "metadata.k"),
        ({str(n): "v" for n in range(17)}, "metadata"),
        ("text", "metadata"),
    ],
)
async def test_metadata_out_of_bounds_is_refused(
    client: httpx.AsyncClient, sky: Provider, metadata: Any, field: str
) -> None:
    name = await chat(client)
    for path, body in [(URL, BODY | {"metadata": metadata}), (f"{URL}/{name}", {"metadata": metadata})]:
        response = await client.post(path, json=body)
        assert response.status_code == 400
        assert response.json()["error"]["param"].startswith(field)


async def test_metadata_is_replaced(client: httpx.AsyncClient, sky: Provider) -> None:
    name = await chat(client, metadata={"a": "1"})
    for given, kept in [({"b": "2"}, {"b": "2"}), (None, {})]:
        response = await client.post(f"{URL}/{name}", json={"metadata": given})
        assert (response.status_code, response.json()["metadata"]) == (200, kept)
        assert response.json() == (await client.get(f"{URL}/{name}")).json()


async def test_an_update_without_metadata_is_refused(client: httpx.AsyncClient, sky: Provider) -> None:
    response = await client.post(f"{URL}/{await chat(client)}", json={})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "metadata")


# --- lists ---


async def test_a_list_begins_with_the_newest_and_pages_go_on_after_the_last(
    client: httpx.AsyncClient, sky: Provider
) -> None:
    made = [await chat(client) for _ in range(5)]
    first = await listed(client, limit=2)
    assert {name: first[name] for name in ("object", "first_id", "last_id", "has_more")} == {
        "object": "list",
        "first_id": made[4],
        "last_id": made[3],
        "has_more": True,
    }
    assert first["data"][0]["input_messages"] == HELLO
    assert await ids(client, limit=2, after=made[3]) == [made[2], made[1]]
    last = await listed(client, limit=2, after=made[1])
    assert ([item["id"] for item in last["data"]], last["has_more"]) == ([made[0]], False)


async def test_rows_of_the_same_moment_are_paged_by_their_ids(client: httpx.AsyncClient, sky: Provider) -> None:
    made = [await chat(client) for _ in range(4)]
    moment = await db(lambda: StoredCompletion.objects.first().created_at)
    await db(StoredCompletion.objects.update, created_at=moment)
    assert await ids(client, limit=2, after=made[2]) == [made[1], made[0]]
    assert await ids(client, limit=2, after=made[1], order="asc") == [made[2], made[3]]


async def test_a_page_of_long_chats_ends_sooner_and_none_is_left_out(client: httpx.AsyncClient, sky: Provider) -> None:
    made = [await chat(client, messages=[{"role": "user", "content": "long " * length}]) for length in (1, 900, 1, 1)]

    def pages(most: int) -> list[list[str]]:
        rows, found, more = StoredCompletion.objects.in_order("asc"), [], True
        while more:
            page, more = (rows.following(found[-1][-1], "asc") if found else rows).page(3, most)
            found.append(page)
        return [[row.pk for row in page] for page in found]

    assert await db(pages, 10**6) == [made[:3], made[3:]]
    assert await db(pages, 3000) == [made[:1], made[1:]]
    assert await db(pages, 0) == [[name] for name in made]


async def test_an_empty_list_has_no_first_and_no_last(client: httpx.AsyncClient) -> None:
    empty = {"object": "list", "data": [], "first_id": "", "last_id": "", "has_more": False}
    assert await listed(client) == empty


async def test_the_oldest_come_first_where_asked(client: httpx.AsyncClient, sky: Provider) -> None:
    made = [await chat(client) for _ in range(3)]
    assert await ids(client, order="asc") == made
    assert await ids(client, order="asc", after=made[0]) == made[1:]


async def test_a_list_of_one_model(client: httpx.AsyncClient, sky: Provider) -> None:
    await chat(client)
    other = await chat(client, model="sky/sky-2")
    assert await ids(client, model="sky/sky-2") == [other]
    assert await ids(client, model="sky-2") == []


@pytest.mark.parametrize("key", ["plain", "0", "a__b", 'qu"ote', "a.b[0]", "ü"])
async def test_a_list_of_what_has_this_metadata(client: httpx.AsyncClient, sky: Provider, key: str) -> None:
    await chat(client, metadata={key: "other"})
    await chat(client, metadata={"x": "1"})
    wanted = await chat(client, metadata={key: "1", "x": "1"})
    assert await ids(client, **{f"metadata[{key}]": "1"}) == [wanted]
    assert await ids(client, **{f"metadata[{key}]": "1", "metadata[x]": "1"}) == [wanted]
    assert await ids(client, **{f"metadata[{key}]": "1", "metadata[x]": "2"}) == []


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"limit": "all"}, {"order": "up"}])
async def test_a_page_that_cannot_be_is_refused(client: httpx.AsyncClient, sky: Provider, query: Any) -> None:
    for path in (URL, f"{URL}/{await chat(client)}/messages"):
        response = await client.get(path, params=query)
        assert (response.status_code, response.json()["error"]["param"]) == (400, next(iter(query)))


@pytest.mark.parametrize("name", ["metadata.topic", "metadata", "models"])
async def test_a_filter_that_is_none_is_refused_and_those_there_are_named(
    client: httpx.AsyncClient, sky: Provider, name: str
) -> None:
    for path in (URL, f"{URL}/{await chat(client)}/messages"):
        error = (await client.get(path, params={name: "cities"})).json()["error"]
        assert (error["param"], error["code"]) == (name, "invalid_value")
        assert "after, limit, order" in error["message"]


async def test_a_cursor_that_nobody_gave_is_refused(client: httpx.AsyncClient, sky: Provider) -> None:
    name = await chat(client)
    for path in (URL, f"{URL}/{name}/messages"):
        response = await client.get(path, params={"after": "chatcmpl-never"})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "after")


# --- one of them ---


async def test_messages_come_with_their_place_and_parts(client: httpx.AsyncClient, sky: Provider) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    said = [{"role": "system", "content": "Be short."}, {"role": "user", "content": parts, "name": "me"}]
    name = await chat(client, messages=said)
    page = (await client.get(f"{URL}/{name}/messages")).json()
    blank = {"refusal": None, "content_parts": None}
    assert page == {
        "object": "list",
        "data": [
            {"id": f"{name}-0", "role": "system", "content": "Be short."} | blank,
            {"id": f"{name}-1", "role": "user", "name": "me", "content": None, "refusal": None, "content_parts": parts},
        ],
        "first_id": f"{name}-0",
        "last_id": f"{name}-1",
        "has_more": False,
    }


async def test_messages_are_paged_both_ways(client: httpx.AsyncClient, sky: Provider) -> None:
    said = [{"role": "user", "content": str(n)} for n in range(5)]
    path = f"{URL}/{await chat(client, messages=said)}/messages"

    async def contents(**query: Any) -> tuple[list[str], str, bool]:
        page = (await client.get(path, params=query)).json()
        return [item["content"] for item in page["data"]], page["last_id"], page["has_more"]

    first, last, more = await contents(limit=2)
    assert (first, more) == (["0", "1"], True)
    assert (await contents(limit=3, after=last))[::2] == (["2", "3", "4"], False)
    newest, last, more = await contents(limit=2, order="desc")
    assert (newest, more) == (["4", "3"], True)
    assert (await contents(order="desc", after=last))[0] == ["2", "1", "0"]


async def test_a_deleted_completion_is_gone(client: httpx.AsyncClient, sky: Provider) -> None:
    name = await chat(client)
    response = await client.delete(f"{URL}/{name}")
    assert response.json() == {"object": "chat.completion.deleted", "id": name, "deleted": True}
    assert (await client.get(f"{URL}/{name}")).status_code == 404
    assert (await client.delete(f"{URL}/{name}")).status_code == 404


async def test_another_tenants_completion_is_not_there(
    client: httpx.AsyncClient, running: LlamaStack, sky: Provider
) -> None:
    _, secret = await db(ApiKey.issue, "theirs", "they", tenant="theirs")
    await running.live.refresh()
    name = await chat(client)
    client.headers["Authorization"] = f"Bearer {secret}"
    asked = [
        await client.get(f"{URL}/{name}"),
        await client.get(f"{URL}/{name}/messages"),
        await client.post(f"{URL}/{name}", json={"metadata": {}}),
        await client.delete(f"{URL}/{name}"),
    ]
    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in asked} == {(404, "not_found")}
    assert await ids(client) == []
    assert (await client.get(URL, params={"after": name})).status_code == 400
    assert await db(StoredCompletion.objects.filter(pk=name).exists)


async def test_the_deprecated_alias_reads_the_same(client: httpx.AsyncClient, sky: Provider) -> None:
    name = await chat(client)
    assert (await client.get(f"{ALIAS}/{name}")).json() == (await client.get(f"{URL}/{name}")).json()
    assert (await client.get(ALIAS)).json() == await listed(client)


async def test_the_owner_is_who_asked(client: httpx.AsyncClient, running: LlamaStack, sky: Provider) -> None:
    _, secret = await db(ApiKey.issue, "key", "ada")
    await running.live.refresh()
    client.headers["Authorization"] = f"Bearer {secret}"
    name = await chat(client)
    assert await db(lambda: StoredCompletion.objects.get(pk=name).owner) == "ada"
