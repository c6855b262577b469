"""Jobs in the admin: to look at, live, to cancel and to try again; and the schedules that make some."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms import Script
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST
from django_celery_beat import models as beat

from apps.access.admin import TenantAdmin
from apps.jobs import kinds, schedules, service
from apps.jobs.forms import ScheduleForm
from apps.jobs.models import Job, Schedule, Status
from apps.jobs.shown import bar, moment, page_of, panel, state
from llamastack.admin import ModelAdmin
from llamastack.errors import StackError

# Its own pages offer any task of Celery's by name; ours offer kinds of jobs.
for model in (beat.PeriodicTask, beat.CrontabSchedule, beat.IntervalSchedule, beat.SolarSchedule, beat.ClockedSchedule):
    admin.site.unregister(model)


class QueueFilter(admin.SimpleListFilter):
    title = "queue"
    parameter_name = "queue"

    def lookups(self, request: Any, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, name) for name in kinds.QUEUES]

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return service.of_queue(queryset, self.value() or "") if self.value() else queryset


@admin.register(Job)
class JobAdmin(TenantAdmin):
    list_display = ("id", "kind", "state", "how_far", "owner", "tenant", "created")
    list_filter = ("status", ("kind", admin.AllValuesFieldListFilter), QueueFilter, "created_at")
    search_fields = ("id", "owner")
    ordering = ("-created_at", "-id")
    show_full_result_count = False
    fields = ("queue", "priority", "tenant", "payload")
    readonly_fields = ("queue",)
    change_form_outer_before_template = "admin/jobs/job/panel.html"

    class Media:
        css: ClassVar[dict[str, Any]] = {"all": ["jobs/job.css"]}
        js = (Script("jobs/job.js", type="module"),)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def may_press(self, request: HttpRequest, job: Job) -> bool:
        """Whether the buttons are the person's to press. Nothing else of a job can be changed."""
        return super().has_change_permission(request, job)

    # --- its columns ---

    @admin.display(description="State", ordering="status")
    def state(self, job: Job) -> SafeString:
        badge = state(job.status)
        return format_html("{} waits", badge) if job.status == Status.queued and job.error else badge

    @admin.display(description="Progress")
    def how_far(self, job: Job) -> SafeString | str:
        return bar(*job.done)

    @admin.display(description="Created", ordering="created_at")
    def created(self, job: Job) -> str:
        return moment(job.created_at)

    @admin.display(description="Queue")
    def queue(self, job: Job) -> str:
        return kinds.queue(job.kind)

    # --- its page ---

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        job = self.get_object(request, unquote(object_id))
        shown = panel(job, may_press=self.may_press(request, job)) if job else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    def get_urls(self) -> list[URLPattern]:
        views = {"cancel": self.cancel, "retry": self.retry}
        buttons = [
            path(f"<str:object_id>/{name}/", self.admin_site.admin_view(require_POST(view)), name=f"jobs_job_{name}")
            for name, view in views.items()
        ]
        return [*buttons, *super().get_urls()]

    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._pressed(
            request, object_id, service.cancelled, "The job is cancelled, or ends where it next looks."
        )

    def retry(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._pressed(request, object_id, service.retried, "The job is queued again.")

    def _pressed(self, request: HttpRequest, object_id: str, step: Callable[..., Any], told: str) -> HttpResponse:
        job = self.get_object(request, unquote(object_id))
        if job is None or not self.may_press(request, job):
            raise PermissionDenied
        try:
            step(self.get_queryset(request), job.pk)
            self.log_change(request, job, told)
            messages.success(request, told)
        except StackError as error:
            messages.error(request, error.message)
        return HttpResponseRedirect(page_of(job))


@admin.register(Schedule)
class ScheduleAdmin(ModelAdmin):
    """A superuser's: a schedule makes jobs of any tenant."""

    form = ScheduleForm
    list_display = ("name", "kind", "when", "enabled", "made", "count")
    list_filter = ("enabled", "task")
    search_fields = ("name",)
    actions = ("run_now",)
    list_select_related = ("crontab",)

    @admin.display(description="Kind of job", ordering="task")
    def kind(self, schedule: Schedule) -> str:
        return str(schedule.task)

    @admin.display(description="Made last", ordering="last_run_at")
    def made(self, schedule: Schedule) -> str:
        return moment(schedule.last_run_at)

    @admin.display(description="Jobs made", ordering="total_run_count")
    def count(self, schedule: Schedule) -> str:
        return f"{schedule.total_run_count:,}"

    @admin.display(description="When")
    def when(self, schedule: Schedule) -> str:
        return str(schedule.crontab.human_readable)

    @admin.action(description="Make the job now")
    def run_now(self, request: HttpRequest, rows: QuerySet[Schedule]) -> None:
        for schedule in rows:
            try:
                schedules.make(schedule)
            except ValueError as error:
                self.message_user(request, f"{schedule.name} made no job: {error}", messages.ERROR)
            else:
                self.message_user(request, f"{schedule.name}: its job has been queued.")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"owner": request.user.get_username()}

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    has_add_permission = has_module_permission
    has_change_permission = has_delete_permission = has_view_permission

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        for schedule in queryset:  # each by itself: beat is told then
            schedule.delete()
