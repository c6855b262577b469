"""The one NinjaAPI: every router under /v1, every error in one shape, /docs and /openapi.json beside them."""

import logging
from typing import Any

import orjson
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.parser import Parser

from apps.inference.api import router as inference
from apps.registry.api import models
from apps.registry.api import router as registry
from llamastack import __version__
from llamastack.call import Call
from llamastack.db import unavailable
from llamastack.errors import BadRequest, NotFound, StackError, headers, render
from llamastack.settings import AUTH_REQUIRED
from llamastack.stack import current

MAX_DEPTH = 64
SHOWN = 200
logger = logging.getLogger(__name__)


async def authenticated(request: HttpRequest) -> Call:
    """The Call of a request; ninja keeps it as `request.auth`."""
    lowered = {name.lower(): value for name, value in request.headers.items()}
    return Call(await current().live.principal(lowered, required=AUTH_REQUIRED))


class BoundedParser(Parser):
    """JSON bodies, nested at most 64 deep."""

    def parse_body(self, request: HttpRequest) -> Any:
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"The request body is not valid JSON: {error}.", code="invalid_json") from error
        except UnreadablePostError as error:
            raise BadRequest("The request body could not be read.") from error
        if not isinstance(body, dict):
            raise BadRequest("The request body must be a JSON object.", code="invalid_json")
        refuse_deep(body)
        return body


def refuse_deep(body: Any) -> None:
    """Walk level by level, so that no depth can exhaust the stack."""
    level = [body]
    for _ in range(MAX_DEPTH):
        below = (list(value.values()) if isinstance(value, dict) else value for value in level)
        level = [item for items in below for item in items if isinstance(item, dict | list)]
        if not level:
            return
    raise BadRequest(f"The request body is nested more than {MAX_DEPTH} deep.", code="invalid_json")


def answer(error: StackError) -> HttpResponse:
    status, body = render(error)
    return HttpResponse(orjson.dumps(body), status=status, content_type="application/json", headers=headers(error))


def invalid(error: ValidationError) -> BadRequest:
    """The first thing that is wrong with a request, naming the field as a client writes it."""
    first = error.errors[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query", "path")][1:] or ["body"]
    field = ".".join(where)[:SHOWN]
    return BadRequest(f"'{field}': {str(first['msg'])[:SHOWN]}.", param=field, code="invalid_value")


def unexpected(error: Exception) -> StackError:
    logger.exception("A request failed", exc_info=error)
    return StackError("The server failed to answer this request; its log says more.", code="internal_error")


def missing(path: str) -> NotFound:
    return NotFound(f"There is no endpoint {path[:SHOWN]}. GET /v1/inspect/routes lists them.", code="unknown_url")


api = NinjaAPI(
    title="Llama Stack",
    version=__version__,
    description="One API for every AI capability.",
    auth=authenticated,
    parser=BoundedParser(),
    docs_url=None,
    openapi_url=None,
    urls_namespace="v1",
)
for router in (models, registry, inference):
    api.add_router("/v1", router)
# The aliases that 0.3.5 serves for OpenAI's clients, and that llama-stack-client 0.2 still calls.
for router in (models, inference):
    api.add_router("/v1/openai/v1", router, url_name_prefix="openai")


@api.exception_handler(StackError)
def on_stack_error(request: HttpRequest, error: Any) -> HttpResponse:
    return answer(error)


@api.exception_handler(ValidationError)
def on_invalid(request: HttpRequest, error: Any) -> HttpResponse:
    return answer(invalid(error))


@api.exception_handler(HttpError)
def on_http_error(request: HttpRequest, error: Any) -> HttpResponse:
    return answer(BadRequest(error.message))


@api.exception_handler(Http404)
def on_missing(request: HttpRequest, error: Any) -> HttpResponse:
    return answer(missing(request.path))


@api.exception_handler(OperationalError)
@api.exception_handler(InterfaceError)
def on_database_gone(request: HttpRequest, error: Any) -> HttpResponse:
    return answer(unavailable())


@api.exception_handler(Exception)
def on_unexpected(request: HttpRequest, error: Any) -> HttpResponse:
    return answer(unexpected(error))
