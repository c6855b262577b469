"""Jobs in the admin: to look at."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from apps.access.admin import TenantAdmin
from apps.jobs.models import Job


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
