"""The admin's first page: what runs, and what needs a look."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import Count
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst

from apps.access.models import ApiKey
from apps.jobs.models import Job
from apps.registry.models import Model, Provider
from apps.registry.shown import checked, state_of


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """django-unfold's DASHBOARD_CALLBACK: what the page shows, as far as the person may see it."""
    seen = [(page, page.get_queryset(request)) for page in _pages() if page.has_view_permission(request)]
    rows = [row for page, shown in seen if page.model is Provider for row in shown]
    providers = [{"row": row, "state": state_of(row), "checked": checked(row)} for row in rows]
    cards = [_card(page, Counter(KINDS[page.model](row) for row in rows)) for page, rows in seen]
    jobs: Any = admin.site.get_model_admin(Job)
    if jobs.has_view_permission(request):
        counted = jobs.get_queryset(request).order_by().values_list("status").annotate(Count("pk"))
        cards.append(_card(jobs, Counter(dict(counted))))
    return {**context, "title": "Llama Stack", "cards": cards, "providers": providers}


def _pages() -> list[Any]:
    return [admin.site.get_model_admin(table) for table in KINDS]


def _card(page: Any, kinds: Counter[str]) -> dict[str, Any]:
    return {
        "title": capfirst(page.opts.verbose_name_plural),
        "link": reverse(f"admin:{page.opts.app_label}_{page.opts.model_name}_changelist"),
        "number": kinds.total(),
        "note": ", ".join(f"{number} {kind}" for kind, number in kinds.most_common()),
    }


# What the rows of a table are counted by.
KINDS: dict[type[Any], Callable[[Any], str]] = {
    Provider: lambda row: state_of(row).word.lower(),
    Model: lambda row: str(row.merged.get("model_type", "llm")) if row.enabled else "disabled",
    ApiKey: lambda key: "revoked" if key.revoked_at else "issued",
}
