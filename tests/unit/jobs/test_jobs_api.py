"""/v1alpha/jobs: what there is, how each goes, live, and its end."""

import asyncio
import json
import time
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from django.utils import timezone

from apps.access.models import ApiKey
from apps.jobs import service
from apps.jobs.models import SYSTEM, Job, JobEvent, Status
from apps.jobs.schemas import JobObject
from llamastack.db import db
from llamastack.errors import AuthenticationError
from llamastack.stack import LlamaStack
from tests.unit.jobs.test_work import queued

URL = "/v1alpha/jobs"


@pytest.fixture
async def idle(running: LlamaStack) -> LlamaStack:
    """The stack, which does no jobs."""
    await running.worker.stop()
    return running


async def claimed(**fields: Any) -> Job:
    job: Job = await db(lambda: Job.objects.claim(queued(**fields)))
    return job


async def watched(client: httpx.AsyncClient, job_id: str, **headers: str) -> list[dict[str, Any]]:
    """The events of a job that has ended, each with its `id` and its `event`."""
    response = await client.get(f"{URL}/{job_id}/events", headers=headers)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
    blocks = response.text.strip().split("\n\n")
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


async def test_a_job_is_shown_and_listed(client: httpx.AsyncClient, idle: LlamaStack) -> None:
    made = [await db(queued, priority=n) for n in range(3)]
    job = (await client.get(f"{URL}/{made[0]}")).json()
    assert (job["id"], job["object"], job["kind"], job["status"]) == (made[0], "job", "test", "queued")
    assert (job["progress"], job["error"], job["ended_at"]) == ({}, None, None)
    page = (await client.get(URL, params={"limit": 2})).json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([made[2], made[1]], True)
    rest = (await client.get(URL, params={"after": page["last_id"], "order": "desc"})).json()
    assert [one["id"] for one in rest["data"]] == [made[0]]
    assert (await client.get(URL, params={"status": "failed"})).json()["data"] == []
    assert len((await client.get(URL, params={"kind": "test"})).json()["data"]) == 3


WRONG_FILTERS: list[dict[str, Any]] = [{"status": "none"}, {"owner": "ada"}, {"limit": 0}, {"after": "job_none"}]


async def test_a_filter_that_is_wrong_is_a_400(client: httpx.AsyncClient, idle: LlamaStack) -> None:
    for query in WRONG_FILTERS:
        response = await client.get(URL, params=query)
        assert (response.status_code, response.json()["error"]["param"]) == (400, next(iter(query))), query


async def test_cancel_and_retry(client: httpx.AsyncClient, idle: LlamaStack) -> None:
    waiting, begun = await db(queued), await claimed()
    assert (await client.post(f"{URL}/{waiting}/cancel")).json()["status"] == "cancelled"
    told = (await client.post(f"{URL}/{begun.id}/cancel")).json()
    assert (told["status"], told["cancel_requested"]) == ("running", True)
    assert (await client.post(f"{URL}/{begun.id}/retry")).status_code == 409
    await db(Job.objects.finish, begun, Status.completed)
    assert (await client.post(f"{URL}/{begun.id}/cancel")).status_code == 409
    assert (await client.post(f"{URL}/{begun.id}/retry")).status_code == 409
    again = (await client.post(f"{URL}/{waiting}/retry")).json()
    assert (again["status"], again["ended_at"], again["cancel_requested"]) == ("queued", None, False)


async def test_a_plain_key_has_no_say_in_what_nobody_asks_for(client: httpx.AsyncClient, idle: LlamaStack) -> None:
    sweep = await db(queued, kind="files.sweep", owner=SYSTEM)
    asked = await db(queued, kind="files.sweep", owner="ada")
    _, secret = await db(ApiKey.issue, "plain", "ada")
    await idle.live.refresh()
    plain = {"Authorization": f"Bearer {secret}"}
    assert [one["id"] for one in (await client.get(URL, headers=plain)).json()["data"]] == [asked]
    assert (await client.post(f"{URL}/{sweep}/cancel", headers=plain)).status_code == 404
    assert (await client.get(f"{URL}/{sweep}/events", headers=plain)).status_code == 404
    assert (await client.post(f"{URL}/{sweep}/cancel")).json()["status"] == "cancelled"


OF_A_JOB: list[tuple[str, str]] = [("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry")]


async def test_another_tenant_s_job_is_none(client: httpx.AsyncClient, idle: LlamaStack) -> None:
    job_id = await db(queued)
    _, secret = await db(ApiKey.issue, "theirs", "eve", tenant="other")
    await idle.live.refresh()
    client.headers["Authorization"] = f"Bearer {secret}"
    for method, path in OF_A_JOB:
        assert (await client.request(method, f"{URL}/{job_id}{path}")).status_code == 404, path
        assert (await client.get(URL)).json()["data"] == [], path


async def test_events_are_told_as_they_happen_until_the_job_has_ended(
    client: httpx.AsyncClient, idle: LlamaStack
) -> None:
    job = await claimed()
    watching = asyncio.create_task(watched(client, job.id))
    await db(Job.objects.tell, job, "log", {"message": "one"})
    await db(Job.objects.tell, job, "metric", {"loss": 0.5})
    await db(Job.objects.finish, job, Status.completed)
    async with asyncio.timeout(30):
        events = await watching
    assert [(event["event"], event["id"]) for event in events if "id" in event] == [("log", "1"), ("metric", "2")]
    assert json.loads(events[-1]["data"])["status"] == "completed"
    assert json.loads(next(event for event in events if event["event"] == "log")["data"])["data"] == {"message": "one"}


