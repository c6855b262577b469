"""What a call of one of the given tools begins with, in each syntax; matched against text that may still grow."""

from collections.abc import Iterable

import regex

from apps.inference.providers.inline.meta_reference.tool_forms.forms import Form

CODE_TOOLS = ("code_interpreter", "ipython", "python")  # of these, the first that is given takes code

ARGUMENTS = r'"(?:arguments|parameters)"\s*:\s*(?=\{\s*["}])'
TYPE = r'"type"\s*:\s*"function"'
OBJECT_END = regex.compile(rf'\s*(?:,\s*(?:{TYPE}|"id"\s*:\s*(?:"[^"\\]*"|\d+))\s*)*\}}')
FUNCTION_END = regex.compile(r"\s*</function>")
LIST_END = regex.compile(r"\s*(?:,\s*)?\]")
KEY = regex.compile(r"\s*(?P<key>[^\W\d]\w*)\s*=")
NEXT_KEY = regex.compile(r"\s*,\s*(?P<key>[^\W\d]\w*)\s*=")
SOMETHING = regex.compile(r"\s*\S")
CALL_END = regex.compile(r"\s*(?:,\s*)?\)")


class Patterns:
    """A pattern ends where it is certain that a call of a given tool has begun, and before its arguments."""

    def __init__(self, form: Form, names: Iterable[str]) -> None:
        given = sorted(names)
        name = rf"(?P<name>{'|'.join(map(regex.escape, given))})" if given else r"(?P<name>(?!))"
        head = rf'\{{\s*(?:{TYPE}\s*,\s*)?"name"\s*:\s*"{name}"\s*(?:,\s*{TYPE}\s*)?(?:(?P<empty>\}})|,\s*{ARGUMENTS})'
        self.json = regex.compile(rf"\s*{head}")
        self.next_json = regex.compile(rf"\s*;?\s*{head}")
        self.arguments_first = regex.compile(rf"\s*\{{\s*{ARGUMENTS}")
        self.name_last = regex.compile(rf'\s*,\s*"name"\s*:\s*"{name}"\s*\}}')
        self.list = regex.compile(rf"\s*\[\s*{name}\s*\(")
        self.next_in_list = regex.compile(rf"\s*,\s*{name}\s*\(")
        self.builtin = regex.compile(rf"\s*{name}\.call\(")
        self.tag = regex.compile(rf"{name}>\s*(?=\{{\s*[\"}}])")
        self.end = regex.compile(rf"\s*{regex.escape(form.end)}")
        self.code = next((tool for tool in CODE_TOOLS if tool in given), None) if form.special else None
        python = (self.list,) if form.bare else ()
        self.bare = (self.json, self.arguments_first, *python) if form.bare and given else ()
        self.marked = (self.json, self.arguments_first, *python, *((self.builtin,) if form.special else ()))
        marks = [form.mark, *((form.end,) if form.special else ()), *(("<function=",) if form.tags else ())]
        mark = "|".join(map(regex.escape, marks))
        self.mark = regex.compile(rf"(?P<before>\s*+)(?P<mark>{mark})") if given else None
