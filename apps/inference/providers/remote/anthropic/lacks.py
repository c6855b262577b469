"""What of a request a vendor's API cannot express, noted while it is translated: of Anthropic's and of Bedrock's."""

from collections.abc import Iterable, Mapping
from typing import Any

from apps.inference.providers.unsupported import REMEDY
from llamastack.errors import UnsupportedParameter

JSON = dict[str, Any]
NOTHING: tuple[Any, ...] = (None, [], {}, "", False)  # what asks for nothing inside of messages and tools
# The same of a request's own fields, of which an object may be empty and ask for much: `web_search_options: {}`.
UNASKED: tuple[Any, ...] = (None, [], "")
NEUTRAL: Mapping[str, tuple[Any, ...]] = {"modalities": (["text"],), "verbosity": ("medium",)}


class Lacks(list[UnsupportedParameter]):
    """The refusals of one request. What is noted here is left out of the body."""

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self.upstream = upstream

    def note(self, name: str, remedy: str = REMEDY) -> None:
        self.append(UnsupportedParameter(name, self.upstream, remedy))

    def taken(self, extra: Mapping[str, Any] | None, known: Iterable[str], where: str) -> JSON:
        """Of the fields that only vendors know those that the vendor does; the others are noted, if they ask for
        anything. `where` goes before their names; it is empty for the request itself.
        """
        if not extra:
            return {}
        for name, value in extra.items():
            nothing = NOTHING if where else (*UNASKED, *NEUTRAL.get(name, ()))
            if name not in known and value not in nothing:
                self.note(where + name)
        return {name: extra[name] for name in known if extra.get(name) is not None}
