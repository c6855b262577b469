"""What goes wrong under /manage/, in the one shape that all errors have."""

import logging
from typing import Any

from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from llamastack import errors
from llamastack.bodies import spelt
from llamastack.db import unavailable
from llamastack.errors import StackError

SHOWN = 200
logger = logging.getLogger(__name__)


def answered(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's EXCEPTION_HANDLER."""
    set_rollback()
    told = as_stack_error(error)
    status, body = errors.render(told)
    asked = {"WWW-Authenticate": getattr(error, "auth_header", "Bearer")} if status == 401 else {}
    return Response(body, status=status, headers=errors.headers(told) | asked)


def as_stack_error(error: Exception) -> StackError:
    match error:
        case StackError():
            return error
        case exceptions.ValidationError():
            return invalid(error.detail)
        case exceptions.APIException():
            return of_drf(error)
        case OperationalError() | InterfaceError():
            return unavailable(error)
        case IntegrityError():
            return errors.Conflict("Somebody else has changed this meanwhile; read it again.")
        case DataError():
            return errors.BadRequest("The database cannot hold a value of this request.")
    logger.error("A request to /manage/ failed", exc_info=error)
    return StackError("The server failed to answer this request; its log says more.", code="internal_error")


def of_drf(error: exceptions.APIException) -> StackError:
    kinds: dict[int, type[StackError]] = {
        401: errors.AuthenticationError,
        403: errors.PermissionDenied,
        404: errors.NotFound,
        405: errors.MethodNotAllowed,
    }
    return kinds.get(error.status_code, errors.BadRequest)(str(error.detail))


def invalid(detail: Any) -> errors.BadRequest:
    """The first of DRF's findings, by the name of its field."""
    place: list[str | int] = []
    while isinstance(detail, dict | list) and detail:
        if isinstance(detail, dict):
            name, detail = next(iter(detail.items()))
            place += [] if name == "non_field_errors" else [name]
        else:
            detail = next(item for item in detail if item)
    field = spelt(place)[:SHOWN]
    message = f"'{field}': {detail}" if field else str(detail)
    return errors.BadRequest(message[: 2 * SHOWN], param=field or None, code="invalid_value")
