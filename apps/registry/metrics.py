"""GET /metrics: what all workers of this server have counted, for Prometheus."""

from typing import cast

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse

from apps.access.models import User
from apps.access.service import secret_in
from llamastack import metrics, stack
from llamastack.call import DEFAULT_TENANT, Principal
from llamastack.errors import PermissionDenied
from llamastack.guards import by_name


def page(request: HttpRequest) -> HttpResponse:
    """For an admin's key of the default tenant, which Prometheus sends as its bearer token, or a superuser in person.

    Raises StackError. Where no key is asked for, everybody may read it.
    """
    headers = by_name(cast(ASGIRequest, request).scope["headers"])
    user = request.user
    in_person = secret_in(headers) is None and isinstance(user, User) and user.is_active and user.is_superuser
    principal = stack.run(lambda run: known(run, headers, in_person=in_person))
    if not in_person and not (principal.is_admin and principal.tenant == DEFAULT_TENANT):
        raise PermissionDenied("The metrics are of all tenants: use an admin's key of the default tenant.")
    content, content_type = metrics.text(headers.get("accept", ""))
    return HttpResponse(content, content_type=content_type)


async def known(run: stack.LlamaStack, headers: dict[str, str], *, in_person: bool) -> Principal:
    """Who asks; and this process says how it is now."""
    run.watch.sample()
    return await run.live.principal(headers, required=settings.AUTH_REQUIRED and not in_person)
