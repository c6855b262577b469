"""The admin's first page: what runs, and what needs a look."""

from collections import Counter
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from apps.access.models import ApiKey
from apps.registry.models import Model, Provider
from apps.registry.shown import checked, state_of


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """django-unfold's DASHBOARD_CALLBACK: what the page shows, as far as the person may see it."""
    cards = [
        card
        for permission, card in (
            ("registry.view_provider", _providers),
            ("registry.view_model", _models),
            ("access.view_apikey", _keys),
        )
        if request.user.has_perm(permission)
    ]
    shown = Provider.objects.all() if request.user.has_perm("registry.view_provider") else Provider.objects.none()
    rows = [{"row": row, "state": state_of(row), "checked": checked(row)} for row in shown]
    return {**context, "title": "Llama Stack", "cards": [card() for card in cards], "providers": rows}


def _providers() -> dict[str, Any]:
    words = Counter(state_of(row).word.lower() for row in Provider.objects.all())
    return _card("Providers", "registry_provider", words)


def _models() -> dict[str, Any]:
    rows = [row for row in Model.objects.all() if row.enabled]
    return _card("Models", "registry_model", Counter(row.merged.get("model_type", "llm") for row in rows))


def _keys() -> dict[str, Any]:
    words = Counter("revoked" if key.revoked_at else "issued" for key in ApiKey.objects.all())
    return _card("API keys", "access_apikey", words)


def _card(title: str, page: str, words: Counter[str]) -> dict[str, Any]:
    note = ", ".join(f"{number} {word}" for word, number in words.most_common())
    return {"title": title, "link": reverse(f"admin:{page}_changelist"), "number": words.total(), "note": note}
