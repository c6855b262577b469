"""What of a request Converse cannot express, noted while it is translated."""

from collections.abc import Iterable, Mapping
from typing import Any

from apps.inference.providers.unsupported import REMEDY
from llamastack.errors import UnsupportedParameter

JSON = dict[str, Any]


class Lacks(list[UnsupportedParameter]):
    """The refusals of one request. What is noted is left out of the body, where the config lets that be."""

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self.upstream = upstream

    def note(self, name: str, remedy: str = REMEDY) -> None:
        self.append(UnsupportedParameter(name, self.upstream, remedy))

    def beyond(self, extra: Mapping[str, Any] | None, known: Iterable[str], where: str) -> None:
        """Fields that only vendors know, but for the `known` ones. A value that says nothing asks for nothing."""
        for name, value in (extra or {}).items():
            if name not in known and value not in (None, False, "", [], {}):
                self.note(where + name)
