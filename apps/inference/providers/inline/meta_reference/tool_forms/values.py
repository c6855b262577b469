"""The values in a call as a model writes it: where one ends in text that is still coming, and Python's as JSON."""

import ast
import json
import re
from typing import Any

import orjson
import regex

OPENING = frozenset("([{")
CLOSING = frozenset(")]}")

# What a literal is made of. Nothing else reaches `ast`: no names, operators, calls, comprehensions or f-strings.
STRING = r"""(?:"(?:[^"\\\n]|\\.)*+"|'(?:[^'\\\n]|\\.)*+')"""
NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?!\w)"
WORD = r"(?:True|False|None|true|false|null)\b"
LITERAL = regex.compile(rf"(?>\s|[\[\](){{}},:+-]|{STRING}|{NUMBER}|{WORD})++", regex.DOTALL)
JSON_WORDS = {"true": True, "false": False, "null": None}
ESCAPE = re.compile(r"\\(.)", re.DOTALL)
ESCAPES = frozenset("\n\\'\"abfnrtvxuUN01234567")


class Brackets:
    """Follows strings and nesting through text that comes in pieces, to find where a value ends.

    A value that begins with a bracket ends after the one that closes it; with `within`, the text is inside brackets
    already, and the value ends before the comma or the bracket that ends it.
    """

    def __init__(self, quotes: str = '"', within: bool = False) -> None:
        self._quotes = quotes
        self._within = within
        self._depth = 0
        self._quote = ""
        self._escaped = False
        self.closed = False

    def feed(self, text: str) -> int:
        """How much of the text belongs to the value."""
        for place, character in enumerate(text):
            if self._quote:
                self._in_string(character)
            elif character in self._quotes:
                self._quote = character
            elif self._within and not self._depth and (character == "," or character in CLOSING):
                self.closed = True
                return place
            elif character in OPENING:
                self._depth += 1
            elif character in CLOSING:
                self._depth -= 1
                if self._depth <= 0 and not self._within:
                    self.closed = True
                    return place + 1
        return len(text)

    def _in_string(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif character == self._quote:
            self._quote = ""


def python_to_json(text: str) -> str | None:
    """A Python literal as JSON; None for what is no literal, or one that JSON has no word for."""
    if not LITERAL.fullmatch(text):
        return None
    try:
        tree = JsonWords().visit(ast.parse(ESCAPE.sub(_escape, text.strip()), mode="eval"))
        value = json.dumps(ast.literal_eval(tree), ensure_ascii=False, allow_nan=False)
        value.encode()  # half a surrogate pair is a string in Python and nowhere else
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    return value


class JsonWords(ast.NodeTransformer):
    """Models mix the two languages up: `true` is meant as True."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(JSON_WORDS[node.id])


def json_object(text: str) -> dict[str, Any] | None:
    """A JSON object; None for any other text."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _escape(match: "re.Match[str]") -> str:
    """A backslash before what is no escape is meant as it stands: Python is about to refuse it."""
    return match[0] if match[1] in ESCAPES else "\\" + match[0]
