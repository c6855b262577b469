"""Batches in the admin: to look at, with the job of each, live."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.access.admin import ReadOnlyAdmin, spelled
from apps.batches.models import Batch
from apps.files.models import File
from apps.jobs.admin import JobAdmin
from apps.jobs.models import Job
from apps.jobs.shown import bar, moment, page_of, panel
from llamastack.admin import badge

MOODS = {
    "in_progress": "note",
    "finalizing": "note",
    "completed": "good",
    "failed": "bad",
    "expired": "bad",
    "cancelling": "doubtful",
    "cancelled": "doubtful",
}
COUNTS = ("total", "completed", "failed", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
TIMES = ("created", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled", "expires")
FILES = ("input_file", "output_file", "error_file")


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    list_display = ("id", "state", "model", "how_far", "owner", "tenant", "created")
    list_filter = ("status", "endpoint", "created_at")
    search_fields = ("id", "input_file_id", "owner")
    ordering = ("-created_at", "-id")
    list_select_related = ("job",)
    show_full_result_count = False
    fields = ("endpoint", "model", "completion_window", "owner", "tenant", "metadata", "idempotency_key")
    change_form_outer_before_template = "admin/batches/batch/page.html"
    Media = JobAdmin.Media

    @admin.display(description="State", ordering="status")
    def state(self, batch: Batch) -> SafeString:
        return state(batch)

    @admin.display(description="Answered")
    def how_far(self, batch: Batch) -> SafeString | str:
        told = bar(batch.completed + batch.failed, batch.total)
        return format_html("<span>{}, {} failed</span>", told, batch.failed) if batch.failed else told

    @admin.display(description="Created", ordering="created_at")
    def created(self, batch: Batch) -> str:
        return moment(batch.created_at)

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        batch = self.get_object(request, unquote(object_id))
        shown = page(batch) | self._of_job(request, batch.job) if batch else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    def _of_job(self, request: HttpRequest, job: Job) -> dict[str, Any]:
        """Its panel, for who may look at jobs."""
        jobs: Any = self.admin_site.get_model_admin(Job)
        if not jobs.has_view_permission(request, job):
            return {}
        return panel(job, may_press=jobs.may_press(request, job)) | {"about": []}


def state(batch: Batch) -> SafeString:
    return badge(batch.shown_status.replace("_", " "), MOODS.get(batch.shown_status, "plain"))


def page(batch: Batch) -> dict[str, Any]:
    """The context of `admin/batches/batch/page.html`, but for that of its job."""
    times = [(name, getattr(batch, f"{name}_at")) for name in TIMES]
    names = {name: getattr(batch, f"{name}_id") for name in FILES}
    ours = File.objects.filter(tenant=batch.tenant)  # that there is a file of that id elsewhere is nobody's business
    kept = {file.pk: file for file in ours.filter(pk__in=[name for name in names.values() if name])}
    return {
        "batch_state": state(batch),
        "counts": [(name.replace("_", " "), spelled(getattr(batch, name))) for name in COUNTS],
        "batch_times": [(name.replace("_", " "), moment(time)) for name, time in times if time is not None],
        "files": [
            (title.replace("_", " "), name, page_of(kept[name]) if name in kept else "")
            for title, name in names.items()
            if name
        ],
        "errors_found": batch.errors,
    }
