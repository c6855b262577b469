"""Every field of a chat completion at every vendor with words of its own: it reaches the vendor in the vendor's
words, or it is an error that names provider and field. Nothing is ignored in silence.
"""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from apps.inference.providers import unsupported
from apps.inference.schemas import ChatCompletionRequest
from llamastack.apis import Api
from llamastack.errors import UnsupportedParameter
from llamastack.providers import load, specs
from tests.conformance.vendors import VENDORS
from tests.conformance.vendors.script import HELLO, TOOL
from tests.conformance.vendors.vendor import JSON, Vendor

SCHEMA = {"type": "json_schema", "json_schema": {"name": "place", "schema": TOOL["function"]["parameters"]}}
TOOLS = {"tools": [TOOL, {"type": "function", "function": {"name": "get_time"}}]}
WAV = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
PDF = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}
ASKED = {"type": "text", "text": "What is this?"}

# What asks for something, for each field, and what has to stand beside it.
FIELDS: dict[str, tuple[Any, JSON]] = {
    "max_tokens": (77, {}),
    "max_completion_tokens": (77, {}),
    "temperature": (0.5, {}),
    "top_p": (0.25, {}),
    "n": (2, {}),
    "stop": (["halt"], {}),
    "seed": (4711, {}),
    "frequency_penalty": (0.5, {}),
    "presence_penalty": (0.25, {}),
    "logit_bias": ({"50256": -100}, {}),
    "logprobs": (True, {}),
    "top_logprobs": (3, {"logprobs": True}),
    "response_format": (SCHEMA, {}),
    "tools": ([TOOL], {}),
    "tool_choice": ("required", TOOLS),
    "parallel_tool_calls": (False, TOOLS),
    "reasoning_effort": ("high", {"max_tokens": 8192}),
}
# Others that OpenAI documents, and one that nobody does.
UNNAMED: dict[str, tuple[Any, JSON]] = {
    "audio": ({"voice": "alloy", "format": "wav"}, {}),
    "modalities": (["text", "audio"], {}),
    "verbosity": ("low", {}),
    "service_tier": ("flex", {}),
    "web_search_options": ({"search_context_size": "low"}, {}),
    "functions": ([{"name": "get_time"}], {}),
    "function_call": ("auto", {}),
    "min_p": (0.25, {}),
    "frobnicate": ({"deep": [1]}, {}),
}
# Of the conversation itself, as the field `messages`; and of tools and formats.
INNER: dict[str, tuple[str, Any]] = {
    "messages.content.input_audio": ("messages", [{"role": "user", "content": [ASKED, WAV]}]),
    "messages.content.file": ("messages", [{"role": "user", "content": [ASKED, PDF]}]),
    "messages.name": ("messages", [HELLO[0] | {"name": "Ann"}]),
    "messages.mood": ("messages", [HELLO[0] | {"mood": "bright"}]),
    "messages.content.mood": ("messages", [{"role": "user", "content": [ASKED | {"mood": "bright"}]}]),
    "tools.custom": ("tools", [{"type": "custom", "custom": {"name": "any"}}]),
    "tools.mood": ("tools", [TOOL | {"mood": "bright"}]),
    "tools.function.mood": ("tools", [{"type": "function", "function": TOOL["function"] | {"mood": "bright"}}]),
    "response_format.grammar": ("response_format", {"type": "grammar", "grammar": "root ::= 'a'"}),
}
ALWAYS = {"model", "messages", "stream", "stream_options"}
# What changes no answer: of values of each kind, and with those that a vendor which has a word for it would not take.
HINTED: dict[str, tuple[Any, ...]] = {
    "user": ("u-1", "ö" * 1000),
    "safety_identifier": ("s-1", "ö" * 1000, 7, {"a": 1}),
    "prompt_cache_key": ("k", 7),
    "prompt_cache_retention": ("24h",),
    "prediction": ({"type": "content", "content": "The sky"},),
    "cache_control": ({"type": "ephemeral"},),
    "store": (True,),
    "metadata": ({"a": "b"},),
    "stream_options": ({"include_obfuscation": False},),
}
# The values of other fields that ask for what happens without them.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1, None),
    "logprobs": (False, None),
    "top_logprobs": (0, None),
    "logit_bias": ({}, None),
    "frequency_penalty": (0, 0.0, None),
    "presence_penalty": (0, 0.0, None),
    "parallel_tool_calls": (True, None),
    "seed": (None,),
    "user": ("", None),
    "service_tier": ("auto", "default", None),
    "verbosity": ("medium", None),
    "modalities": (["text"], None),
    "response_format": ({"type": "text"}, None),
    "audio": (None,),
    "functions": ([], None),
}
# The same inside of a conversation.
SEEN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
LOOK = {"role": "user", "content": [{"type": "text", "text": "Look."}, SEEN]}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
SAID = {"role": "assistant", "content": "Blue.", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "Rain."}
OF_OTHERS = {
    "annotations": [{"type": "url_citation"}],
    "citations": [{"cited": 1}],
    "extra_content": {"another": {"signature": "x"}},
    "reasoning_content": "Hm.",
}
EACH = FIELDS | UNNAMED
# Those that have words of their own for fields.
WORDED = [vendor for vendor in VENDORS if vendor.native or vendor.places]


