"""Schedules: what their form takes, and the jobs that beat makes of them."""

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule

from apps.access.models import ApiKey, User
from apps.batches.models import Batch
from apps.jobs import schedules
from apps.jobs.models import Job, Schedule
from llamastack import celery
from llamastack.cli.on_beat import Scheduler, run
from llamastack.db import db
from tests.unit.conftest import session_of
from tests.unit.pages import Browser

URL = "/admin/jobs/schedule/"
MONTH = timedelta(days=32)
PAYLOAD = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}


async def added(browser: Browser, **fields: Any) -> str:
    """The page that follows."""
    given = {"name": "nightly", "task": "batch", "payload": json.dumps(PAYLOAD), **fields}
    return (await browser.submit(f"{URL}add/", **given)).text


async def test_a_schedule_is_added_changed_and_deleted(browser: Browser) -> None:
    await added(browser, timezone="Europe/Berlin")
    row = await db(lambda: Schedule.objects.select_related("crontab").get())
    assert (row.task, row.enabled, str(row.crontab.timezone)) == ("batch", True, "Europe/Berlin")
    assert schedules.Turn.model_validate_json(row.kwargs).model_dump() == {
        "tenant": "default",
        "owner": "ada",
        "payload": PAYLOAD,
    }
    assert "At 03:00" in (await browser.open(URL)).text
    await db(lambda: ApiKey.issue("bens", "ben"))
    await browser.submit(f"{URL}{row.pk}/change/", cron="*/15 * * * 1-5", owner="ben", enabled=None)
    row = await db(lambda: Schedule.objects.select_related("crontab").get())
    assert (row.crontab.minute, row.crontab.day_of_week, row.enabled) == ("*/15", "1-5", False)
    assert json.loads(row.kwargs)["owner"] == "ben"
    await browser.submit(f"{URL}{row.pk}/delete/", post="yes")
    assert not await db(Schedule.objects.exists)


WRONG: list[tuple[dict[str, str], str]] = [
    ({"payload": "{"}, "Enter a valid JSON"),
    ({"payload": "[1]"}, "Write a JSON object"),
    ({"payload": "{}"}, "input_file_id: Field required"),
    ({"payload": json.dumps(PAYLOAD | {"endpoint": "/v1/files"})}, "endpoint: Input should be"),
    ({"payload": json.dumps(PAYLOAD | {"idempotency_key": "a"})}, "idempotency_key: Input should be None"),
    ({"task": "os.system"}, "Select a valid choice"),
    ({"cron": "0 3 * *"}, "Write five parts"),
    ({"cron": "0 25 * * *"}, "This is no time"),
    ({"timezone": "Mars"}, "Select a valid choice"),
    ({"owner": "nobody"}, "Nobody of this name may act in the tenant &#x27;default&#x27;"),
    ({"tenant": "blue"}, "Nobody of this name may act in the tenant &#x27;blue&#x27;"),
    ({"owner": "left"}, "name an active user, or the owner of an API key that is not revoked"),
]


async def test_what_is_wrong_is_told_and_nothing_is_saved(browser: Browser) -> None:
    await db(lambda: User.objects.create(username="left", is_active=False))
    for fields, told in WRONG:
        page = await added(browser, **fields)
        assert told in page, fields
        assert "One of clocked" not in page, fields
        assert not await db(Schedule.objects.exists), fields


async def test_a_name_is_taken_once(browser: Browser) -> None:
    await added(browser)
    assert "already exists" in await added(browser)
    assert await db(Schedule.objects.count) == 1


async def test_its_job_is_made_now_where_a_person_wants_it(browser: Browser) -> None:
    await added(browser)
    row = await db(Schedule.objects.get)
    await browser.submit(URL, action="run_now", _selected_action=str(row.pk))
    batch = await db(lambda: Batch.objects.select_related("job").get())
    assert (batch.owner, batch.tenant, batch.input_file_id, batch.job.kind) == ("ada", "default", "file-1", "batch")


