"""Calls as a grammar, for requests whose calls must be right: in the Lark dialect of llguidance.

Syntax: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

import json
import re
from typing import Any

from apps.inference.providers.inline.meta_reference.formats import MAX_SCHEMA, OPTIONS
from apps.inference.providers.inline.meta_reference.tool_forms.forms import NO_PARAMETERS
from apps.inference.providers.inline.meta_reference.tool_forms.reader import Thinking
from apps.inference.providers.inline.meta_reference.tool_forms.talk import Talk
from apps.inference.schemas import Function
from llamastack.errors import BadRequest, UnsupportedParameter
from llamastack.sampling import Constraint

MOST = 8  # calls in one answer, so that a small model does not go on for ever
BLANKS = " ?"  # between the parts of JSON
# Where a schema says one of these, it says itself what further arguments there may be.
SETTLED = {
    "additionalProperties",
    "patternProperties",
    "unevaluatedProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "$ref",
}


def constraint(talk: Talk, content: Constraint | None) -> Constraint | None:
    """What an answer must be like, where `content` is what its content must be like.

    Calls have a form where one must be made, or where a tool is strict; in other answers the model is free.
    """
    if not talk.callable or not (talk.must or content or any(function.strict for function in talk.callable)):
        return content
    rules = [*_calls(talk), *_start(talk, content)]
    text = "\n".join(rules)
    if len(text) > MAX_SCHEMA:
        raise BadRequest(f"The tools' schemas have more than {MAX_SCHEMA} characters together.", param="tools")
    return Constraint("grammar", text, "tools")


def _start(talk: Talk, content: Constraint | None) -> list[str]:
    if talk.must:
        body = [f"body: {_quoted(talk.form.begin)} calls"]
    elif content is None:
        body = _free(talk)
    elif (
        content.type == "json_schema" and not talk.form.bare
    ):  # a bare call is JSON too: a lexer cannot tell them apart
        body = [
            f"body: content | {_quoted(talk.form.begin)} calls",
            f"content: %json {_schema(json.loads(content.text))}",
        ]
    else:
        raise BadRequest(
            f"'{content.field}' says what the content is like, and tools may be called in its place: set 'tool_choice' "
            "to 'none' or 'required'.",
            param=content.field,
        )
    return [*_reasoned(talk.thinking), *body]


def _free(talk: Talk) -> list[str]:
    """Words, in which nothing begins a call, or calls."""
    if talk.form.bare:
        return [
            f"body: WORDS? | {_quoted(talk.form.begin)} calls",
            r"WORDS: /\s*[^\s{\[](?s:.*)/ & ~/(?s:.*)<function=(?s:.*)/",
        ]
    mark = _pattern(talk.form.mark)
    return [
        f"body: WORDS | marked {_quoted(talk.form.begin.removeprefix(talk.form.mark))} calls",
        f"WORDS: ~/(?s:.*){mark}(?s:.*)/",
        f"marked[lazy]: /(?s:.*){mark}/",
    ]


def _reasoned(thinking: Thinking | None) -> list[str]:
    """A model that reasons first may do so. Special tokens cannot be written in a grammar's text."""
    if thinking is None or (thinking.special and not thinking.begun):
        return ["start: body"]
    if thinking.special:
        raise UnsupportedParameter("tool_choice", "This model", "It reasons before it calls a tool; use 'auto'.")
    begun = "reasoning" if thinking.begun else f"({_quoted(thinking.opening)} reasoning)?"
    return [
        f"start: {begun} body",
        r"reasoning: thought /\s{0,4}/",
        f"thought[lazy]: /(?s:.*){_pattern(thinking.closing)}/",
    ]


def _calls(talk: Talk) -> list[str]:
    """Everything after the first call's beginning, which stands where the calls are used."""
    form, most = talk.form, talk.most or MOST
    more = f" ({_quoted(form.between + form.begin)} call){{0,{most - 1}}}" if most > 1 else ""
    names = " | ".join(f"call_{place}" for place in range(len(talk.callable)))
    rules = [f"calls: call{more}", f"call: ({names}) {_quoted(form.finish)}"]
    for place, function in enumerate(talk.callable):
        rules.append(f"call_{place}: {_quoted(function.name + form.middle)} arguments_{place}")
        rules.append(f"arguments_{place}: %json {_schema(_closed(function))}")
    return rules


def _closed(function: Function) -> dict[str, Any]:
    """Its schema; what it does not say of further arguments means that there are none."""
    schema = dict(function.parameters or NO_PARAMETERS)
    schema.setdefault("type", "object")
    return schema if schema.keys() & SETTLED else schema | {"additionalProperties": False}


def _schema(schema: Any) -> str:
    own = {key: value for key, value in schema.items() if key != OPTIONS} if isinstance(schema, dict) else {}
    return json.dumps(own | {OPTIONS: {"whitespace_pattern": BLANKS}}, ensure_ascii=False)


def _quoted(text: str) -> str:
    return json.dumps(text)


def _pattern(text: str) -> str:
    return re.escape(text).replace("/", r"\/")