def test_no_field_of_a_request_is_forgotten_here() -> None:
    assert set(ChatCompletionRequest.model_fields) == FIELDS.keys() | {"user", "store", "metadata"} | ALWAYS
    assert not UNNAMED.keys() & set(ChatCompletionRequest.model_fields)


@pytest.mark.parametrize("vendor", WORDED, ids=lambda vendor: vendor.name)
def test_no_table_names_a_field_that_there_is_not(vendor: Vendor) -> None:
    assert vendor.places.keys() <= EACH.keys() | INNER.keys() | HINTED.keys()


def body(vendor: Vendor, *, drop: bool = False, **fields: Any) -> JSON:
    provider_class = load(specs(Api.inference)[vendor.provider_type])
    config = vendor.config_at("http://vendor.example") | {"drop_unsupported": drop}
    provider: Any = provider_class("under-test", provider_class.config_class.model_validate(config))
    asked = {"model": vendor.model, "messages": HELLO, **fields}
    made: JSON = provider.translated(ChatCompletionRequest.model_validate(asked)).body
    return made


def changed(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """The dotted paths at which two bodies differ; of lists the path of the whole."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        if one != other:
            yield place
        return
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            yield f"{place}.{name}".removeprefix(".")
        else:
            yield from changed(one[name], other[name], f"{place}.{name}".removeprefix("."))


def cases(expressed: bool) -> list[Any]:
    return [
        pytest.param(vendor, name, id=f"{vendor.name}-{name}")
        for vendor in WORDED
        for name in EACH
        if (name in vendor.places) == expressed
    ]


@pytest.mark.parametrize(("vendor", "name"), cases(expressed=True))
def test_what_a_vendor_can_express_is_found_in_its_words(vendor: Vendor, name: str) -> None:
    value, beside = EACH[name]
    places = vendor.places[name]
    differences = list(changed(body(vendor, **beside), body(vendor, **beside, **{name: value})))
    assert differences
    for place in differences:
        assert any(f"{place}.".startswith(f"{known}.") or f"{known}.".startswith(f"{place}.") for known in places), (
            place
        )
    for known in places:
        assert any(f"{place}.".startswith(f"{known}.") or f"{known}.".startswith(f"{place}.") for place in differences)


@pytest.mark.parametrize(("vendor", "name"), cases(expressed=False))
def test_what_a_vendor_cannot_express_is_refused_by_name(vendor: Vendor, name: str) -> None:
    value, beside = EACH[name]
    with pytest.raises(UnsupportedParameter, match="'under-test'") as caught:
        body(vendor, **beside, **{name: value})
    assert caught.value.status == 400
    assert caught.value.code == "unsupported_parameter"
    assert caught.value.param == name or caught.value.param in beside.keys() - vendor.places.keys()
    assert f"'{caught.value.param}'" in caught.value.message


@pytest.mark.parametrize(("vendor", "name"), cases(expressed=False))
def test_what_a_vendor_cannot_express_is_left_out_and_logged_where_that_is_wanted(
    vendor: Vendor, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    value, beside = EACH[name]
    caplog.set_level(logging.INFO, logger=unsupported.__name__)
    assert body(vendor, drop=True, **beside, **{name: value}) == body(vendor, drop=True, **beside)
    [line] = [record.getMessage() for record in caplog.records if name in record.getMessage()][:1]
    assert line.startswith("Left out of a request: ")


@pytest.mark.parametrize("value", [{}, False, 0], ids=str)
@pytest.mark.parametrize("vendor", WORDED, ids=lambda vendor: vendor.name)
def test_an_unknown_field_that_is_empty_may_ask_for_something_too(vendor: Vendor, value: Any) -> None:
    """As `web_search_options: {}` does, which asks for a search of the web."""
    with pytest.raises(UnsupportedParameter) as caught:
        body(vendor, web_search_options=value)
    assert caught.value.param == "web_search_options"


@pytest.mark.parametrize("vendor", WORDED, ids=lambda vendor: vendor.name)
def test_an_answer_of_text_alone_is_what_there_is_anyway(vendor: Vendor) -> None:
    assert body(vendor, modalities=["text"]) == body(vendor)


def inner_cases(expressed: bool) -> list[Any]:
    return [
        pytest.param(vendor, name, id=f"{vendor.name}-{name}")
        for vendor in WORDED
        for name in INNER
        if (name in vendor.places) == expressed
    ]


@pytest.mark.parametrize(("vendor", "name"), inner_cases(expressed=False))
def test_what_a_vendor_cannot_express_inside_of_a_field_is_refused_by_its_name(vendor: Vendor, name: str) -> None:
    field, value = INNER[name]
    with pytest.raises(UnsupportedParameter, match="'under-test'") as caught:
        body(vendor, **{field: value})
    assert str(caught.value.param).startswith((field, name.rpartition(".")[2]))


@pytest.mark.parametrize(("vendor", "name"), inner_cases(expressed=True))
def test_what_a_vendor_can_express_inside_of_a_field_reaches_it(vendor: Vendor, name: str) -> None:
    field, value = INNER[name]
    differences = list(changed(body(vendor), body(vendor, **{field: value})))
    assert any(place.startswith(known) for place in differences for known in vendor.places[name])


@pytest.mark.parametrize("name", HINTED)
@pytest.mark.parametrize("vendor", WORDED, ids=lambda vendor: vendor.name)
def test_a_hint_is_never_refused_and_goes_nowhere_but_where_the_vendor_has_a_word_for_it(
    vendor: Vendor, name: str
) -> None:
    beside: JSON = {"stream": True} if name == "stream_options" else {}
    for value in HINTED[name]:
        places = set(changed(body(vendor, **beside), body(vendor, **beside, **{name: value})))
        known = vendor.places.get(name, ())
        assert places <= {name, *known, *(place.rpartition(".")[0] for place in known)}
    if name in vendor.places:
        assert body(vendor, **{name: HINTED[name][0]}) != body(vendor)


@pytest.mark.parametrize("name", NEUTRAL)
@pytest.mark.parametrize("vendor", WORDED, ids=lambda vendor: vendor.name)
def test_values_that_say_what_happens_anyway_are_no_error(vendor: Vendor, name: str) -> None:
    for value in NEUTRAL[name]:
        places = set(changed(body(vendor, tools=[TOOL]), body(vendor, tools=[TOOL], **{name: value})))
        assert places <= {name, *vendor.places.get(name, ())}


@pytest.mark.parametrize("vendor", WORDED, ids=lambda vendor: vendor.name)
def test_marks_for_a_cache_are_no_error_anywhere(vendor: Vendor) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    part = {"type": "text", "text": "Look."} | mark
    said = [{"role": "system", "content": [part]} | mark, {"role": "user", "content": [part]} | mark]
    assert body(vendor, messages=[*said, SAID | mark, RESULT | mark, *HELLO], tools=[TOOL | mark])


@pytest.mark.parametrize("detail", ["auto", "low", "high"])
@pytest.mark.parametrize("vendor", WORDED, ids=lambda vendor: vendor.name)
def test_how_closely_an_image_is_to_be_seen_is_no_error(vendor: Vendor, detail: str) -> None:
    if not vendor.sees:
        with pytest.raises(UnsupportedParameter):
            body(vendor, messages=[LOOK])
        return
    image = SEEN | {"image_url": SEEN["image_url"] | {"detail": detail}}  # type: ignore[operator]
    assert body(vendor, messages=[{"role": "user", "content": [LOOK["content"][0], image]}])


@pytest.mark.parametrize("vendor", WORDED, ids=lambda vendor: vendor.name)
def test_what_another_vendor_said_of_its_answer_is_no_error(vendor: Vendor) -> None:
    call = CALL | {"index": 0, "extra_content": {"another": {"signature": "x"}}}
    messages = [*HELLO, SAID | OF_OTHERS | {"tool_calls": [call]}, RESULT, *HELLO]
    made = json.dumps(body(vendor, messages=messages))
    assert "url_citation" not in made
    assert "signature" not in made


@pytest.mark.parametrize("vendor", WORDED, ids=lambda vendor: vendor.name)
def test_fields_that_ask_for_nothing_are_no_error(vendor: Vendor) -> None:
    nothing: JSON = {"n": 1, "logprobs": False, "logit_bias": {}, "frequency_penalty": 0, "presence_penalty": 0}
    nothing["response_format"] = {"type": "text"}
    sent = set(changed(body(vendor), body(vendor, **nothing)))
    assert sent <= {place for name in nothing for place in vendor.places.get(name, ())}
    assert body(vendor, **dict.fromkeys(FIELDS)) == body(vendor)
