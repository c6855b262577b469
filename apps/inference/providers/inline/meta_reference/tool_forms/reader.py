"""Reads an answer as it comes: reasoning, words, and calls of tools."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

import regex

from apps.inference.providers.inline.meta_reference.tool_forms.calls import Calls
from apps.inference.providers.inline.meta_reference.tool_forms.events import Event, Said, Steps, Thought
from apps.inference.providers.inline.meta_reference.tool_forms.forms import Form
from apps.inference.providers.inline.meta_reference.tool_forms.patterns import Patterns
from apps.inference.providers.inline.meta_reference.tool_forms.source import Source


@dataclass(frozen=True, slots=True)
class Thinking:
    """Between which marks a model reasons; `begun` says that its prompt has opened them already."""

    opening: str
    closing: str
    special: bool = False  # special tokens
    begun: bool = False


class Reader:
    """Turns text into events. A call of one of `names` is a call; all else is text, and nothing of it is lost.

    A call is told once its name and the beginning of its arguments stand there. What follows are its arguments, even
    where they turn out to be malformed: like OpenAI, we leave it to the client to check them.
    """

    def __init__(
        self, form: Form, names: Iterable[str] = (), thinking: Thinking | None = None, most: int | None = None
    ) -> None:
        """What follows the call number `most` is left out."""
        self._form = form
        self._patterns = Patterns(form, names)
        self._thinking = thinking
        self._source = Source()
        self._calls = Calls(self._source, self._patterns, most)
        self._steps = self._read()

    @property
    def called(self) -> bool:
        """Whether there are calls, all of them whole."""
        return self._calls.count > 0 and not self._calls.under_way and not self._calls.malformed

    def feed(self, text: str) -> list[Event]:
        """What is certain now."""
        self._source.text += text
        return self._advance()

    def flush(self) -> list[Event]:
        """What is left at the end."""
        self._source.ended = True
        return self._advance()

    def _advance(self) -> list[Event]:
        events: list[Event] = []
        for event in self._steps:
            if event is None:
                break
            events.append(event)
        return events

    def _read(self) -> Generator[Event | None, None, None]:
        if self._thinking is not None:
            yield from self._reasoning(self._thinking)
        if self._patterns.bare and (head := (yield from self._source.first(*self._patterns.bare))):
            yield from self._calls.read(head)
        while self._patterns.mark and (mark := (yield from self._source.until(self._patterns.mark, Said))):
            yield from self._marked(mark)
        if self._calls.count and not self._source.text.strip():
            self._source.take(len(self._source.text))
        yield from self._source.rest(Said)

    def _reasoning(self, thinking: Thinking) -> Steps:
        opening = yield from self._source.first(regex.compile(rf"\s*{regex.escape(thinking.opening)}"))
        if not opening and not thinking.begun:
            return False
        self._source.take(opening.end() if opening else 0)
        yield from self._source.skip_space()
        closing = regex.compile(rf"\s*+{regex.escape(thinking.closing)}")
        if found := (yield from self._source.until(closing, Thought)):
            self._source.take(found.end())
            yield from self._source.skip_space()
        else:
            yield from self._source.rest(Thought)
        return True

    def _marked(self, mark: Any) -> Steps:
        """What follows a mark. One that no call follows is text, unless it is a special token."""
        self._source.take(mark.end())
        if mark["mark"] == "<function=":
            called = yield from self._calls.tagged()
        elif mark["mark"] == self._form.mark:
            called = yield from self._calls.marked()
        else:
            called = False  # an end without a beginning
        kept = "" if called else mark["before"] if self._form.special and mark["mark"] != "<function=" else mark[0]
        if kept:
            yield Said(kept)
        return called
