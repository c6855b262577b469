"""The admin of API keys, usage, users and groups."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as PlainGroupAdmin
from django.contrib.auth.admin import UserAdmin as PlainUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString

from apps.access.models import ApiKey, Usage, User
from llamastack.admin import ModelAdmin, PasswordChangeForm, UserChangeForm, UserCreationForm, badge
from llamastack.call import SHARED_TENANT
from llamastack.watch import losses

SUMS = {
    "calls": "Calls",
    "input": "Input tokens",
    "output": "Output tokens",
    "broken": "Failed or broken off",
    "cached": "Cached input tokens",
    "reasoning": "Reasoning tokens",
}


class TenantAdmin(ModelAdmin):
    """Rows that belong to a tenant: staff see those of theirs and the shared ones, and change theirs alone.

    Superusers see and change all, and what they add to the registry is shared with all tenants.
    """

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows if request.user.is_superuser else rows.filter(tenant__in=(tenant_of(request), SHARED_TENANT))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(super().has_change_permission(request, obj)) and is_theirs(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(super().has_delete_permission(request, obj)) and is_theirs(request, obj)

    def chosen(self, request: HttpRequest, rows: QuerySet[Any]) -> list[Any]:
        """The rows of an action, all of which the person may change."""
        chosen = list(rows)
        if not all(self.has_change_permission(request, row) for row in chosen):
            raise PermissionDenied("Rows shared by all tenants are a superuser's to change.")
        return chosen

    def take(self, request: HttpRequest, row: Any) -> None:
        """Make a new row the person's own."""
        row.owner = request.user.get_username()
        if not request.user.is_superuser:
            row.tenant = tenant_of(request)


class ReadOnlyAdmin(TenantAdmin):
    """What is made and changed elsewhere, and only looked at here."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def tenant_of(request: HttpRequest) -> str:
    assert isinstance(request.user, User)
    return request.user.tenant


def is_theirs(request: HttpRequest, row: Any) -> bool:
    return row is None or request.user.is_superuser or row.tenant == tenant_of(request)


@admin.register(ApiKey)
class ApiKeyAdmin(TenantAdmin):
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
        """Who is no superuser makes no admin's keys: such a key may more than its maker."""
        told = ("owner", "beginning", "state", "tenant", "created_at", "revoked_at") if obj else ()
        return told if request.user.is_superuser else ("admin", *told)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"owner": request.user.get_username()}

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> ApiKey:
        edited: ApiKey = super().save_form(request, form, change)
        if change:
            return edited
        key, secret = ApiKey.issue(**form.cleaned_data, tenant=tenant_of(request))
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
        keys = self.chosen(request, queryset)
        for key in keys:
            key.revoke()
        messages.success(request, f"Revoked: {', '.join(str(key) for key in keys)}.")


@admin.register(Usage)
class UsageAdmin(ReadOnlyAdmin):
    """To look at. Above the list, the sums of what it shows on all its pages."""

    list_display = (
        "ended",
        "model",
        "owner",
        "operation",
        "state",
        "tokens_in",
        "tokens_out",
        "took",
        "home",
    )
    fields = (
        "request_id", "ended", "took", "model", "home", "operation", "lane", "status", "error", "is_whole",
        "is_streamed", "tokens_in", "tokens_out", "cached_tokens", "reasoning_tokens", "is_estimated", "owner",
        "tenant", "api_key",
    )  # fmt: skip
    readonly_fields = ("ended", "took", "home", "tokens_in", "tokens_out", "is_whole", "is_streamed", "is_estimated")
    list_filter = ("created_at", "operation", "whole", "model", "provider_id", "tenant", "lane")
    search_fields = ("request_id", "model", "owner")
    ordering = ("-id",)
    date_hierarchy = "created_at"
    show_full_result_count = False
    list_before_template = "admin/access/usage/sums.html"

    @admin.display(description="Ended (UTC)", ordering="created_at")
    def ended(self, row: Usage) -> str:
        return f"{row.created_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="Input tokens", ordering="input_tokens")
    def tokens_in(self, row: Usage) -> str:
        return spelled(row.input_tokens)

    @admin.display(description="Output tokens", ordering="output_tokens")
    def tokens_out(self, row: Usage) -> str:
        return spelled(row.output_tokens)

    @admin.display(description="State", ordering="status")
    def state(self, row: Usage) -> SafeString:
        return badge(str(row.status), "good" if row.whole else "bad", row.error)

    @admin.display(description="Seconds", ordering="seconds")
    def took(self, row: Usage) -> str:
        return f"{row.seconds:.3f}"

    @admin.display(description="Whole")
    def is_whole(self, row: Usage) -> str:
        return yes_or_no(row.whole)

    @admin.display(description="Streamed")
    def is_streamed(self, row: Usage) -> str:
        return yes_or_no(row.streamed)

    @admin.display(description="Estimated")
    def is_estimated(self, row: Usage) -> str:
        return yes_or_no(row.estimated)

    @admin.display(description="Answered by", ordering="provider_id")
    def home(self, row: Usage) -> str:
        return f"{row.provider_id}/{row.provider_model_id}" if row.provider_id else "–"

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        page = super().changelist_view(request, *args, **kwargs)
        context = page.context_data if isinstance(page, TemplateResponse) else None
        if context and "cl" in context:
            sums = context["cl"].queryset.summed()
            context.update(sums=[(title, spelled(sums[name])) for name, title in SUMS.items()], losses=losses())
        return page


def yes_or_no(fact: bool) -> str:
    """A word, where the admin's red cross would say that something is wrong."""
    return "yes" if fact else "no"


def spelled(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


@admin.register(User)
class UserAdmin(PlainUserAdmin, TenantAdmin):  # type: ignore[type-arg]  # it takes none at run time
    """Who is no superuser makes none, and gives no rights."""

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
    filter_horizontal = ()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        rights = ("tenant", "is_superuser", "groups", "user_permissions")
        return ("last_login", "date_joined", *(() if request.user.is_superuser else rights))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (request.user.is_superuser or obj is None or not obj.is_superuser)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if not change and not request.user.is_superuser:
            obj.tenant = tenant_of(request)
        super().save_model(request, obj, form, change)


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(PlainGroupAdmin, ModelAdmin):
    filter_horizontal = ()
