"""Which constraint a request means, and what is said where it means none or two."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from apps.inference.providers.inline.meta_reference.formats import ANY_OBJECT, MAX_CHOICES, MAX_DEPTH, constraint
from apps.inference.schemas import ChatCompletionRequest, CompletionRequest
from llamastack.errors import BadRequest, UnsupportedParameter
from llamastack.sampling import Constraint

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
TEXT = '{"type":"object","properties":{"a":{"type":"string"}}}'


def chat(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate(
        {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}
    )


def meant(**fields: Any) -> Constraint | None:
    """The same in a chat and in a completion."""
    found = constraint(chat(**fields), "this provider")
    text = CompletionRequest.model_validate({"model": "m", "prompt": "x", **fields})
    assert constraint(text, "this provider") == found
    return found


def named(schema: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **fields}}


@pytest.mark.parametrize("form", [None, {"type": "text"}])
def test_any_text_is_no_constraint(form: Any) -> None:
    assert meant(response_format=form) is None
    assert meant() is None
    assert meant(structured_outputs=None, guided_json=None) is None
    assert meant(structured_outputs={"json": None, "json_object": False}) is None


@pytest.mark.parametrize("strict", [True, False, None])
def test_a_schema_is_followed_strict_or_not(strict: bool | None) -> None:
    found = meant(response_format=named(SCHEMA, strict=strict, description="An answer"))
    assert found == Constraint("json_schema", TEXT, "response_format.json_schema.schema")


def test_any_object_is_the_schema_of_objects() -> None:
    assert meant(response_format={"type": "json_object"}) == Constraint("json_schema", ANY_OBJECT, "response_format")
    unnamed = {"type": "json_schema", "json_schema": {"name": "answer"}}
    assert meant(response_format=unnamed) == Constraint("json_schema", ANY_OBJECT, "response_format")
    found = meant(structured_outputs={"json_object": True})
    assert found == Constraint("json_schema", ANY_OBJECT, "structured_outputs.json_object")


@pytest.mark.parametrize(
    ("kind", "value", "type", "text"),
    [
        ("json", SCHEMA, "json_schema", TEXT),
        ("json", json.dumps(SCHEMA), "json_schema", TEXT),
        ("regex", r"\d+", "regex", r"\d+"),
        ("choice", ["yes", "no (maybe)"], "regex", r"yes|no\ \(maybe\)"),
        ("grammar", 'start: "a"', "grammar", 'start: "a"'),
    ],
)
def test_vllms_fields_mean_what_they_mean_there(kind: str, value: Any, type: Any, text: str) -> None:
    assert meant(structured_outputs={kind: value}) == Constraint(type, text, f"structured_outputs.{kind}")
    assert meant(**{f"guided_{kind}": value}) == Constraint(type, text, f"guided_{kind}")


def test_settings_of_the_library_in_a_schema_are_not_obeyed() -> None:
    assert meant(guided_json=SCHEMA | {"x-guidance": {"lenient": True}}) == Constraint(
        "json_schema", TEXT, "guided_json"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"structured_outputs": {"regex": "a", "json": {}}},
        {"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}},
        {"response_format": named(SCHEMA), "guided_choice": ["a"]},
        {"guided_regex": "a", "guided_grammar": "b"},
    ],
)
def test_two_forms_contradict_each_other(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="contradict"):
        meant(**fields)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"response_format": {"type": "structural_tag"}}, "response_format"),
        ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"json": {}, "whitespace_pattern": " "}}, "structured_outputs.whitespace_pattern"),
    ],
)
def test_what_other_servers_know_is_unsupported(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        meant(**fields)
    assert refused.value.param == field


DEEP: Any = {}
for _ in range(MAX_DEPTH):
    DEEP = {"items": DEEP}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"structured_outputs": []}, "structured_outputs"),
        ({"structured_outputs": {"json_object": 1}}, "structured_outputs.json_object"),
        ({"structured_outputs": {"regex": 1}}, "structured_outputs.regex"),
        ({"structured_outputs": {"regex": "a" * 8193}}, "structured_outputs.regex"),
        ({"structured_outputs": {"regex": "a\ud800"}}, "structured_outputs.regex"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"structured_outputs": {"choice": "yes"}}, "structured_outputs.choice"),
        ({"structured_outputs": {"choice": [1]}}, "structured_outputs.choice"),
        ({"structured_outputs": {"choice": ["x"] * (MAX_CHOICES + 1)}}, "structured_outputs.choice"),
        ({"structured_outputs": {"choice": ["x" * 70] * MAX_CHOICES}}, "structured_outputs.choice"),
        ({"guided_grammar": ["a"]}, "guided_grammar"),
        ({"guided_grammar": "a" * 70_000}, "guided_grammar"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": "[" * 100_000}, "guided_json"),
        ({"guided_json": '{"const": NaN}'}, "guided_json"),
        ({"guided_json": {"const": "\ud800"}}, "guided_json"),
        ({"guided_json": [SCHEMA]}, "guided_json"),
        ({"guided_json": DEEP}, "guided_json"),
        ({"guided_json": {"enum": ["x" * 200_000]}}, "guided_json"),
    ],
)
def test_what_is_no_form_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        meant(**fields)
    assert refused.value.param == field
    assert len(refused.value.message) < 300


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"type": "xml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"schema": {}}},
        {"type": "json_schema", "json_schema": {"name": "", "schema": {}}},
        {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}},
        {"type": "json_schema", "json_schema": {"name": "a" * 65, "schema": {}}},
        {"type": "json_schema", "json_schema": {"name": "a", "schema": []}},
        {"type": "json_schema", "json_schema": {"name": "a", "schema": "{}"}},
    ],
)
def test_a_response_format_that_is_not_openais_is_refused_where_it_enters(form: Any) -> None:
    with pytest.raises(ValidationError):
        chat(response_format=form)


@pytest.mark.parametrize("form", [{"type": "text"}, {"type": "json_object"}, named(SCHEMA), named(SCHEMA, strict=True)])
def test_a_response_format_reaches_a_vendor_as_it_was_written(form: Any) -> None:
    assert chat(response_format=form).model_dump(exclude_unset=True)["response_format"] == form
