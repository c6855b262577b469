"""Stored chat completions in the admin: to look at and to delete, not to change."""

from typing import Any

import orjson
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.access.admin import TenantAdmin
from apps.inference.models import StoredCompletion


@admin.register(StoredCompletion)
class StoredCompletionAdmin(TenantAdmin):
    list_display = ("id", "model", "owner", "tenant", "metadata", "created_at")
    list_filter = ("created_at",)
    search_fields = ("id", "model", "owner")
    ordering = ("-created_at", "-id")
    show_full_result_count = False
    fields = ("id", "model", "owner", "tenant", "created_at", "metadata", "messages", "answer")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Lists do without what was said, which may be long."""
        return super().get_queryset(request).defer("input_messages", "completion")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="Messages")
    def messages(self, row: StoredCompletion) -> SafeString:
        return indented(row.input_messages)

    @admin.display(description="Completion")
    def answer(self, row: StoredCompletion) -> SafeString:
        return indented(row.completion)


def indented(text: str) -> SafeString:
    data = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    return format_html('<pre class="whitespace-pre-wrap">{}</pre>', data)
