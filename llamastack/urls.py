"""Every URL: the API, its description, the pages and the admin."""

import sys
from typing import Any

from django.contrib import admin
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path, re_path, resolve
from django.views.decorators.csrf import csrf_exempt
from django.views.defaults import page_not_found, server_error

from apps.registry.metrics import page
from llamastack.api import answer, api, missing
from llamastack.db import unavailable
from llamastack.errors import StackError, headers
from llamastack.middleware import is_api


async def openapi(request: HttpRequest) -> HttpResponse:
    return JsonResponse(api.get_openapi_schema(path_prefix=""))


def metrics(request: HttpRequest) -> HttpResponse:
    try:
        return page(request)
    except StackError as error:
        return answer(error)


@csrf_exempt  # DRF asks for the token itself, where a session is what lets the caller in
def manage(request: HttpRequest) -> HttpResponse:
    """/manage/. DRF is imported when it is first asked for: it takes 9 MB, and the API's processes can do without."""
    match = resolve(request.path_info, "apps.registry.rest.urls")
    request.resolver_match = match
    response: HttpResponse = match.func(request, *match.args, **match.kwargs)
    return response


def not_found(request: HttpRequest, exception: Any) -> HttpResponse:
    return answer(missing(request.path)) if is_api(f"{request.path}/") else page_not_found(request, exception)


def failed(request: HttpRequest) -> HttpResponse:
    """A page that needs the database while it is gone is 503, and any other failure 500."""
    reason = sys.exc_info()[1]
    if not isinstance(reason, OperationalError | InterfaceError):
        return server_error(request)
    error = unavailable(reason)
    return HttpResponse(error.message, status=error.status, headers=headers(error), content_type="text/plain")


# To look through all others first takes Django as long as what it does with such a request besides.
HOT = ("v1/chat/completions", "v1/completions", "v1/embeddings")
routes, application, namespace = api.urls
urlpatterns = [
    *(route for route in routes if str(route.pattern) in HOT),
    path("", include("apps.console.urls")),  # before ninja, whose root answers 404
    path("", (routes, application, namespace)),
    path("openapi.json", openapi),
    path("metrics", metrics),
    path("admin/", admin.site.urls),
    re_path(r"^manage/", manage),
]
handler404 = not_found
handler500 = failed
