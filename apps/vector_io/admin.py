"""Vector stores and their files in the admin: to look at, and to search in."""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.http import HttpRequest
from django.utils.safestring import SafeString

from apps.access.admin import ReadOnlyAdmin
from apps.jobs.admin import JobAdmin
from apps.jobs.shown import panel
from apps.registry.models import VectorStore
from apps.vector_io import shown
from apps.vector_io.models import VectorStoreFile

QUERY = "query"


class ReadOnly(ReadOnlyAdmin):
    """What the API alone changes."""

    show_full_result_count = False
    Media = JobAdmin.Media


@admin.register(VectorStore)
class VectorStoreAdmin(ReadOnly):
    list_display = ("identifier", "name", "provider_id", "embedding_model", "owner", "tenant", "created_at")
    list_filter = ("provider_id", "embedding_model", "created_at")
    search_fields = ("identifier", "name", "owner")
    fields = ("identifier", "name", "description", "metadata", "origin", "owner", "tenant", "key")
    change_form_outer_before_template = "admin/vector_io/store.html"

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        context = dict(extra_context or {})
        if (store := self.get_object(request, unquote(object_id))) is not None:
            context |= shown.of_store(
                store, shown.caller(request.user.get_username(), store), request.GET.get(QUERY, "").strip()
            )
            if job := context["ingestion"]:
                context |= panel(job, may_press=False)
        return super().change_view(request, object_id, form_url, context)


@admin.register(VectorStoreFile)
class VectorStoreFileAdmin(ReadOnly):
    list_display = ("filename", "store", "how", "chunks", "usage_bytes", "error", "owner", "tenant", "created_at")
    list_filter = ("status", "parser", "created_at")
    list_select_related = ("store", "job")
    search_fields = ("file_id", "filename", "owner", "error")
    fields: ClassVar[Any] = ("file_id", "attributes", "chunking_strategy", "chunked", "parser", "usage_bytes", "owner")
    change_form_outer_before_template = "admin/vector_io/file.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        rows: Any = super().get_queryset(request)
        return rows.shown()

    @admin.display(description="State", ordering="status")
    def how(self, row: VectorStoreFile) -> SafeString:
        return shown.state(row.state)

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        context = dict(extra_context or {})
        if (row := self.get_object(request, unquote(object_id))) is not None:
            context |= shown.of_file(row, shown.caller(request.user.get_username(), row.store))
            context |= panel(row.job, may_press=False)
        return super().change_view(request, object_id, form_url, context)