async def test_who_comes_again_misses_none_and_gets_none_twice(client: httpx.AsyncClient, idle: LlamaStack) -> None:
    job = await claimed()
    for number in range(4):
        await db(Job.objects.tell, job, "log", {"message": str(number)})
    await db(Job.objects.finish, job, Status.failed, "No disk.")
    events = await watched(client, job.id, **{"Last-Event-ID": "2"})
    assert [event.get("id") for event in events] == ["3", "4", None]
    assert json.loads(events[-1]["data"])["error"] == "No disk."
    wrong = await client.get(f"{URL}/{job.id}/events", headers={"Last-Event-ID": "two"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "Last-Event-ID")


async def test_who_watches_is_told_that_nothing_has_happened(client: httpx.AsyncClient, idle: LlamaStack) -> None:
    job = await claimed()
    happening = service.events(partial(service.of_key, {}), job.id, quiet=0)
    assert await anext(happening) is not None
    assert [await anext(happening) for _ in range(2)] == [None, None]
    await db(Job.objects.finish, job, Status.completed)
    last = await anext(happening)
    assert isinstance(last, JobObject)
    assert last.status == "completed"
    assert [event async for event in happening] == []


async def test_an_event_that_has_not_happened_is_nothing_to_go_on_after(
    client: httpx.AsyncClient, idle: LlamaStack
) -> None:
    job = await claimed()
    await db(Job.objects.tell, job, "log", {"message": "one"})
    for last in ("2", "9" * 18, "9" * 19, "-1", "1.0", "٣"):
        answer = await client.get(f"{URL}/{job.id}/events", headers={"Last-Event-ID": last.encode()})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Last-Event-ID"), last
    await db(Job.objects.finish, job, Status.completed)
    assert [event.get("id") for event in await watched(client, job.id, **{"Last-Event-ID": "1"})] == [None]
    assert [event.get("id") for event in await watched(client, job.id, **{"Last-Event-ID": ""})] == ["1", None]


async def test_who_watches_while_things_happen_is_not_told_that_nothing_has(
    client: httpx.AsyncClient, idle: LlamaStack
) -> None:
    job = await claimed()
    happening = service.events(partial(service.of_key, {}), job.id, quiet=60)
    await anext(happening)
    await db(Job.objects.tell, job, "log", {"message": "one"})
    assert (await anext(happening)).number == 1  # type: ignore[union-attr]
    await db(Job.objects.finish, job, Status.completed)
    assert [event.status for event in [event async for event in happening]] == ["completed"]  # type: ignore[union-attr]


async def test_so_many_of_a_tenant_watch_jobs_and_one_more_is_told_what_to_do(
    client: httpx.AsyncClient, idle: LlamaStack
) -> None:
    job = await claimed()
    watchers = [service.events(partial(service.of_key, {}), job.id) for _ in range(service.MOST_WATCHING)]
    for watcher in watchers:
        await anext(watcher)
    answer = await client.get(f"{URL}/{job.id}/events")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
    assert "GET /v1alpha/jobs/{job_id}" in answer.json()["error"]["message"]
    await watchers.pop().aclose()
    watchers.append(service.events(partial(service.of_key, {}), job.id))
    assert await anext(watchers[-1]) is not None
    for watcher in watchers:
        await watcher.aclose()


async def test_who_loses_the_key_sees_no_more(client: httpx.AsyncClient, idle: LlamaStack, settings: Any) -> None:
    settings.AUTH_REQUIRED = True
    key, secret = await db(ApiKey.issue, "mine", "ada")
    await idle.live.refresh()
    job = await claimed()
    client.headers["Authorization"] = f"Bearer {secret}"
    happening = service.events(partial(service.of_key, {"authorization": f"Bearer {secret}"}), job.id)
    await anext(happening)
    await db(key.revoke)
    await idle.live.refresh()
    with pytest.raises(AuthenticationError):
        await anext(happening)


async def test_thousands_of_events_come_in_their_order(client: httpx.AsyncClient, idle: LlamaStack) -> None:
    job = await claimed()
    count = 2 * service.MOST_EVENTS
    await db(many_events, job, count)
    await db(Job.objects.finish, job, Status.completed)
    numbers = [event["id"] for event in await watched(client, job.id) if "id" in event]
    assert numbers == [str(number) for number in range(1, count + 1)]


def many_events(job: Job, count: int) -> None:
    now = timezone.now()
    JobEvent.objects.bulk_create(
        JobEvent(job=job, number=number, kind="log", data={}, created_at=now) for number in range(1, count + 1)
    )
    Job.objects.filter(pk=job.id).update(events=count)


async def test_a_name_that_no_database_holds_is_no_job(client: httpx.AsyncClient, idle: LlamaStack) -> None:
    for method, path in [("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry")]:
        answer = await client.request(method, f"{URL}/job_%00{path}")
        assert (answer.status_code, answer.json()["error"]["param"]) == (404, "job_id")


async def test_a_job_tells_when_it_is_expected_to_end(client: httpx.AsyncClient, idle: LlamaStack) -> None:
    job = await claimed(progress={"done": 50, "total": 100})
    started = timezone.now() - timedelta(seconds=100)
    await db(Job.objects.report, job, {"done": 60, "total": 100})
    await db(lambda: Job.objects.filter(pk=job.id).update(started_at=started, progressed_at=timezone.now()))
    told = (await client.get(f"{URL}/{job.id}")).json()
    assert told["started_at"] == int(started.timestamp())
    assert abs(told["expected_at"] - (time.time() + 400)) < 5  # 10 in 100 s since it was begun, and 40 left
    for odd in ({"done": True, "total": 2}, {"done": 70}, {"done": 60, "total": 10**30}, {"done": "6", "total": []}):
        await db(lambda odd=odd: Job.objects.filter(pk=job.id).update(progress=odd))
        assert (await client.get(f"{URL}/{job.id}")).json()["expected_at"] is None
