"""What Elasticsearch says of a mistake."""

from collections.abc import Iterable, Mapping
from typing import Any


class Refused(Exception):
    def __init__(self, type: str, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.type, self.reason, self.status = type, reason, status

    @property
    def error(self) -> dict[str, Any]:
        return {"type": self.type, "reason": self.reason}

    @property
    def body(self) -> dict[str, Any]:
        return {"error": {"root_cause": [self.error], **self.error}, "status": self.status}


def illegal(reason: str) -> Refused:
    return Refused("illegal_argument_exception", reason)


def no_index(name: str) -> Refused:
    return Refused("index_not_found_exception", f"no such index [{name}]", 404)


def only(given: Mapping[str, Any], known: Iterable[str], of: str, type: str = "parsing_exception") -> None:
    """Elasticsearch ignores nothing that it does not know."""
    if not isinstance(given, Mapping):
        raise Refused(type, f"[{of}] is no object")
    for name in given:
        if name not in known:
            raise Refused(type, f"[{of}] does not support [{name}]")
