"""Text that grows at its end and is read from its front."""

from collections.abc import Callable, Generator
from typing import Any

from apps.inference.providers.inline.meta_reference.tool_forms.events import Event

Match = Any  # of the regex package, which can match the beginning of what may yet come
Found = Generator[Event | None, None, Match | None]


class Source:
    """Its generators yield None where they need more text. What they decide never depends on how the text was cut."""

    def __init__(self) -> None:
        self.text = ""
        self.ended = False

    def take(self, size: int) -> str:
        taken, self.text = self.text[:size], self.text[size:]
        return taken

    def first(self, *patterns: Any, at: int = 0) -> Found:
        """The pattern that stands there, as soon as that is certain; None as soon as none of them can."""
        while True:
            matches = [pattern.match(self.text, at, partial=not self.ended) for pattern in patterns]
            if found := next((match for match in matches if match and not match.partial), None):
                return found
            if not any(matches):
                return None
            yield None

    def until(self, pattern: Any, kind: Callable[[str], Event]) -> Found:
        """Everything before the first place where the pattern stands, as events; None where it never does.

        At the end what might still have become a match is left in the text.
        """
        while True:
            match = pattern.search(self.text, partial=True)
            if before := self.take(match.start() if match else len(self.text)):
                yield kind(before)
            if match and not match.partial:
                return pattern.match(self.text)
            if self.ended:
                return None
            yield None

    def rest(self, kind: Callable[[str], Event]) -> Generator[Event | None, None, None]:
        """Everything that follows, as events."""
        while True:
            if self.text:
                yield kind(self.take(len(self.text)))
            if self.ended:
                return
            yield None

    def skip_space(self) -> Generator[None, None, None]:
        self.text = self.text.lstrip()
        while not self.text and not self.ended:
            yield None
            self.text = self.text.lstrip()
