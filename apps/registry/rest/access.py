"""Who uses /manage/: staff in their session, or an admin's key; where no key is asked for, the anonymous admin too."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from apps.access.models import Owned, User
from apps.access.service import secret_in
from apps.registry import service
from apps.registry.models import Origin, Resource
from llamastack import stack
from llamastack.call import ANONYMOUS_ADMIN, Call, Principal
from llamastack.errors import AuthenticationError

VERBS = {"POST": "add", "PUT": "change", "PATCH": "change", "DELETE": "delete"}


class Operators(BaseAuthentication):
    """A key goes before a session: browsers send none by themselves. A session's writes need its CSRF token."""

    def authenticate(self, request: Request) -> tuple[Any, Call]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        user = request._request.user
        if secret_in(headers) is None and isinstance(user, User) and user.is_active and user.is_staff:
            SessionAuthentication().enforce_csrf(request)
            return user, Call(Principal(user.get_username(), user.tenant, frozenset({"admin"})))
        try:
            principal = stack.run(lambda run: run.live.principal(headers, required=settings.AUTH_REQUIRED))
        except AuthenticationError as error:
            raise AuthenticationFailed(error.message) from error
        return AnonymousUser(), Call(principal)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


@dataclass(frozen=True)
class Operator:
    """What the caller may see and change: in person as in the admin, with a key as the /v1 API has it."""

    principal: Principal
    user: User | None

    @classmethod
    def of(cls, request: Request) -> "Operator":
        user = request.user
        call: Any = request.auth
        if call is None:  # a page, which shows that nobody was let in
            raise NotAuthenticated
        return cls(call.principal, user if isinstance(user, User) else None)

    @property
    def is_superuser(self) -> bool:
        return self.user is not None and self.user.is_superuser

    @property
    def is_anonymous(self) -> bool:
        return self.principal == ANONYMOUS_ADMIN and self.user is None

    def may(self, verb: str, table: Any) -> bool:
        """`view`, `add`, `change` or `delete`: a person has Django's permissions, an admin's key all of them."""
        if self.user is not None:
            return self.user.has_perm(f"{table._meta.app_label}.{verb}_{table._meta.model_name}")
        return self.principal.is_admin

    def seen(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        visible: QuerySet[Any] = rows if self.is_superuser else rows.visible_to(self.principal)  # type: ignore[attr-defined]
        return visible

    def may_change(self, row: Owned) -> bool:
        """Staff change what is of their tenant, superusers all, and keys what the /v1 API lets them change."""
        if self.user is None:
            return service.may_change(self.principal, row)
        return self.is_superuser or row.tenant == self.principal.tenant

    def take(self, row: Resource) -> None:
        """Make a new row the caller's own. What a superuser adds is shared with all tenants."""
        row.owner = self.principal.name
        row.origin = Origin.api if self.user is None else Origin.admin
        if not self.is_superuser:
            row.tenant = self.principal.tenant


class MayManage(BasePermission):
    message = "Only an admin's key, or staff with the right to it, may do this."

    def has_permission(self, request: Request, view: Any) -> bool:
        verb = "view" if request.method in SAFE_METHODS else VERBS.get(str(request.method), "change")
        return Operator.of(request).may("change" if verb == "add" and view.detail else verb, view.table)

    def has_object_permission(self, request: Request, view: Any, obj: Any) -> bool:
        self.message = "What all tenants share is changed by a superuser, or by an admin's key of the default tenant."
        return request.method in SAFE_METHODS or not isinstance(obj, Owned) or Operator.of(request).may_change(obj)


class IsOperator(BasePermission):
    """Who may see what there is to manage."""

    message = MayManage.message

    def has_permission(self, request: Request, view: Any) -> bool:
        return Operator.of(request).principal.is_admin
