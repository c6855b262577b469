"""The web pages: static shells whose scripts speak to the API like any other client."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie

from llamastack import __version__

SAME_ORIGIN = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
# Swagger UI sets style attributes and draws with data: images.
DOCS = f"{SAME_ORIGIN}; style-src 'self' 'unsafe-inline'; img-src 'self' data:"


def playground(request: HttpRequest) -> HttpResponse:
    """Chat with a model. Whoever may not use the API sees an empty page that asks for a key."""
    return _page(request, "console/playground.html", SAME_ORIGIN)


def docs(request: HttpRequest) -> HttpResponse:
    """The API's description in Swagger UI, which django-ninja brings along."""
    return _page(request, "console/docs.html", DOCS, described="/openapi.json")


@ensure_csrf_cookie  # for who tries it out in a session
def manage_docs(request: HttpRequest) -> HttpResponse:
    """The description of /manage/."""
    return _page(request, "console/docs.html", DOCS, described="/manage/openapi.json")


def _page(request: HttpRequest, template: str, policy: str, **more: str) -> HttpResponse:
    context = {"auth_required": settings.AUTH_REQUIRED, "version": __version__, **more}
    response = render(request, template, context)
    response.headers["Content-Security-Policy"] = policy
    return response
