"""Calls as a grammar: what a model may still write where its calls must be right."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLTokenizer

from apps.inference.providers.inline.meta_reference import grammar
from apps.inference.providers.inline.meta_reference.tool_forms.forms import CHATML, LLAMA_3, LLAMA_4, Form
from apps.inference.providers.inline.meta_reference.tool_forms.lark import MOST, constraint
from apps.inference.providers.inline.meta_reference.tool_forms.reader import Thinking
from apps.inference.providers.inline.meta_reference.tool_forms.talk import Talk
from apps.inference.schemas import Function, FunctionCall
from llamastack.errors import BadRequest, UnsupportedParameter
from llamastack.sampling import Constraint

BYTES = LLTokenizer("byte")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
WEATHER = Function(name="get_weather", parameters=SCHEMA)
STRICT = Function(name="get_weather", parameters=SCHEMA, strict=True)
NOW = Function(name="now")
FORMS = [CHATML, LLAMA_3, LLAMA_4]
CONTENT = Constraint("json_schema", '{"type": "object", "properties": {"a": {"type": "integer"}}}', "response_format")
THINK = Thinking("<think>", "</think>")


def talk(form: Form = CHATML, functions: Sequence[Function] = (WEATHER, NOW), **fields: Any) -> Talk:
    return Talk(form, told=tuple(functions), callable=tuple(functions), **fields)


def fits(text: str, told: Talk, content: Constraint | None = None) -> bool:
    """Whether the grammar takes the text as a whole answer."""
    found = constraint(told, content)
    assert found is not None
    matcher = grammar.matcher(BYTES, found.type, found.text)
    assert grammar.flaw(matcher) == ""
    tokens = list(text.encode())
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


def calls(form: Form, *named: tuple[str, Any]) -> str:
    return form.written([FunctionCall(name=name, arguments=json.dumps(given)) for name, given in named])


@pytest.mark.parametrize("form", FORMS)
def test_where_a_call_must_be_made_only_right_calls_are_left(form: Form) -> None:
    told = talk(form, must=True)
    paris, now = ("get_weather", {"city": "Paris"}), ("now", {})
    assert fits(calls(form, paris), told)
    assert fits(calls(form, now, paris), told)
    for wrong in [("other", {}), ("get_weather", {}), ("get_weather", {"city": 1}), ("now", {"a": 1})]:
        assert not fits(calls(form, wrong), told)
    assert not fits(calls(form, ("get_weather", {"city": "Paris", "more": 1})), told)
    for text in ["", "Hello", calls(form, paris) + " Hello", " " + calls(form, paris)]:
        assert not fits(text, told)


@pytest.mark.parametrize("form", FORMS)
def test_there_are_so_many_calls_and_no_more(form: Form) -> None:
    assert fits(calls(form, *[("now", {})] * MOST), talk(form, must=True))
    assert not fits(calls(form, *[("now", {})] * (MOST + 1)), talk(form, must=True))
    assert not fits(calls(form, *[("now", {})] * 2), talk(form, must=True, most=1))


@pytest.mark.parametrize("form", FORMS)
def test_a_strict_tool_leaves_words_free_and_its_calls_right(form: Form) -> None:
    told = talk(form, [STRICT, NOW])
    for text in ["Hello <there>.", "", calls(form, ("get_weather", {"city": "Paris"}), ("now", {}))]:
        assert fits(text, told)
    assert not fits(calls(form, ("get_weather", {"days": 1})), told)
    assert not fits(calls(form, ("other", {})), told)


def test_before_a_strict_call_there_may_be_words() -> None:
    told = talk(CHATML, [STRICT])
    assert fits("Let me see.\n" + calls(CHATML, ("get_weather", {"city": "Paris"})), told)
    assert not fits("Let me see.\n" + calls(CHATML, ("get_weather", {})), told)


def test_where_nothing_must_be_right_there_is_no_grammar() -> None:
    assert constraint(talk(), None) is None
    assert constraint(talk(functions=[]), CONTENT) is CONTENT


def test_content_of_a_schema_may_stand_in_place_of_calls() -> None:
    assert fits('{"a": 1}', talk(), CONTENT)
    assert fits(calls(CHATML, ("now", {})), talk(), CONTENT)
    assert not fits("Hello", talk(), CONTENT)


def test_content_is_of_no_account_where_a_call_must_be_made() -> None:
    assert not fits('{"a": 1}', talk(must=True), CONTENT)


@pytest.mark.parametrize(
    ("form", "content"),
    [(CHATML, Constraint("regex", "a", "f")), (CHATML, Constraint("grammar", "a", "f")), (LLAMA_3, CONTENT)],
)
def test_content_that_no_grammar_can_tell_from_calls_contradicts_them(form: Form, content: Constraint) -> None:
    with pytest.raises(BadRequest, match="'tool_choice'") as refused:
        constraint(talk(form), content)
    assert refused.value.param == content.field


def test_a_model_that_reasons_may_do_so_first() -> None:
    call = calls(CHATML, ("now", {}))
    assert fits(f"<think>\nHm.\n</think>\n\n{call}", talk(must=True, thinking=THINK))
    assert fits(call, talk(must=True, thinking=THINK))
    begun = talk(must=True, thinking=Thinking("<think>", "</think>", begun=True))
    assert fits(f"Hm.\n</think>\n\n{call}", begun)
    assert not fits(call, begun)


def test_reasoning_between_special_tokens_cannot_stand_in_a_grammar() -> None:
    special = Thinking("[THINK]", "[/THINK]", special=True)
    assert fits(calls(CHATML, ("now", {})), talk(must=True, thinking=special))
    with pytest.raises(UnsupportedParameter, match="use 'auto'"):
        constraint(talk(must=True, thinking=Thinking("[THINK]", "[/THINK]", special=True, begun=True)), None)


def test_schemas_that_are_too_large_together_are_refused() -> None:
    large = Function(name="f", parameters={"type": "object", "description": "x" * 200_000})
    with pytest.raises(BadRequest, match="200000") as refused:
        constraint(talk(functions=[large], must=True), None)
    assert refused.value.param == "tools"


def test_settings_of_the_grammars_library_in_a_schema_are_not_the_clients_to_make() -> None:
    schema = SCHEMA | {"x-guidance": {"whitespace_pattern": "x"}}
    told = talk(functions=[Function(name="get_weather", parameters=schema)], must=True)
    assert not fits(calls(CHATML, ("get_weather", {"city": "P"})).replace('{"city"', '{x"city"'), told)


def test_what_a_schema_says_of_further_arguments_holds() -> None:
    free = Function(name="f", parameters={"type": "object", "additionalProperties": {"type": "integer"}})
    assert fits(calls(CHATML, ("f", {"a": 1})), talk(functions=[free], must=True))
    assert not fits(calls(CHATML, ("f", {"a": "b"})), talk(functions=[free], must=True))


@settings(max_examples=60)
@given(
    city=st.text(st.characters(exclude_categories=["Cc", "Cs"])),
    form=st.sampled_from(FORMS),
    days=st.integers(-(10**6), 10**6),
)
def test_any_value_of_a_schema_can_be_written(city: str, form: Form, days: int) -> None:
    given = json.dumps({"city": city, "days": days}, ensure_ascii=False)
    assert fits(form.written([FunctionCall(name="get_weather", arguments=given)]), talk(form, must=True))
