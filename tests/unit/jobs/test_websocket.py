"""/ws/jobs/{id}: what happens in a job as messages, and who may see it."""

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Permission
from django.urls import path

from apps.access.models import ApiKey, User
from apps.jobs import service
from apps.jobs.consumers import JobConsumer
from apps.jobs.models import Job, Status
from llamastack import asgi
from llamastack import settings as ours
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.conftest import session_of
from tests.unit.inference.test_websocket import closing, socket
from tests.unit.jobs.test_jobs_api import claimed, idle
from tests.unit.jobs.test_work import queued

__all__ = ["idle"]
pytestmark = pytest.mark.usefixtures("idle")


def url(job_id: str, query: str = "") -> str:
    return f"/ws/jobs/{job_id}{query}"


async def told(communicator: Any) -> Any:
    return json.loads(await communicator.receive_from(timeout=30))


async def refused(address: str, *headers: tuple[bytes, bytes]) -> tuple[Any, int]:
    """The error that a socket is answered with, and the code of its end."""
    async with socket(address, *headers) as watch:
        return (await told(watch))["error"], await closing(watch)


def with_key(secret: str) -> tuple[bytes, bytes]:
    return (b"authorization", f"Bearer {secret}".encode())


def with_session(user: User) -> tuple[bytes, bytes]:
    return (b"cookie", f"theme=dark; {ours.SESSION_COOKIE_NAME}={session_of(user)}".encode())


def person(name: str, *rights: str, **fields: Any) -> User:
    user = User.objects.create(username=name, **{"is_staff": True, **fields})
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    return user


# --- what happens ---


async def test_what_happens_is_told_until_the_job_has_ended() -> None:
    job = await claimed()
    async with socket(url(job.id)) as watch:
        assert (await told(watch))["status"] == "running"
        await db(Job.objects.tell, job, "log", {"message": "one"})
        event = await told(watch)
        assert (event["object"], event["number"], event["kind"]) == ("job.event", 1, "log")
        assert event["data"] == {"message": "one"}
        await db(Job.objects.report, job, {"done": 1, "total": 2})
        assert (await told(watch))["progress"] == {"done": 1, "total": 2}
        await db(Job.objects.finish, job, Status.failed, "No disk.")
        last = await told(watch)
        assert (last["object"], last["status"], last["error"]) == ("job", "failed", "No disk.")
        assert await closing(watch) == 1000


async def test_who_comes_again_goes_on_after_the_last_number() -> None:
    job = await claimed()
    for number in range(4):
        await db(Job.objects.tell, job, "metric", {"loss": number})
    await db(Job.objects.finish, job, Status.completed)
    async with socket(url(job.id, "?after=2")) as watch:
        assert [(await told(watch)).get("number") for _ in range(3)] == [3, 4, None]
        assert await closing(watch) == 1000


NO_NUMBERS: list[str] = ["two", "5", "-1", "9" * 19]


async def test_a_number_that_is_none_closes_the_socket_with_the_reason() -> None:
    job = await claimed()
    for after in NO_NUMBERS:
        error, code = await refused(url(job.id, f"?after={after}"))
        assert (error["param"], code) == ("after", 4400), after


async def test_where_too_many_watch_one_more_is_to_come_later() -> None:
    job = await claimed()
    watchers = [service.events(partial(service.of_key, {}), job.id) for _ in range(service.MOST_WATCHING)]
    for watcher in watchers:
        await anext(watcher)
    error, code = await refused(url(job.id))
    assert (error["code"], code) == ("rate_limit_exceeded", 1013)
    for watcher in watchers:
        await watcher.aclose()


async def test_it_only_tells() -> None:
    job = await claimed()
    async with socket(url(job.id)) as watch:
        await told(watch)
        await watch.send_json_to({"type": "cancel"})
        assert (await told(watch))["error"]["param"] == "type"
        await db(Job.objects.finish, job, Status.completed)
        assert (await told(watch))["status"] == "completed"


async def test_a_client_that_goes_leaves_nothing_behind() -> None:
    job = await claimed()
    async with socket(url(job.id)) as watch:
        await told(watch)
        assert watching() == 1
    assert watching() == 0


def watching() -> int:
    return sum("JobConsumer.watch" in repr(task.get_coro()) for task in asyncio.all_tasks())


# --- who may see it ---


