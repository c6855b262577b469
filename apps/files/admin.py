"""Files in the admin: to look at. They are deleted by the API, which removes their bytes too."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from apps.access.admin import TenantAdmin
from apps.files.models import File


@admin.register(File)
class FileAdmin(TenantAdmin):
    list_display = ("filename", "id", "purpose", "size", "owner", "tenant", "created_at", "expires_at")
    list_filter = ("purpose", "created_at")
    search_fields = ("id", "filename", "owner")
    ordering = ("-created_at", "-id")

    @admin.display(description="Bytes", ordering="bytes")
    def size(self, file: File) -> str:
        return f"{file.bytes:,}"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
