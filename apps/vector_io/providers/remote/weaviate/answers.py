"""What Weaviate answers, read; and what it says has failed."""

from typing import Any

from llamastack.egress import Egress
from llamastack.errors import StackError, UpstreamError


class Failed(UpstreamError):
    """Weaviate's word, in an answer of status 200, that it has not done what was asked."""


class Off(StackError):
    """This server does not search by this API. Its text is the server's."""


def failed(egress: Egress, message: object) -> Failed:
    return Failed(f"{egress.upstream} failed: {str(message or 'it does not say why')[:500]}")


def first_message(errors: Any) -> Any:
    """Of a list of errors, as both APIs have it."""
    told = errors[0] if isinstance(errors, list) and errors else {}
    return told.get("message") if isinstance(told, dict) else None


def nonsense(egress: Egress) -> UpstreamError:
    return UpstreamError(f"{egress.upstream} answered with something that Weaviate does not.")


def an_object(egress: Egress, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise nonsense(egress)
    return given


def a_list(egress: Egress, given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise nonsense(egress)
    return given
