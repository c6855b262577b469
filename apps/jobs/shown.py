"""Jobs as the admin's pages show them: how far each is, when it will have ended, and what has happened in it."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db.models import Model
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.jobs import service
from apps.jobs.models import ENDED, Job, JobEvent, Status
from llamastack.admin import badge

MOODS = {
    Status.queued: "plain",
    Status.running: "note",
    Status.completed: "good",
    Status.failed: "bad",
    Status.cancelled: "doubtful",
    Status.quarantined: "bad",
}
LOGGED, DRAWN = 200, 2000  # of the last events, so many are on a page
NONE = "–"


def state(status: str) -> SafeString:
    return badge(status, MOODS[Status(status)])


BAR = (
    '<progress class="job-bar" max="{}" value="{}" aria-label="Progress"></progress> <span class="job-count">{}</span>'
)


def bar(done: float | None, total: float | None) -> SafeString | str:
    """A bar with its numbers, or what is known of them."""
    if done is None or total == 0:
        return NONE
    told = f"{done:,}" if total is None else f"{done:,} of {total:,}"
    return format_html(BAR, total, done, told) if total else told


def moment(time: datetime | None) -> str:
    return NONE if time is None else f"{time:%Y-%m-%d %H:%M:%S} UTC"


def left(until: datetime | None, now: datetime) -> str:
    """How long it will take, in the words that job.js has too."""
    if until is None:
        return ""
    minutes, seconds = divmod(max(0, round((until - now).total_seconds())), 60)
    if minutes == 0:
        return f"about {seconds} s left"
    return f"about {minutes} min left" if minutes < 60 else f"about {minutes // 60} h {minutes % 60} min left"


def panel(job: Job, *, may_press: bool) -> dict[str, Any]:
    """The context of `admin/jobs/job/panel.html`. What happens after `job.events`, job.js tells."""
    happened = JobEvent.objects.filter(job=job, number__lte=job.events).order_by("-number")
    drawn = metrics(list(happened.filter(kind="metric")[:DRAWN]))
    done, total = job.done
    return {
        "job": job,
        "states": [(status.value, state(status)) for status in Status],
        "done": done,
        "total": total,
        "left": left(job.expected_at, timezone.now()),
        "ended": ENDED,
        "ending": job.cancel_requested and job.status not in ENDED,
        "times": [(name, moment(getattr(job, f"{name}_at"))) for name in ("created", "started", "ended")],
        "log": [
            (moment(e.created_at), e.data.get("message", "")) for e in reversed(happened.filter(kind="log")[:LOGGED])
        ],
        "metrics": drawn,
        "plots": [(name, name.replace("_", " "), points[-1][1]) for name, points in drawn.items()],
        "about": about(job),
        "may_press": may_press,
        "may_cancel": job.status not in ENDED and not job.cancel_requested,
        "may_retry": service.may_retry(job),
    }


def metrics(events: list[JobEvent]) -> dict[str, list[tuple[float, float]]]:
    """The points of each metric, the oldest first: when, and how much. `events` are the newest first."""
    found: dict[str, list[tuple[float, float]]] = {}
    for event in reversed(events):
        for name, value in event.data.items():
            if isinstance(value, int | float):
                found.setdefault(name, []).append((event.created_at.timestamp(), value))
    return found


def about(job: Job) -> list[tuple[str, str]]:
    """What the job is done for: rows of other tables that name it and have a page, each with its address."""
    found: list[Model] = []
    for relation in Job._meta.related_objects:
        if admin.site.is_registered(relation.related_model):
            found += relation.related_model._default_manager.filter(**{relation.field.name: job})[:5]
    return [(f"{row._meta.verbose_name} {row}", page_of(row)) for row in found]


def page_of(row: Model) -> str:
    """Its address in the admin."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[quote(row.pk)])
