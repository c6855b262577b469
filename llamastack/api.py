"""The one NinjaAPI: every router under its level (/v1, /v1alpha), every error in one shape, /docs and /openapi.json."""

import logging
from typing import Any, cast

import orjson
from django.core.handlers.asgi import ASGIRequest
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.operation import Operation
from ninja.parser import Parser
from ninja.security.base import AuthBase

from apps.batches.api import router as batches
from apps.file_processors.api import router as file_processors
from apps.files.api import router as files
from apps.inference.api import alpha as inference_alpha
from apps.inference.api import router as inference
from apps.jobs.api import router as jobs
from apps.registry.api import models
from apps.registry.api import router as registry
from apps.vector_io.api import router as vector_stores
from apps.vector_io.native import router as vector_io
from llamastack import __version__, bodies, settings
from llamastack.apis import ALIASES
from llamastack.call import TRIED, Call
from llamastack.db import unavailable
from llamastack.errors import BadRequest, NotFound, StackError, headers, render
from llamastack.guards import by_name
from llamastack.provider_data import HEADER, TEST_ID, from_headers
from llamastack.recording import of_test
from llamastack.stack import current

SHOWN = 200
logger = logging.getLogger(__name__)


class Bearer(AuthBase):
    """An API key, where the server asks for one. ninja keeps the Call as `request.auth`."""

    openapi_type = "http"
    openapi_scheme = "bearer"
    is_async = True

    async def __call__(self, request: HttpRequest) -> Call:
        scope = cast(ASGIRequest, request).scope
        headers = scope["headers"]
        principal = await current().live.principal(by_name(headers), required=settings.AUTH_REQUIRED)
        data = from_headers(headers)
        of_test(data.get(TEST_ID))
        return Call(principal, provider_data=data, tried=scope.get(TRIED, {}))


class LlamaStackAPI(NinjaAPI):
    """A NinjaAPI whose operations are named by their functions, and those of the deprecated aliases apart."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._operation_ids: dict[Operation, str] = {}

    def get_openapi_operation_id(self, operation: Operation) -> str:
        name = operation.view_func.__name__
        if operation not in self._operation_ids and name in self._operation_ids.values():
            name = f"openai_{name}"
        return self._operation_ids.setdefault(operation, name)

    def get_openapi_schema(self, **options: Any) -> Any:
        schema = super().get_openapi_schema(**options)
        for path, operations in schema["paths"].items():
            for operation in operations.values():
                operation["deprecated"] = path.startswith(ALIASES)
        return schema


class BoundedParser(Parser):
    """JSON bodies, nested at most 64 deep."""

    def parse_body(self, request: HttpRequest) -> Any:
        try:
            return bodies.json_object(request.body)
        except UnreadablePostError as error:
            raise BadRequest("The request body could not be read.") from error


def answer(error: StackError) -> HttpResponse:
    """The error as JSON. `reason` is what Django's log says of a status of 500 and more; ASGI sends no reason."""
    status, body = render(error)
    return HttpResponse(
        orjson.dumps(body),
        status=status,
        reason=error.message if status >= 500 else None,
        content_type="application/json",
        headers=headers(error),
    )


def invalid(error: ValidationError, request: HttpRequest) -> BadRequest:
    """The BadRequest of what ninja found wrong: it puts the place, and for a body its parameter, before the field."""
    place = error.errors[0]["loc"][0]
    depth = 2 if place == "body" else 1
    parts = [part | {"loc": part["loc"][depth:]} for part in error.errors if part["loc"][0] == place]
    return bodies.invalid(parts, bodies.json_object(request.body) if place == "body" and request.body else None)


def unexpected(error: Exception) -> StackError:
    logger.error("A request failed", exc_info=error)
    return StackError("The server failed to answer this request; its log says more.", code="internal_error")


def missing(path: str) -> NotFound:
    return NotFound(f"There is no endpoint {path[:SHOWN]}. GET /v1/inspect/routes lists them.", code="unknown_url")


api = LlamaStackAPI(
    title="Llama Stack",
    version=__version__,
    description=(
        "One API for every AI capability.\n\n"
        f"The header `{HEADER}` (or `X-OGX-Provider-Data`) brings a caller's own vendor keys along, as a JSON object: "
        '`{"openai_api_key": "…"}`. A key of the request goes before the one that the provider is configured with.'
    ),
    auth=Bearer(),
    parser=BoundedParser(),
    docs_url=None,
    openapi_url=None,
    urls_namespace="v1",
)
for router in (models, registry, files, inference, batches, vector_stores, vector_io):
    api.add_router("/v1", router)
for router in (file_processors, inference_alpha, jobs):
    api.add_router("/v1alpha", router)
# The aliases that 0.3.5 serves for OpenAI's clients, and that llama-stack-client 0.2 still calls.
for router in (models, files, inference, batches, vector_stores):
    api.add_router(ALIASES, router, url_name_prefix="openai")


@api.exception_handler(StackError)
def on_stack_error(request: HttpRequest, error: Any) -> HttpResponse:
    return answer(error)


@api.exception_handler(ValidationError)
def on_invalid(request: HttpRequest, error: Any) -> HttpResponse:
    return answer(invalid(error, request))


@api.exception_handler(HttpError)
def on_http_error(request: HttpRequest, error: Any) -> HttpResponse:
    """ninja wraps whatever the parser raises."""
    return answer(error.__cause__ if isinstance(error.__cause__, StackError) else BadRequest(error.message))


@api.exception_handler(Http404)
def on_missing(request: HttpRequest, error: Any) -> HttpResponse:
    return answer(missing(request.path))


@api.exception_handler(OperationalError)
@api.exception_handler(InterfaceError)
def on_database_gone(request: HttpRequest, error: Any) -> HttpResponse:
    return answer(unavailable(error))


@api.exception_handler(Exception)
def on_unexpected(request: HttpRequest, error: Any) -> HttpResponse:
    return answer(unexpected(error))
