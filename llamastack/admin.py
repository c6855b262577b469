"""The admin's look in one place: what our admin classes use of django-unfold, and what each of them does."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe
from unfold.admin import ModelAdmin as StyledModelAdmin
from unfold.forms import AdminPasswordChangeForm as PasswordChangeForm
from unfold.forms import UserChangeForm as UserChangeForm
from unfold.forms import UserCreationForm as UserCreationForm
from unfold.widgets import UnfoldAdminPasswordWidget as PasswordInput
from unfold.widgets import UnfoldAdminSelectWidget as Select
from unfold.widgets import UnfoldAdminTextareaWidget as Textarea
from unfold.widgets import UnfoldAdminTextInputWidget as TextInput
from unfold.widgets import UnfoldBooleanSwitchWidget as Switch
from unfold.widgets import UnfoldBooleanWidget as Checkbox

from llamastack import stack
from llamastack.errors import StackError

__all__ = [
    "Checkbox",
    "ModelAdmin",
    "PasswordChangeForm",
    "PasswordInput",
    "Select",
    "Switch",
    "TextInput",
    "Textarea",
    "UserChangeForm",
    "UserCreationForm",
    "badge",
    "follow",
    "locked_out",
]
# Badge colours by what they say.
COLOURS: Mapping[str, str] = {"good": "success", "bad": "danger", "doubtful": "warning", "note": "info", "plain": ""}
logger = logging.getLogger(__name__)


class ModelAdmin(StyledModelAdmin):
    """A StackError becomes a message, with nothing saved; what was written, this process sees at once."""

    list_per_page = 50
    list_filter_sheet = False
    warn_unsaved_form = True

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._told(super().changelist_view, request, request.get_full_path(), *args, **kwargs)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._told(super().changeform_view, request, request.get_full_path(), *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return self._told(super().delete_view, request, "../change/", *args, **kwargs)

    def _told(
        self, view: Callable[..., HttpResponse], request: HttpRequest, back: str, *args: Any, **kwargs: Any
    ) -> Any:
        try:
            response = view(request, *args, **kwargs)
        except StackError as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(back)
        if request.method == "POST":
            follow()
        return response


def follow() -> None:
    """Have this process see what was just written. Others see it within half a second, and so would this one."""
    try:
        stack.run(lambda running: running.live.refresh())
    except StackError as error:
        logger.warning("What was saved is seen a little later: %s", error.message)


def locked_out(request: HttpRequest, *attempt: Any) -> HttpResponse:
    """django-axes' answer to a name that is locked after too many wrong passwords."""
    context = {
        **admin.site.each_context(request),
        "failures": settings.AXES_FAILURE_LIMIT,
        "minutes": round(settings.AXES_COOLOFF_TIME * 60),
    }
    return render(request, "admin/locked_out.html", context, status=429)


def badge(text: str, mood: str = "plain", title: str = "") -> SafeString:
    """A word in a coloured box: `good`, `bad`, `doubtful`, `note` or `plain`."""
    context = {"text": text, "type": COLOURS[mood], "label_title": title}
    return mark_safe(render_to_string("unfold/helpers/label.html", context).strip())  # noqa: S308 (escaped there)
