"""/v1alpha/jobs: what there is, how each goes, live, and its end."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from apps.access.models import ApiKey
from apps.jobs import service
from apps.jobs.models import Job, Status
from apps.jobs.schemas import JobObject
from llamastack.call import ANONYMOUS_ADMIN
from llamastack.db import db
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


@pytest.mark.parametrize("query", [{"status": "none"}, {"owner": "ada"}, {"limit": 0}, {"after": "job_none"}])
async def test_a_filter_that_is_wrong_is_a_400(
    client: httpx.AsyncClient, idle: LlamaStack, query: dict[str, str]
) -> None:
    response = await client.get(URL, params=query)
    assert (response.status_code, response.json()["error"]["param"]) == (400, next(iter(query)))


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


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry")])
async def test_another_tenant_s_job_is_none(
    client: httpx.AsyncClient, idle: LlamaStack, method: str, path: str
) -> None:
    job_id = await db(queued)
    _, secret = await db(ApiKey.issue, "theirs", "eve", tenant="other")
    await idle.live.refresh()
    client.headers["Authorization"] = f"Bearer {secret}"
    assert (await client.request(method, f"{URL}/{job_id}{path}")).status_code == 404
    assert (await client.get(URL)).json()["data"] == []


async def test_events_are_told_as_they_happen_until_the_job_has_ended(
    client: httpx.AsyncClient, idle: LlamaStack
) -> None:
    job = await claimed()
    watching = asyncio.create_task(watched(client, job.id))
    await db(Job.objects.tell, job, "log", {"message": "one"})
    await db(Job.objects.tell, job, "metric", {"loss": 0.5})
    await db(Job.objects.finish, job, Status.completed)
    async with asyncio.timeout(10):
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
    happening = service.events(ANONYMOUS_ADMIN, job.id, 0, quiet=0)
    assert await anext(happening) is not None
    assert [await anext(happening) for _ in range(2)] == [None, None]
    await db(Job.objects.finish, job, Status.completed)
    last = await anext(happening)
    assert isinstance(last, JobObject)
    assert last.status == "completed"
    assert [event async for event in happening] == []
