"""Tools, and which of them is to be called."""

from typing import Any

import pytest

from apps.inference.providers.unsupported import GeneratesConfig
from llamastack.errors import UnsupportedParameter
from tests.unit.inference.anthropic.asking import HI, JSON, body

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}


def tool(name: str, **function: Any) -> JSON:
    return {"type": "function", "function": {"name": name, **function}}


LOOK, WAIT = tool("look", description="Looks.", parameters=SCHEMA), tool("wait")
BOTH = [LOOK, WAIT]


def chosen(choice: Any, **fields: Any) -> Any:
    given: JSON = {} if choice is None else {"tool_choice": choice}
    return body(tools=BOTH, **given, **fields).get("tool_choice")


def named(*names: str) -> list[JSON]:
    return [{"type": "function", "function": {"name": name}} for name in names]


def allowed(mode: str, *names: str) -> JSON:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named(*names)}}


def test_tools_have_name_description_and_schema() -> None:
    assert body(tools=BOTH)["tools"] == [
        {"name": "look", "description": "Looks.", "input_schema": SCHEMA},
        {"name": "wait", "input_schema": {"type": "object"}},
    ]


def test_strictness_and_what_is_anthropics_own_reach_it() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    strict = tool("look", parameters=SCHEMA, strict=True, eager_input_streaming=True) | mark
    [made] = body(tools=[strict])["tools"]
    assert made == {"name": "look", "input_schema": SCHEMA, "strict": True, "eager_input_streaming": True} | mark


def test_a_schema_without_a_type_is_one_of_an_object() -> None:
    [made] = body(tools=[tool("look", parameters={"properties": {}}, strict=False)])["tools"]
    assert made == {"name": "look", "input_schema": {"type": "object", "properties": {}}}


def test_anthropics_own_tools_are_passed_as_they_are() -> None:
    own = {"type": "custom", "name": "look", "input_schema": SCHEMA}
    assert body(tools=[SEARCH, own])["tools"] == [SEARCH, own]


@pytest.mark.parametrize("kind", [{"type": "custom", "custom": {"name": "free"}}, {"type": "web_search_preview"}])
def test_a_tool_that_anthropic_does_not_know_is_refused_by_name(kind: JSON) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        body(tools=[LOOK, kind])
    assert caught.value.param == "tools[1].type"


def test_an_unknown_field_of_a_tool_is_refused_by_name() -> None:
    for odd, name in ((LOOK | {"odd": 1}, "tools[0].odd"), (tool("look", odd=1), "tools[0].function.odd")):
        with pytest.raises(UnsupportedParameter) as caught:
            body(tools=[odd])
        assert caught.value.param == name


@pytest.mark.parametrize(
    ("choice", "made"),
    [
        (None, None),
        ("auto", None),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        (named("wait")[0], {"type": "tool", "name": "wait"}),
        ({"type": "any"}, {"type": "any"}),
        ({"type": "tool", "name": "look"}, {"type": "tool", "name": "look"}),
    ],
    ids=str,
)
def test_a_choice_is_in_anthropics_words(choice: Any, made: Any) -> None:
    assert chosen(choice) == made


def test_of_allowed_tools_the_others_are_not_offered() -> None:
    made = body(tools=BOTH, tool_choice=allowed("auto", "wait"))
    assert ([tool["name"] for tool in made["tools"]], made.get("tool_choice")) == (["wait"], None)
    made = body(tools=BOTH, tool_choice=allowed("required", "wait", "look"))
    assert ([tool["name"] for tool in made["tools"]], made["tool_choice"]) == (["look", "wait"], {"type": "any"})


def test_anthropics_own_tools_are_allowed_by_their_type() -> None:
    listed = [*named("wait"), {"type": SEARCH["type"]}]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": listed}}
    made = body(tools=[*BOTH, SEARCH], tool_choice=choice)
    assert [tool["name"] for tool in made["tools"]] == ["wait", "web_search"]
    with pytest.raises(UnsupportedParameter) as caught:
        body(tools=BOTH, tool_choice=choice)
    assert caught.value.param == "tool_choice.allowed_tools.tools[1].type"


def test_one_call_at_a_time_is_a_part_of_the_choice() -> None:
    single = {"disable_parallel_tool_use": True}
    assert chosen(None, parallel_tool_calls=False) == {"type": "auto"} | single
    assert chosen("required", parallel_tool_calls=False) == {"type": "any"} | single
    assert chosen(named("look")[0], parallel_tool_calls=False) == {"type": "tool", "name": "look"} | single
    assert chosen("none", parallel_tool_calls=False) == {"type": "none"}
    assert chosen(None, parallel_tool_calls=True) is None


def test_without_tools_there_is_nothing_to_choose() -> None:
    made = body(tool_choice="auto", parallel_tool_calls=False, tools=[])
    assert not {"tools", "tool_choice"} & made.keys()


def test_a_choice_that_anthropic_does_not_know_is_refused() -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        chosen({"type": "custom", "custom": {"name": "free"}})
    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize(
    "choice", ["required", named("look")[0], allowed("required", "look"), {"type": "any"}], ids=str
)
def test_a_model_that_cannot_be_forced_is_not(choice: Any) -> None:
    with pytest.raises(UnsupportedParameter, match="'auto'") as caught:
        chosen(choice, model="claude-opus-5-5")
    assert caught.value.param == "tool_choice"
    assert chosen(choice, model="claude-opus-5-5", config=GeneratesConfig(drop_unsupported=True)) is None
    assert chosen("none", model="claude-opus-5-5") == {"type": "none"}


def test_one_call_at_a_time_is_kept_where_a_forced_one_is_left_out() -> None:
    dropping = GeneratesConfig(drop_unsupported=True)
    made = chosen("required", model="claude-opus-5-5", config=dropping, parallel_tool_calls=False)
    assert made == {"type": "auto", "disable_parallel_tool_use": True}


def test_tools_that_were_called_are_declared_where_none_are_given() -> None:
    function = {"name": "look", "arguments": "{}"}
    calls = [{"id": name, "type": "function", "function": function} for name in ("a", "b")]
    results = [{"role": "tool", "tool_call_id": name, "content": "20"} for name in ("a", "b")]
    made = body(HI, {"role": "assistant", "tool_calls": calls}, *results)
    assert made["tools"] == [{"name": "look", "input_schema": {"type": "object"}}]
    assert made["tool_choice"] == {"type": "none"}
