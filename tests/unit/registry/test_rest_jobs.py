"""/manage/jobs: what there is, filtered, and the buttons of a job."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone
from pytest_django.fixtures import Settings

from apps.access.models import User
from apps.jobs.models import Job, Status
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.jobs.test_jobs_api import claimed, idle
from tests.unit.jobs.test_work import queued
from tests.unit.registry.test_rest import described, key_of, log_in, with_token

__all__ = ["idle"]
pytestmark = pytest.mark.usefixtures("idle")
URL = "/manage/jobs"


async def ids(client: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await client.get(URL, params=query)
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()["results"]]


async def test_a_job_is_shown_with_all_that_its_description_names(client: httpx.AsyncClient) -> None:
    job = await claimed(priority=3)
    began = timezone.now() - timedelta(minutes=1)
    await db(Job.objects.filter(pk=job.pk).update, started_at=began)
    await db(Job.objects.report, job, {"done": 1, "total": 2})
    row = (await client.get(f"{URL}/{job.id}")).json()
    assert set(row) == set(described()["components"]["schemas"]["Job"]["properties"])
    assert (row["kind"], row["queue"], row["status"], row["priority"]) == ("test", "default", "running", 3)
    assert (row["progress"], row["ended_at"]) == ({"done": 1, "total": 2}, None)
    assert datetime.fromisoformat(row["expected_at"]) >= began + timedelta(minutes=2)
    missing = await client.get(f"{URL}/job_none")
    assert (missing.status_code, missing.json()["error"]["param"]) == (404, "job_id")


async def test_filters_find(client: httpx.AsyncClient) -> None:
    old = await db(queued, kind="batch", owner="eve", created_at=timezone.now() - timedelta(days=2))
    waiting, begun = await db(queued), await claimed(priority=1)
    day = (timezone.now() - timedelta(days=1)).isoformat()
    assert await ids(client) == [begun.id, waiting, old]
    assert await ids(client, status="running") == [begun.id]
    assert await ids(client, kind="batch") == [old]
    assert await ids(client, owner="eve") == [old]
    assert await ids(client, search="eve") == [old]
    assert await ids(client, since=day) == [begun.id, waiting]
    assert await ids(client, until=day) == [old]
    assert await ids(client, queue="default") == [begun.id, waiting, old]
    assert await ids(client, queue="gpu") == []
    assert await ids(client, tenant="other") == []
    assert await ids(client, ordering="-priority,created_at") == [begun.id, old, waiting]
    assert await ids(client, page_size=2, page=2) == [old]


@pytest.mark.parametrize("query", [{"status": "none"}, {"queue": "slow"}, {"since": "once"}, {"kin": "batch"}])
async def test_a_filter_that_is_wrong_is_a_400(client: httpx.AsyncClient, query: dict[str, str]) -> None:
    answer = await client.get(URL, params=query)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(query)))
    if "kin" in query:
        assert "did you mean 'kind'? There are: status, kind, queue" in answer.json()["detail"]


async def test_cancel_and_retry(client: httpx.AsyncClient) -> None:
    waiting, begun = await db(queued), await claimed()
    assert (await client.post(f"{URL}/{waiting}/cancel")).json()["status"] == "cancelled"
    assert (await client.post(f"{URL}/{waiting}/cancel")).json()["status"] == "cancelled"
    assert (await client.post(f"{URL}/{begun.id}/cancel")).json()["cancel_requested"]
    assert (await client.post(f"{URL}/{begun.id}/retry")).status_code == 409
    await db(Job.objects.finish, begun, Status.completed)
    assert (await client.post(f"{URL}/{begun.id}/cancel")).status_code == 409
    assert (await client.post(f"{URL}/{waiting}/retry")).json()["status"] == "queued"
    for method in ("PUT", "PATCH", "DELETE"):
        assert (await client.request(method, f"{URL}/{waiting}", json={})).status_code == 405
    assert (await client.post(URL, json={"kind": "batch"})).status_code == 405


async def test_another_tenant_s_job_is_none(client: httpx.AsyncClient, running: LlamaStack) -> None:
    job_id = await db(queued)
    client.headers.update(await key_of(running, admin=True, tenant="other"))
    assert await ids(client) == []
    for method, path in [("GET", ""), ("POST", "/cancel"), ("POST", "/retry")]:
        assert (await client.request(method, f"{URL}/{job_id}{path}")).status_code == 404
    assert (await db(Job.objects.get)).status == "queued"


async def test_who_is_no_admin_is_refused(client: httpx.AsyncClient, running: LlamaStack, settings: Settings) -> None:
    job_id = await db(queued)
    client.headers.update(await key_of(running))
    for method, path in [("GET", ""), ("GET", f"/{job_id}"), ("POST", f"/{job_id}/cancel")]:
        assert (await client.request(method, f"{URL}{path}")).status_code == 403


async def test_staff_press_what_they_have_the_right_to(client: httpx.AsyncClient) -> None:
    job_id = await db(queued)
    await log_in(client, is_staff=True)
    await db(permit, "view_job")
    token = await with_token(client)
    assert await ids(client) == [job_id]
    assert (await client.post(f"{URL}/{job_id}/cancel", headers=token)).status_code == 403
    await db(permit, "view_job", "change_job")
    assert (await client.post(f"{URL}/{job_id}/cancel")).status_code == 403  # without the token
    assert (await client.post(f"{URL}/{job_id}/cancel", headers=token)).json()["status"] == "cancelled"


def permit(*rights: str) -> None:
    User.objects.get().user_permissions.set(Permission.objects.filter(codename__in=rights))


async def test_its_page_has_the_buttons(client: httpx.AsyncClient) -> None:
    job_id = await db(queued)
    page = (await client.get(f"{URL}/{job_id}", headers={"Accept": "text/html"})).text
    for button in ("cancel", "retry"):
        assert f'action="{URL}/{job_id}/{button}"' in page
