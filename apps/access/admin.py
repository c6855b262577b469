"""The admin of API keys, users and groups."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as PlainGroupAdmin
from django.contrib.auth.admin import UserAdmin as PlainUserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString

from apps.access.models import ApiKey, User
from llamastack.admin import ModelAdmin, PasswordChangeForm, UserChangeForm, UserCreationForm, badge


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):
    """A key's secret is shown by the answer to the request that made it, and is kept nowhere."""

    list_display = ("name", "beginning", "owner", "tenant", "rights", "state", "expires_at", "created_at")
    list_filter = ("admin", ("revoked_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "owner", "prefix")
    actions = ("revoke",)

    @admin.display(description="Begins with", ordering="prefix")
    def beginning(self, key: ApiKey) -> str:
        return f"{key.prefix}…"

    @admin.display(description="Rights", ordering="admin")
    def rights(self, key: ApiKey) -> SafeString | str:
        return badge("Admin", "note") if key.admin else "use"

    @admin.display(description="State")
    def state(self, key: ApiKey) -> SafeString:
        if key.revoked_at:
            return badge("Revoked", "bad", f"{key.revoked_at:%Y-%m-%d %H:%M} UTC")
        if key.expires_at and key.expires_at <= timezone.now():
            return badge("Expired", "doubtful")
        return badge("Valid", "good")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        told = ("beginning", "state", "tenant", "created_at", "revoked_at") if obj else ()
        return ("name", "owner", "admin", "expires_at", *told)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("owner", "beginning", "state", "tenant", "created_at", "revoked_at") if obj else ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"owner": request.user.get_username()}

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> ApiKey:
        edited: ApiKey = super().save_form(request, form, change)
        if change:
            return edited
        assert isinstance(request.user, User)
        key, secret = ApiKey.issue(**form.cleaned_data, tenant=request.user.tenant)
        key.secret = secret
        return key

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """A new key was saved when it was issued."""
        if change:
            super().save_model(request, obj, form, change)

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: Any = None) -> HttpResponse:
        """The page that shows the secret is this answer itself: it is in no URL, session or message."""
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": "Your new API key", "key": obj}
        return TemplateResponse(request, "admin/access/apikey/issued.html", context)

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset:
            key.revoke()
        messages.success(request, f"Revoked: {', '.join(str(key) for key in queryset)}.")


@admin.register(User)
class UserAdmin(PlainUserAdmin, ModelAdmin):  # type: ignore[type-arg]  # it takes none at run time
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = PasswordChangeForm
    list_display = ("username", "email", "tenant", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "tenant")
    fieldsets = (
        (None, {"fields": ("username", "password", "tenant")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ("last_login", "date_joined")
    filter_horizontal = ()


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(PlainGroupAdmin, ModelAdmin):
    filter_horizontal = ()
