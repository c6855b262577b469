"""Jobs in the admin, to look at, and the schedules that make some."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django_celery_beat import models as beat

from apps.access.admin import TenantAdmin
from apps.jobs import schedules
from apps.jobs.forms import ScheduleForm
from apps.jobs.models import Job, Schedule
from llamastack.admin import ModelAdmin

# Its own pages offer any task of Celery's by name; ours offer kinds of jobs.
for model in (beat.PeriodicTask, beat.CrontabSchedule, beat.IntervalSchedule, beat.SolarSchedule, beat.ClockedSchedule):
    admin.site.unregister(model)


@admin.register(Job)
class JobAdmin(TenantAdmin):
    list_display = ("id", "kind", "status", "progress", "attempt", "owner", "tenant", "created_at", "ended_at")
    list_filter = ("status", "kind", "created_at")
    search_fields = ("id", "owner")
    ordering = ("-created_at", "-id")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Schedule)
class ScheduleAdmin(ModelAdmin):
    """A superuser's: a schedule makes jobs of any tenant."""

    form = ScheduleForm
    list_display = ("name", "task", "when", "enabled", "last_run_at", "total_run_count")
    list_filter = ("enabled", "task")
    search_fields = ("name",)
    actions = ("run_now",)
    list_select_related = ("crontab",)

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
