"""Vector stores and their files in the admin: to look at."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from apps.access.admin import TenantAdmin
from apps.registry.models import VectorStore
from apps.vector_io.models import VectorStoreFile


class ReadOnly(TenantAdmin):
    """What the API alone changes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(VectorStore)
class VectorStoreAdmin(ReadOnly):
    list_display = ("identifier", "name", "provider_id", "embedding_model", "owner", "tenant", "created_at")
    list_filter = ("provider_id", "embedding_model", "created_at")
    search_fields = ("identifier", "name", "owner")


@admin.register(VectorStoreFile)
class VectorStoreFileAdmin(ReadOnly):
    list_display = ("filename", "store", "status", "chunks", "usage_bytes", "error", "owner", "tenant", "created_at")
    list_filter = ("status", "parser", "created_at")
    search_fields = ("file_id", "filename", "owner", "error")
