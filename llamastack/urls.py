"""Every URL: the API, its description, the pages and the admin."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.views.defaults import page_not_found, server_error

from llamastack.api import answer, api, missing
from llamastack.middleware import is_api


async def openapi(request: HttpRequest) -> HttpResponse:
    return JsonResponse(api.get_openapi_schema(path_prefix=""))


def not_found(request: HttpRequest, exception: Any) -> HttpResponse:
    return answer(missing(request.path)) if is_api(f"{request.path}/") else page_not_found(request, exception)


def failed(request: HttpRequest) -> HttpResponse:
    return server_error(request)


urlpatterns = [
    path("", include("apps.console.urls")),  # before ninja, whose root answers 404
    path("", api.urls),
    path("openapi.json", openapi),
    path("admin/", admin.site.urls),
]
handler404 = not_found
handler500 = failed
