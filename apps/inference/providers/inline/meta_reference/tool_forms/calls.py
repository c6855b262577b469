"""Reads calls from text that grows, in each of the syntaxes that models write."""

import json
from collections.abc import Generator
from typing import Any

from apps.inference.providers.inline.meta_reference.tool_forms import patterns
from apps.inference.providers.inline.meta_reference.tool_forms.events import Argued, Called, Event, Steps
from apps.inference.providers.inline.meta_reference.tool_forms.patterns import Patterns
from apps.inference.providers.inline.meta_reference.tool_forms.source import Source
from apps.inference.providers.inline.meta_reference.tool_forms.values import Brackets, json_object, python_to_json
from llamastack.ids import new_id


class Calls:
    """Each of its readers takes nothing from the text where it finds no call, and returns False."""

    def __init__(self, source: Source, given: Patterns, most: int | None) -> None:
        self._source = source
        self._patterns = given
        self._most = most
        self.count = 0
        self.under_way = False
        self.malformed = False

    def read(self, head: Any) -> Steps:
        """Calls that begin as `head` says, one of the patterns of a call's beginning."""
        if head.re is self._patterns.list:
            return (yield from self._list(head))
        if head.re is self._patterns.builtin:
            return (yield from self._python(head["name"], head.end()))
        found = False
        while head and (yield from self._json(head)):
            found = True
            head = yield from self._source.first(self._patterns.next_json)
        return found

    def marked(self) -> Steps:
        """Calls, or code, after a form's mark."""
        head = yield from self._source.first(*self._patterns.marked)
        found = (yield from self.read(head)) if head else False
        if not found and self._patterns.code:
            found = yield from self._code(self._patterns.code)
        if found and (end := (yield from self._source.first(self._patterns.end))):
            self._source.take(end.end())
        return found

    def tagged(self) -> Steps:
        """`name>{…}</function>`"""
        head = yield from self._source.first(self._patterns.tag)
        if not head:
            return False
        self._source.take(head.end())
        yield self._begun(head["name"])
        return (yield from self._object(patterns.FUNCTION_END))

    # --- a call's life ---

    def _begun(self, name: str) -> Called:
        self.count += 1
        self.under_way = True
        return Called(self.count - 1, new_id("call_"), name)

    def _argued(self, text: str) -> Argued:
        return Argued(self.count - 1, text)

    def _closed(self) -> Steps:
        """After the last call that is wanted, the rest of the answer is passed over."""
        self.under_way = False
        while self.count == self._most:
            self._source.text = ""
            if self._source.ended:
                break
            yield None
        return True

    # --- JSON ---

    def _json(self, head: Any) -> Steps:
        """`{"name": …, "parameters": {…}}`"""
        if head.re is self._patterns.arguments_first:
            return (yield from self._arguments_first(head.end()))
        self._source.take(head.end())
        yield self._begun(head["name"])
        if head["empty"]:
            yield self._argued("{}")
            return (yield from self._closed())
        return (yield from self._object(patterns.OBJECT_END))

    def _object(self, end: Any) -> Steps:
        """A JSON object as the call's arguments, passed on as it comes, and what ends the call after it."""
        brackets, arguments = Brackets(), ""
        while True:
            if piece := self._source.take(brackets.feed(self._source.text)):
                arguments += piece
                yield self._argued(piece)
            if brackets.closed:
                break
            if self._source.ended:
                return True
            yield None
        self.malformed |= json_object(arguments) is None
        if found := (yield from self._source.first(end)):
            self._source.take(found.end())
        return (yield from self._closed())

    def _arguments_first(self, at: int) -> Steps:
        """`{"arguments": {…}, "name": …}`: whose they are is known at the end."""
        end = yield from self._value_end(Brackets(), at)
        arguments = self._source.text[at:end]
        tail = yield from self._source.first(self._patterns.name_last, at=end)
        if not tail or json_object(arguments) is None:
            return False
        self._source.take(tail.end())
        yield self._begun(tail["name"])
        yield self._argued(arguments)
        return (yield from self._closed())

    def _value_end(self, brackets: Brackets, at: int) -> Generator[Event | None, None, int]:
        """Where the value that begins at `at` ends; in text that ends before, there."""
        place = at
        while True:
            place += brackets.feed(self._source.text[place:])
            if brackets.closed or self._source.ended:
                return place
            yield None

    # --- Python ---

    def _list(self, head: Any) -> Steps:
        """`[name(key=value, …), …]`: a call is told when its first argument stands there."""
        found = False
        while head and head.re is not patterns.LIST_END and (yield from self._python(head["name"], head.end())):
            found = True
            head = yield from self._source.first(self._patterns.next_in_list, patterns.LIST_END)
            if head and head.re is patterns.LIST_END:
                self._source.take(head.end())
        return found

    def _python(self, name: str, at: int) -> Steps:
        """The arguments of `name` in Python's syntax, which begin at `at`."""
        begun = False
        while True:
            key = patterns.NEXT_KEY if begun else patterns.KEY
            found = yield from self._source.first(patterns.CALL_END, key, at=at)
            if found and found.re is patterns.CALL_END:
                break
            value = (yield from self._value(found.end())) if found else None
            if not found or value is None:
                if begun:
                    yield from self._source.rest(self._argued)
                return begun
            if not begun:
                yield self._begun(name)
            yield self._argued(f'{", " if begun else "{"}"{found["key"]}": {value}')
            begun, at = True, 0
        if not begun:
            yield self._begun(name)
        self._source.take(found.end())
        yield self._argued("}" if begun else "{}")
        return (yield from self._closed())

    def _value(self, at: int) -> Generator[Event | None, None, str | None]:
        """Takes a value, and everything before it, where it is a literal."""
        brackets = Brackets(quotes="\"'", within=True)
        end = yield from self._value_end(brackets, at)
        value = python_to_json(self._source.text[at:end]) if brackets.closed else None
        if value is not None:
            self._source.take(end)
        return value

    # --- code ---

    def _code(self, name: str) -> Steps:
        """Everything up to the form's end, or the answer's, as the argument `code`."""
        if not (yield from self._source.first(patterns.SOMETHING)):
            return False
        yield self._begun(name)
        yield self._argued('{"code": "')
        if not (yield from self._source.until(self._patterns.end, self._argued_in_string)):
            yield from self._source.rest(self._argued_in_string)
        yield self._argued('"}')
        return (yield from self._closed())

    def _argued_in_string(self, text: str) -> Argued:
        return self._argued(json.dumps(text, ensure_ascii=False)[1:-1])
