"""/manage/usage: the records of calls, and their sums."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from apps.access.models import Usage
from apps.registry.models import Provider
from llamastack.db import db
from llamastack.rows import insert
from llamastack.stack import LlamaStack
from tests.unit.core.test_rows import usage
from tests.unit.registry.test_rest import key_of, log_in

URL = "/manage/usage"
SUMMARY = "/manage/usage/summary"


async def record(*rows: dict[str, Any]) -> None:
    await db(insert, [usage(f"req_{number}", **row) for number, row in enumerate(rows, 1)])


async def got(client: httpx.AsyncClient, path: str = URL, **query: Any) -> Any:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ids(client: httpx.AsyncClient, **query: Any) -> list[str]:
    return [row["request_id"] for row in (await got(client, **query))["results"]]


async def test_a_row_tells_all_but_its_own_number(client: httpx.AsyncClient) -> None:
    await record({"model": "m", "input_tokens": 7, "whole": False, "status": 502, "error": "upstream_error"})
    (row,) = (await got(client))["results"]
    assert set(row) == {field.attname for field in Usage._meta.concrete_fields} - {"id"}
    assert (row["model"], row["input_tokens"], row["output_tokens"], row["whole"]) == ("m", 7, None, False)
    assert (row["status"], row["error"], row["owner"], row["tenant"]) == (502, "upstream_error", "me", "default")


async def test_the_latest_come_first_and_pages_go_on(client: httpx.AsyncClient) -> None:
    await record({}, {}, {})
    assert await ids(client) == ["req_3", "req_2", "req_1"]
    assert await ids(client, page_size=2, page=2) == ["req_1"]
    assert await ids(client, ordering="created_at") == ["req_1", "req_2", "req_3"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"model": "a"}, [1]),
        ({"provider_id": "sky"}, [2]),
        ({"owner": "maya"}, [1, 2]),
        ({"whole": "false"}, [3]),
        ({"status": "502"}, [3]),
        ({"operation": "embedding"}, [2]),
        ({"request_id": "req_2"}, [2]),
        ({"search": "maya"}, [1, 2]),
        ({"lane": "fast"}, [1]),
    ],
)
async def test_filters_find(client: httpx.AsyncClient, query: dict[str, str], found: list[int]) -> None:
    await record(
        {"model": "a", "owner": "maya", "operation": "chat", "lane": "fast"},
        {"provider_id": "sky", "owner": "maya", "operation": "embedding"},
        {"whole": False, "status": 502},
    )
    assert await ids(client, **query, ordering="created_at") == [f"req_{number}" for number in found]


async def test_rows_are_found_by_their_time(client: httpx.AsyncClient) -> None:
    now = timezone.now()
    await record({"created_at": now - timedelta(days=2)}, {"created_at": now})
    then = (now - timedelta(days=1)).isoformat()
    assert (await ids(client, since=then), await ids(client, until=then)) == (["req_2"], ["req_1"])
    assert await ids(client, day=(now - timedelta(days=2)).date().isoformat()) == ["req_1"]


@pytest.mark.parametrize("query", [{"by": "model"}, {"modle": "a"}, {"whole": "perhaps"}, {"since": "once"}])
async def test_a_filter_that_is_none_is_refused(client: httpx.AsyncClient, query: dict[str, str]) -> None:
    answer = await client.get(URL, params=query)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(query)))


async def test_usage_is_summed_up_by_model_and_day(client: httpx.AsyncClient) -> None:
    now = timezone.now()
    told = {"model": "a", "input_tokens": 5, "output_tokens": 2, "created_at": now}
    await record(
        told,
        told | {"whole": False, "estimated": True, "cached_tokens": 4},
        {"model": "b", "created_at": now},
        told | {"created_at": now - timedelta(days=1)},
    )
    page = await got(client, SUMMARY)
    first = {"day": now.date().isoformat(), "of": "a", "calls": 2, "broken": 1, "estimated": 1}
    tokens = {"input_tokens": 10, "output_tokens": 4, "cached_tokens": 4, "reasoning_tokens": None}
    assert page["results"][0] == first | tokens
    yesterday = (now - timedelta(days=1)).date().isoformat()
    assert [(row["day"], row["of"], row["calls"]) for row in page["results"][1:]] == [
        (now.date().isoformat(), "b", 1),
        (yesterday, "a", 1),
    ]
    assert (page["count"], set(page["unrecorded"])) == (3, {"lost", "waits"})
    assert [row["day"] for row in (await got(client, SUMMARY, model="a", day=yesterday))["results"]] == [yesterday]


async def test_usage_is_summed_up_by_owner_too(client: httpx.AsyncClient) -> None:
    await record({"owner": "maya"}, {"owner": "ada"}, {"owner": "maya"})
    page = await got(client, SUMMARY, by="owner")
    assert [(row["of"], row["calls"]) for row in page["results"]] == [("ada", 1), ("maya", 2)]


@pytest.mark.parametrize("query", [{"by": "mood"}, {"ordering": "day"}, {"search": "a"}])
async def test_a_summary_that_cannot_be_is_refused(client: httpx.AsyncClient, query: dict[str, str]) -> None:
    answer = await client.get(SUMMARY, params=query)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(query)))


async def test_what_was_lost_is_told_with_the_sums(client: httpx.AsyncClient, running: LlamaStack) -> None:
    before = (await got(client, SUMMARY))["unrecorded"]
    running.flusher.lost += 3
    running.flusher.waits += 2
    after = (await got(client, SUMMARY))["unrecorded"]
    assert after == {"lost": before["lost"] + 3, "waits": before["waits"] + 2}


@pytest.mark.parametrize("path", [URL, SUMMARY])
async def test_it_is_for_operators_and_of_their_tenant(
    client: httpx.AsyncClient, running: LlamaStack, settings: Settings, path: str
) -> None:
    settings.AUTH_REQUIRED = True
    await record({"tenant": "north"}, {}, {})
    assert (await client.get(path)).status_code == 401
    assert (await client.get(path, headers=await key_of(running))).status_code == 403
    for tenant, calls in (("north", 1), ("default", 2), ("south", 0)):
        answer = (await client.get(path, headers=await key_of(running, admin=True, tenant=tenant))).json()
        assert sum(row.get("calls", 1) for row in answer["results"]) == calls


async def test_a_superuser_sees_all_tenants(client: httpx.AsyncClient) -> None:
    await record({"tenant": "north"}, {})
    await log_in(client, is_staff=True, is_superuser=True)
    assert await ids(client) == ["req_2", "req_1"]
    assert await ids(client, tenant="north") == ["req_1"]
    page = await got(client, SUMMARY, by="tenant")
    assert [(row["of"], row["calls"]) for row in page["results"]] == [("default", 1), ("north", 1)]


async def test_a_slash_at_the_end_is_no_matter(client: httpx.AsyncClient) -> None:
    for path in (URL, SUMMARY):
        assert await got(client, f"{path}/") == await got(client, path)


async def test_it_is_only_to_look_at(client: httpx.AsyncClient) -> None:
    for path in (URL, SUMMARY):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert (await client.request(method, path, json={})).status_code == 405


async def test_its_pages_are_shown_in_a_browser(client: httpx.AsyncClient, sky: Provider) -> None:
    await record({"model": "team/small"})
    for path in (URL, SUMMARY):
        page = await client.get(path, headers={"Accept": "text/html"})
        assert (page.status_code, "team/small" in page.text) == (200, True)