async def test_schedules_are_a_superusers(browser: Browser) -> None:
    await added(browser)
    staff = await db(User.objects.create, username="eve", is_staff=True)
    browser.http.cookies.set("llamastack_session", await db(session_of, staff))
    assert (await browser.open(URL)).status_code == 403
    assert (await browser.open(f"{URL}add/")).status_code == 403
    assert (await browser.open("/admin/django_celery_beat/periodictask/")).status_code == 404


def due(payload: dict[str, Any] = PAYLOAD) -> Schedule:
    """A schedule of each month that was made in the one before: no next turn comes in the midst of a test."""
    turn = schedules.Turn(tenant="blue", owner="ada", payload=payload)
    # An hour that is a plain number would have beat pass over it but for two hours before and after.
    when, _ = CrontabSchedule.objects.get_or_create(minute="0", hour="*/24", day_of_month="1")
    row = Schedule(name="monthly", task="batch", kwargs=turn.model_dump_json(), crontab=when)
    row.last_run_at = timezone.now() - MONTH
    row.save()
    return row


@pytest.mark.django_db(transaction=True)
def test_beat_makes_the_job_of_a_turn_once() -> None:
    due()
    for _ in range(2):  # one beat, and another one that follows it
        scheduler = Scheduler(app=celery.app)
        for _ in range(3):
            scheduler.tick()
        connection.close()
    batch = Batch.objects.select_related("job").get()
    assert (batch.owner, batch.tenant, batch.job.status) == ("ada", "blue", "queued")
    assert Schedule.objects.get().total_run_count == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_beats_one_makes_the_job_of_a_turn_and_the_other_the_next() -> None:
    row = due()
    one, other = Scheduler(app=celery.app), Scheduler(app=celery.app)
    for scheduler in (one, other):  # both have read it before either makes its job
        assert [entry.model.total_run_count for entry in scheduler.schedule.values() if entry.name == row.name] == [0]
    for scheduler in (one, other, one, other):
        scheduler.tick()
        scheduler.tick()
    assert Job.objects.count() == Schedule.objects.get().total_run_count == 1
    Schedule.objects.update(last_run_at=timezone.now() - MONTH)  # the first is gone, and time goes by
    other.begin_anew()
    for _ in range(3):
        other.tick()
    assert Job.objects.count() == Schedule.objects.get().total_run_count == 2


@pytest.mark.django_db(transaction=True)
def test_a_schedule_that_nobody_can_read_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    due({"endpoint": "none"})
    scheduler = Scheduler(app=celery.app)
    for _ in range(3):
        scheduler.tick()
    assert "Schedule 'monthly' made no job" in caplog.text
    assert not Job.objects.exists()
    assert Schedule.objects.get().total_run_count == 1


@pytest.mark.django_db(transaction=True)
def test_the_very_first_schedule_is_found_by_a_beat_that_has_begun_before_it() -> None:
    scheduler = Scheduler(app=celery.app)
    scheduler.tick()
    due()
    scheduler.tick()
    scheduler.tick()
    assert Schedule.objects.get().total_run_count == 1


class Unlucky(Scheduler):
    """Its database is gone when the first job is due, for a moment."""

    def __init__(self, over: threading.Event) -> None:
        self.over, self.failures = over, 0
        super().__init__(app=celery.app)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        if not self.failures:
            self.failures += 1
            raise OperationalError("server closed the connection unexpectedly")
        super().apply_entry(entry, producer)
        self.over.set()


@pytest.mark.django_db(transaction=True)
def test_a_turn_is_taken_when_the_database_is_back(caplog: pytest.LogCaptureFixture) -> None:
    due()
    over = threading.Event()
    run(Unlucky(over), over, pause=0.01)
    assert "no job is made: server closed the connection" in caplog.text
    assert Batch.objects.count() == 1
    assert Schedule.objects.get().total_run_count == 1