async def test_a_job_of_another_tenant_is_refused_like_one_that_is_missing(idle: LlamaStack) -> None:
    _, secret = await db(ApiKey.issue, "theirs", "eve", tenant="other")
    await idle.live.refresh()
    job_id = await db(queued)
    foreign, code = await refused(url(job_id), with_key(secret))
    missing, same = await refused(url("job_none"), with_key(secret))
    assert (code, same) == (4404, 4404)
    assert foreign["message"].replace(job_id, "X") == missing["message"].replace("job_none", "X")
    assert {**foreign, "message": ""} == {**missing, "message": ""}


async def test_where_keys_are_required_one_lets_in(settings: Any, idle: LlamaStack) -> None:
    settings.AUTH_REQUIRED = True
    key, secret = await db(ApiKey.issue, "mine", "ada")
    await idle.live.refresh()
    job = await claimed()
    assert await refused(url(job.id), with_key("lls-wrong")) == await refused(url(job.id), with_key("lls-none"))
    async with socket(url(job.id)) as watch:
        await watch.send_json_to({"type": "auth", "api_key": secret})
        assert await told(watch) == {"type": "authenticated"}
        assert (await told(watch))["id"] == job.id
    async with socket(url(job.id), with_key(secret)) as watch:
        assert (await told(watch))["id"] == job.id
        await db(key.revoke)
        await idle.live.refresh()
        assert (await told(watch))["error"]["code"] == "invalid_api_key"
        assert await closing(watch) == 4401
    async with socket(app=JobConsumer.as_asgi(authenticate_seconds=0.05)) as silent:
        assert await closing(silent) == 4401
    async with socket(url(job.id)) as rash:
        await rash.send_json_to({"type": "watch"})
        assert (await told(rash))["error"]["code"] == "invalid_api_key"
        assert await closing(rash) == 4401
    error, code = await refused(url(job.id, f"?token={secret}"))
    assert (error["code"], code) == ("key_in_url", 1008)


async def test_a_page_of_another_site_and_a_path_that_is_none_get_no_socket() -> None:
    job_id = await db(queued)
    host, stranger = (b"host", b"localhost"), (b"origin", b"https://elsewhere.example")
    for address, headers in [(url(job_id), [host, stranger]), ("/ws/jobs/", [host]), ("/ws/jobs/a/b", [host])]:
        communicator = WebsocketCommunicator(asgi.application, address, headers)
        assert await communicator.connect(timeout=30) == (False, 4403)


async def test_the_session_of_staff_shows_what_the_admin_shows_them(settings: Any) -> None:
    settings.AUTH_REQUIRED = True
    ours, theirs = await claimed(tenant="default"), await claimed(tenant="other")
    ada = await db(lambda: with_session(person("ada", is_superuser=True)))
    eve = await db(lambda: with_session(person("eve", "view_job", tenant="other")))
    for holder, job in [(ada, ours), (ada, theirs), (eve, theirs)]:
        async with socket(url(job.id), holder) as watch:
            assert (await told(watch))["id"] == job.id
    assert (await refused(url(ours.id), eve))[1] == 4404


async def test_the_session_of_whoever_may_not_look_at_jobs_lets_nobody_in(settings: Any) -> None:
    settings.AUTH_REQUIRED = True
    job = await claimed()

    def strangers() -> list[tuple[bytes, bytes]]:
        people = person("max"), person("eve", "view_job", is_staff=False), person("ben", "view_job", is_active=False)
        return [with_session(user) for user in people]

    for holder in await db(strangers):
        async with socket(url(job.id), holder) as watch:
            await watch.send_json_to({"type": "watch"})
            assert (await told(watch))["error"]["code"] == "invalid_api_key"
            assert await closing(watch) == 4401


async def test_who_logs_out_sees_no_more(settings: Any) -> None:
    settings.AUTH_REQUIRED = True
    ada = await db(person, "ada", is_superuser=True)
    holder = await db(with_session, ada)
    app = URLRouter([path("ws/jobs/<str:job_id>", JobConsumer.as_asgi(session_seconds=0))])
    async with socket(url((await claimed()).id), holder, app=app) as watch:
        await told(watch)
        await db(ada.set_password, "another")
        await db(ada.save)
        assert (await told(watch))["error"]["code"] == "invalid_api_key"
        assert await closing(watch) == 4401
