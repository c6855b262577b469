"""Answers in JSON: by the model itself where it can, and otherwise by a tool whose input is the answer."""

from typing import Any

import pytest

from apps.inference.providers.remote.anthropic.request import Asked, asked
from apps.inference.providers.unsupported import GeneratesConfig
from apps.inference.schemas import ChatCompletionRequest
from llamastack.errors import UnsupportedParameter
from tests.unit.inference.anthropic.asking import HI, JSON, checked

OLDER, NATIVE, NEWEST = "claude-sonnet-4-20250514", "claude-sonnet-4-5", "claude-opus-5-5"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ANY = {"type": "json_object"}
TOOL: JSON = {"type": "function", "function": {"name": "look"}}
LOOK = {"name": "look", "input_schema": {"type": "object"}}


def formatted(schema: Any = SCHEMA, **more: Any) -> JSON:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **more}}


def made(model: str, form: JSON, **fields: Any) -> Asked:
    request = {"model": model, "messages": [HI], "response_format": form, **fields}
    sent = asked(ChatCompletionRequest.model_validate(request), "'claude'", GeneratesConfig())
    checked(sent.body)
    return sent


def output(schema: JSON) -> Any:
    sent = made(NATIVE, formatted(schema))
    assert sent.answer_tool is None
    return sent.body["output_config"]["format"]["schema"]


@pytest.mark.parametrize("strict", [None, True, False])
def test_newer_models_follow_a_schema_whose_objects_are_closed(strict: bool | None) -> None:
    sent = made(NATIVE, formatted(strict=strict))
    assert sent.body["output_config"] == {
        "format": {"type": "json_schema", "schema": SCHEMA | {"additionalProperties": False}}
    }
    assert (sent.answer_tool, "tools" in sent.body) == (None, False)


def test_objects_within_are_closed_too_and_what_is_said_of_others_stays() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "string"}}}
    closed = inner | {"additionalProperties": False}
    opened = inner | {"additionalProperties": {"type": "string"}}
    schema = {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": inner},
            "either": {"anyOf": [inner, {"type": "null"}]},
            "all": {"allOf": [inner]},
            "open": opened,
            "free": {"type": "object"},
            "any": True,
            "there": {"$ref": "#/$defs/there"},
        },
        "$defs": {"there": inner},
    }
    sent = output(schema)
    assert sent["properties"] == {
        "list": {"type": "array", "items": closed},
        "either": {"anyOf": [closed, {"type": "null"}]},
        "all": {"allOf": [inner]},
        "open": opened,
        "free": {"type": "object"},
        "any": True,
        "there": {"$ref": "#/$defs/there"},
    }
    assert (sent["$defs"], sent["additionalProperties"]) == ({"there": closed}, False)


@pytest.mark.parametrize("form", [ANY, formatted(None), formatted({"type": "object"})], ids=str)
def test_any_object_is_the_input_of_a_tool(form: JSON) -> None:
    sent = made(NATIVE, form)
    [tool] = sent.body["tools"]
    assert tool["input_schema"] == {"type": "object"}
    assert sent.body["tool_choice"] == {"type": "tool", "name": sent.answer_tool}


def test_a_schema_is_the_input_of_a_tool_for_older_models() -> None:
    sent = made(OLDER, formatted(description="Where."))
    assert sent.body["tools"] == [{"name": "answer", "description": "Where.", "input_schema": SCHEMA}]
    assert (sent.answer_tool, sent.body["tool_choice"]) == ("answer", {"type": "tool", "name": "answer"})


def test_beside_tools_it_calls_or_answers() -> None:
    sent = made(OLDER, formatted(), tools=[TOOL])
    assert [tool["name"] for tool in sent.body["tools"]] == ["look", "answer"]
    assert sent.body["tool_choice"] == {"type": "any"}
    sent = made(OLDER, formatted(), tools=[TOOL], parallel_tool_calls=False)
    assert sent.body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


def test_where_no_tool_may_be_called_it_answers() -> None:
    sent = made(OLDER, formatted(), tools=[TOOL], tool_choice="none")
    assert sent.body["tool_choice"] == {"type": "tool", "name": "answer"}


def test_a_call_that_is_forced_leaves_no_room_for_an_answer() -> None:
    sent = made(OLDER, formatted(), tools=[TOOL], tool_choice="required")
    assert (sent.answer_tool, sent.body["tools"], sent.body["tool_choice"]) == (None, [LOOK], {"type": "any"})


def test_the_answers_tool_has_a_name_of_its_own() -> None:
    form = formatted()
    form["json_schema"]["name"] = "look"
    sent = made(OLDER, form, tools=[TOOL])
    assert [tool["name"] for tool in sent.body["tools"]] == ["look", "look_"]
    assert sent.answer_tool == "look_"


def test_models_that_cannot_be_forced_ask_for_a_schema() -> None:
    assert "output_config" in made(NEWEST, formatted()).body
    with pytest.raises(UnsupportedParameter, match="json_schema") as caught:
        made(NEWEST, ANY)
    assert caught.value.param == "response_format"
