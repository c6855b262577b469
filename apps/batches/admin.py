"""Batches in the admin: to look at."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from apps.access.admin import TenantAdmin
from apps.batches.models import Batch


@admin.register(Batch)
class BatchAdmin(TenantAdmin):
    list_display = ("id", "status", "endpoint", "completed", "failed", "total", "owner", "tenant", "created_at")
    list_filter = ("status", "endpoint", "created_at")
    search_fields = ("id", "input_file_id", "owner")
    ordering = ("-created_at", "-id")
    exclude = ("provider_data",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
