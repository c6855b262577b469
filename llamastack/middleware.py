"""Django's page middleware, for pages alone: a request to the API goes round all of it.

They are Django's own classes, so that its system checks and its admin find what they look for.
"""

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from asgiref.sync import iscoroutinefunction, sync_to_async
from axes.middleware import AxesMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, JsonResponse
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import CommonMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils.decorators import async_only_middleware

from llamastack import metrics
from llamastack.call import CLIENT_GONE, LANE, SERVED_BY, Call
from llamastack.errors import MethodNotAllowed, render

PRINTED = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")  # what a header may hold as it is
MEASURED = frozenset(metrics.OPERATIONS.values())
API_PREFIXES = ("/v1/", "/v1alpha/", "/v1beta/")

if TYPE_CHECKING:
    from django.utils.deprecation import MiddlewareMixin as Base
else:
    Base = object


def is_api(path: str) -> bool:
    """Whether a path belongs to the API, and not to a page."""
    return path.startswith(API_PREFIXES)


@async_only_middleware
def api_responses(get_response: Any) -> Any:
    """What all answers of the API have: a request's id, who served it and in which lane, their length, errors' shape.

    HEAD is GET, whose body the server leaves out.
    """
    view = behind_pages(get_response)

    async def middleware(request: HttpRequest) -> Any:
        api = is_api(request.path_info)
        if request.method == "HEAD" and api:
            request.method = "GET"
        response = await (counted(view, request) if api else get_response(request))
        if response.status_code == 405 and api:
            error = MethodNotAllowed(f"{request.method} is not possible here; allowed: {response['Allow']}.")
            response = JsonResponse(render(error)[1], status=error.status, headers={"Allow": response["Allow"]})
        if api:
            response.headers[LANE] = "django"
        if isinstance(call := vars(request).get("auth"), Call):
            response.headers["X-Request-Id"] = call.request_id
            if call.served.by and response.status_code < 400:
                response.headers[SERVED_BY] = quote(call.served.by, safe=PRINTED)
            if response.status_code >= 500:
                response.reason_phrase += f" ({call.request_id})"  # which Django logs
        if not response.streaming:
            response.headers["Content-Length"] = str(len(response.content))
        return response

    return middleware


async def counted(view: Any, request: HttpRequest) -> Any:
    """The view's answer. Who leaves before there is one is counted too."""
    began, status = time.perf_counter(), CLIENT_GONE
    try:
        response = await view(request)
        status = response.status_code
        return response
    finally:
        match = request.resolver_match
        operation = metrics.operation(str(request.method), match.route if match else "")
        metrics.answered("django", operation, status, time.perf_counter() - began if operation in MEASURED else None)


def behind_pages(get_response: Any) -> Any:
    """What the pages' middleware leads to in the end. Django wraps each one, to make answers of what it raises."""
    while isinstance(middleware := get_response.__wrapped__, PagesOnly | AxesMiddleware):
        get_response = middleware.get_response
    return get_response


class PagesOnly(Base):
    """Where `api_responses` goes round: only pages come here."""

    sync_capable = False

    def __init__(self, get_response: Any) -> None:
        if not iscoroutinefunction(get_response):
            raise TypeError("The server is served by ASGI alone.")
        super().__init__(get_response)


class PageSecurity(PagesOnly, SecurityMiddleware):
    pass


class PageSessions(PagesOnly, SessionMiddleware):
    pass


class PageCommon(PagesOnly, CommonMiddleware):
    pass


class PageCsrf(PagesOnly, CsrfViewMiddleware):
    async def process_view(self, request: HttpRequest, *view: Any) -> Any:  # type: ignore[override]
        """Django's handler asks it of the API's requests too: async, so that it needs no thread for that."""
        if is_api(request.path_info):
            return None
        return await sync_to_async(super().process_view, thread_sensitive=True)(request, *view)


class PageAuthentication(PagesOnly, AuthenticationMiddleware):
    pass


class PageMessages(PagesOnly, MessageMiddleware):
    pass


class PageFrames(PagesOnly, XFrameOptionsMiddleware):
    def process_response(self, request: HttpRequest, response: Any) -> Any:
        """No page of ours may be framed, in the words of old browsers and of new ones."""
        response.headers.setdefault("Content-Security-Policy", "frame-ancestors 'none'")
        return super().process_response(request, response)
