"""What Google's API is asked, field by field."""

from typing import Any

import pytest

from apps.inference.providers.remote.google import GenerateContent
from apps.inference.providers.unsupported import GeneratesConfig
from apps.inference.schemas import ChatCompletionRequest
from llamastack.errors import BadRequest, UnsupportedParameter

HELLO: dict[str, Any] = {"role": "user", "content": "Hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
SIGNED = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
CALLED = [HELLO, {"role": "assistant", "tool_calls": [CALL]}]
TOOL = {"type": "function", "function": {"name": "f"}}


def asked(model: str = "gemini-2.5-flash", *, drop: bool = False, **fields: Any) -> GenerateContent:
    request = ChatCompletionRequest.model_validate({"model": model, "messages": [HELLO], **fields})
    return GenerateContent(request, f"models/{model}", "Provider 'gemini'", GeneratesConfig(drop_unsupported=drop))


def body(model: str = "gemini-2.5-flash", **fields: Any) -> dict[str, Any]:
    sent: dict[str, Any] = asked(model, **fields).body
    return sent


def parts(*content: Any, role: str = "user", **fields: Any) -> Any:
    """What a message of these parts becomes."""
    return body(messages=[HELLO, {"role": role, "content": list(content), **fields}])["contents"][1]["parts"]


def config(model: str = "gemini-2.5-flash", **fields: Any) -> Any:
    return body(model, **fields).get("generationConfig")


@pytest.mark.parametrize(
    ("stream", "path"),
    [
        (None, "models/gemini-2.5-flash:generateContent"),
        (True, "models/gemini-2.5-flash:streamGenerateContent?alt=sse"),
    ],
)
def test_the_path_says_the_model_and_whether_to_stream(stream: bool | None, path: str) -> None:
    assert asked(stream=stream).path == path
    assert body(stream=stream) == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_all_instructions_are_one_wherever_they_stood() -> None:
    turns = [
        {"role": "system", "content": "a"},
        HELLO,
        {"role": "developer", "content": [{"type": "text", "text": "b"}]},
    ]
    assert body(messages=turns)["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}


def test_an_instruction_alone_is_what_is_asked() -> None:
    sent = body(messages=[{"role": "system", "content": "Say hello."}])
    assert sent == {"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]}


def image(url: str, **fields: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **fields}}


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (image("data:image/png;base64,AAAA"), {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
        (image("https://x/cat.JPG?s=1"), {"fileData": {"fileUri": "https://x/cat.JPG?s=1", "mimeType": "image/jpeg"}}),
        (image("gs://b/cat", format="image/webp"), {"fileData": {"fileUri": "gs://b/cat", "mimeType": "image/webp"}}),
        (image("https://youtu.be/x"), {"fileData": {"fileUri": "https://youtu.be/x"}}),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
            {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        ),
        (
            {"type": "file", "file": {"file_data": "AAAA", "filename": "a.csv"}},
            {"inlineData": {"mimeType": "text/csv", "data": "AAAA"}},
        ),
        (
            {"type": "file", "file": {"file_id": "gs://b/a.mp4"}},
            {"fileData": {"fileUri": "gs://b/a.mp4", "mimeType": "video/mp4"}},
        ),
    ],
)
def test_a_part_is_the_data_itself_or_the_address_of_a_file_with_its_kind(content: Any, part: Any) -> None:
    assert parts(content) == [part]


@pytest.mark.parametrize(
    ("content", "param", "why"),
    [
        (image("https://x/cat"), "image_url.url", "ending of this one does not tell"),
        (image("ftp://x/cat.png"), "image_url.url", "https:// or gs://"),
        (image("data:image/png,AAAA"), "image_url.url", "none of the form"),
        (image("data:;base64,AAAA"), "image_url.url", "none of the form"),
        ({"type": "input_audio"}, "input_audio", "lacks the object"),
        ({"type": "input_audio", "input_audio": {"data": 5}}, "input_audio", "in base64"),
        ({"type": "file", "file": {"file_data": "AAAA"}}, "file.file_data", "tells its kind"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file.file_id", "address of one at Google"),
    ],
)
def test_a_part_that_google_cannot_read_is_told_with_its_place(content: Any, param: str, why: str) -> None:
    with pytest.raises(BadRequest, match=why) as told:
        parts(content)
    assert told.value.param == f"messages[1].content[0].{param}"


def test_a_system_message_is_text_alone() -> None:
    turn = {"role": "system", "content": [image("data:image/png;base64,AAAA")]}
    with pytest.raises(BadRequest, match="text alone"):
        body(messages=[turn, HELLO])


@pytest.mark.parametrize(
    ("details", "resolution"),
    [(["low"], "MEDIA_RESOLUTION_LOW"), (["low", "high", "auto"], "MEDIA_RESOLUTION_HIGH"), (["auto", None], None)],
)
def test_the_highest_detail_that_an_image_asks_for_is_that_of_all(details: list[Any], resolution: str | None) -> None:
    images = [image("data:image/png;base64,AAAA", **({"detail": d} if d else {})) for d in details]
    found = config(messages=[{"role": "user", "content": images}])
    assert found == (None if resolution is None else {"mediaResolution": resolution})


def test_results_of_parallel_calls_are_one_turn_in_the_order_of_the_calls_whose_functions_they_name() -> None:
    calls = [CALL, CALL | {"id": "c2", "function": {"name": "g", "arguments": ""}}]
    results = [
        {"role": "tool", "tool_call_id": "c2", "content": '{"b": [1]}'},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "[1]"}]},
    ]
    contents = body(
        messages=[HELLO, {"role": "assistant", "content": "Let me see.", "tool_calls": calls}, *results, HELLO]
    )["contents"]
    assert contents[1:3] == [
        {
            "role": "model",
            "parts": [
                {"text": "Let me see."},
                {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}},
                {"functionCall": {"id": "c2", "name": "g", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "c1", "name": "f", "response": {"output": "[1]"}}},
                {"functionResponse": {"id": "c2", "name": "g", "response": {"b": [1]}}},
            ],
        },
    ]
    assert contents[3] == {"role": "user", "parts": [{"text": "Hi"}]}


@pytest.mark.parametrize(
    ("model", "older_ids", "sent"), [("gemini-2.5-flash", False, False), ("gemini-3-pro", False, True)]
)
def test_ids_of_calls_go_where_they_are_known(model: str, older_ids: bool, sent: bool) -> None:
    turns = [*CALLED, {"role": "tool", "tool_call_id": "c1", "content": "1"}]
    request = ChatCompletionRequest.model_validate({"model": model, "messages": turns})
    made = GenerateContent(request, f"models/{model}", "Provider 'x'", GeneratesConfig(), older_ids=older_ids)
    [called], [result] = (turn["parts"] for turn in made.body["contents"][1:])
    assert [("id" in called["functionCall"]), ("id" in result["functionResponse"])] == [sent, sent]


def test_an_image_that_a_tool_gives_stands_beside_its_text() -> None:
    result = {
        "role": "tool",
        "tool_call_id": "c1",
        "content": [{"type": "text", "text": "a cat"}, image("gs://b/c.png")],
    }
    [part] = body(messages=[*CALLED, result])["contents"][2]["parts"]
    assert part["functionResponse"]["response"] == {"output": "a cat"}
    assert part["functionResponse"]["parts"] == [{"fileData": {"fileUri": "gs://b/c.png", "mimeType": "image/png"}}]


def test_the_one_function_call_of_older_clients_is_understood() -> None:
    turns = [
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}},
        {"role": "function", "name": "f", "content": "20"},
    ]
    assert body(messages=[HELLO, *turns])["contents"][1:] == [
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "20"}}}]},
    ]


@pytest.mark.parametrize("arguments", ["{", "[1]", "5"])
def test_arguments_that_are_no_object_are_told_with_their_place(arguments: str) -> None:
    call = CALL | {"function": {"name": "f", "arguments": arguments}}
    with pytest.raises(BadRequest, match="JSON object alone") as told:
        body(messages=[HELLO, {"role": "assistant", "tool_calls": [call]}])
    assert told.value.param == "messages[1].tool_calls[0].function.arguments"


def model_parts(model: str, **message: Any) -> Any:
    return body(model, messages=[HELLO, {"role": "assistant", **message}, HELLO])["contents"][1]["parts"]


def test_signatures_go_back_to_where_they_came_from() -> None:
    [call] = model_parts("gemini-3-pro", tool_calls=[CALL | SIGNED])
    assert call["thoughtSignature"] == "c2ln"
    thought, said = model_parts("gemini-3-pro", content="Blue.", reasoning_content="Hm.", **SIGNED)
    assert thought == {"text": "Hm.", "thought": True}
    assert said == {"text": "Blue.", "thoughtSignature": "c2ln"}
    assert model_parts("gemini-3-pro", content=None, **SIGNED) == [{"text": "", "thoughtSignature": "c2ln"}]


@pytest.mark.parametrize(
    ("model", "signature"),
    [
        ("gemini-3-pro", "skip_thought_signature_validator"),
        ("gemini-flash-latest", "skip_thought_signature_validator"),
        ("gemini-2.5-flash", None),
        ("tuned", None),
    ],
)
def test_the_first_call_of_a_turn_that_no_gemini_made_says_so_to_models_that_ask(model: str, signature: Any) -> None:
    first, second = model_parts(model, tool_calls=[CALL, CALL | {"id": "c2"}])
    assert first.get("thoughtSignature") == signature
    assert "thoughtSignature" not in second


def test_what_other_vendors_put_beside_a_message_is_not_taken_for_googles() -> None:
    others = {"extra_content": {"other": {"thought_signature": "x"}}, "annotations": [], "audio": None, "refusal": ""}
    block = {"type": "thinking", "thinking": "Hm.", "signature": "anthropics"}
    assert model_parts("gemini-2.5-flash", content="Blue.", thinking_blocks=[block], **others) == [
        {"text": "Hm.", "thought": True},
        {"text": "Blue."},
    ]


def test_what_google_ran_and_what_it_drew_go_back_as_they_came() -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    drawn = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}, **SIGNED}
    sent = model_parts("gemini-3-pro", extra_content={"google": {"parts": [code]}}, images=[drawn])
    shown = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "c2ln"}
    assert sent == [code, shown]
    with pytest.raises(BadRequest, match="image_url"):
        model_parts("gemini-3-pro", content="", images=["x"])


def test_a_refusal_is_what_the_model_said() -> None:
    assert model_parts("gemini-2.5-flash", content=None, refusal="No.") == [{"text": "No."}]
    assert model_parts("gemini-2.5-flash", content=[{"type": "refusal", "refusal": "No."}]) == [{"text": "No."}]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (HELLO | {"name": "ann"}, "messages[0].name"),
        (HELLO | {"mood": "bright"}, "messages[0].mood"),
        ({"role": "assistant", "content": "x", "audio": {"id": "a"}}, "messages[0].audio"),
        ({"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]}, "messages[0].tool_calls[0].type"),
        (
            {"role": "assistant", "tool_calls": [CALL | {"function": CALL["function"] | {"mood": "bright"}}]},
            "messages[0].tool_calls[0].function.mood",
        ),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_id": "gs://b/a.pdf", "mood": "bright"}}]},
            "messages[0].content[0].file.mood",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "x", "mood": "bright"}]},
            "messages[0].content[0].mood",
        ),
    ],
)
def test_what_google_has_no_word_for_is_refused_by_its_place(message: Any, param: str) -> None:
    with pytest.raises(UnsupportedParameter) as told:
        body(messages=[message, HELLO])
    assert told.value.param == param
    assert asked(messages=[message, HELLO], drop=True).body["contents"][-1] == {
        "role": "user",
        "parts": [{"text": "Hi"}],
    }


def test_the_result_of_a_call_that_is_left_out_is_left_out_too() -> None:
    custom = {"id": "c", "type": "custom", "custom": {"name": "x"}}
    turns = [
        HELLO,
        {"role": "assistant", "tool_calls": [custom]},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
    ]
    assert asked(messages=turns, drop=True).body["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-2.5-flash", "minimal", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-flash", "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-3-pro-preview", "high", {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-4-argon", "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
    ],
)
def test_how_much_to_think_is_a_budget_or_a_level(model: str, effort: str, thinking: Any) -> None:
    assert config(model, reasoning_effort=effort) == {"thinkingConfig": thinking}


@pytest.mark.parametrize(("model", "effort"), [("gemini-3-pro", "none"), ("gemini-2.5-pro", "xhigh")])
def test_an_effort_that_a_model_does_not_know_is_refused(model: str, effort: str) -> None:
    with pytest.raises(UnsupportedParameter) as told:
        body(model, reasoning_effort=effort)
    assert told.value.param == "reasoning_effort"


def test_googles_own_fields_come_in_all_the_ways_that_its_openai_door_takes_them() -> None:
    safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    thinking = {"thinking_budget": 800, "include_thoughts": True}
    whole = {"safetySettings": safety, "generationConfig": {"thinkingConfig": thinking, "topK": 5}}
    alone = {"safety_settings": safety, "thinking_config": thinking, "top_k": 5}
    contents = body()
    assert body(**alone) == contents | whole
    assert body(google=alone) == contents | whole
    assert body(extra_body={"google": alone}) == contents | whole
    camel = {"safetySettings": safety, "thinkingConfig": thinking, "topK": 5}
    assert body(google=camel) == contents | whole
    assert body(cached_content="cachedContents/x")["cachedContent"] == "cachedContents/x"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"google": {"who_knows": 1}}, "google.who_knows"),
        ({"extra_body": {"other": 1}}, "extra_body"),
        ({"frobnicate": 0}, "frobnicate"),
        ({"response_format": {"type": "text", "strict": None}, "min_p": 0.1}, "min_p"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"stream": True, "stream_options": {"odd": True}}, "stream_options.odd"),
    ],
)
def test_any_other_field_is_refused_by_name(fields: Any, param: str) -> None:
    with pytest.raises(UnsupportedParameter) as told:
        body(**fields)
    assert told.value.param == param
    assert asked(**fields, drop=True).body == body()


def test_contradictions_and_what_is_no_object_are_told() -> None:
    with pytest.raises(BadRequest, match="not both"):
        body(reasoning_effort="low", google={"thinking_config": {}})
    with pytest.raises(BadRequest, match="as an object"):
        body(google=5)


def test_what_asks_for_nothing_is_not_sent() -> None:
    nothing = {"service_tier": "auto", "modalities": ["text"], "verbosity": None, "parallel_tool_calls": True, "n": 1}
    assert body(**nothing, logit_bias={}, response_format={"type": "text"}, stop=[], presence_penalty=0.0) == body()


def test_a_format_has_no_more_than_google_knows() -> None:
    with pytest.raises(UnsupportedParameter) as told:
        body(response_format={"type": "json_object", "schema": {"type": "object"}})
    assert told.value.param == "response_format.schema"
    with pytest.raises(UnsupportedParameter) as told:
        body(tools=[TOOL | {"mood": "bright", "cache_control": None}])
    assert told.value.param == "tools[0].mood"


def test_a_schema_has_the_description_that_was_given_beside_it() -> None:
    given = {"name": "x", "description": "A place", "schema": {"type": "object"}}
    assert config(response_format={"type": "json_schema", "json_schema": given}) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {"description": "A place", "type": "object"},
    }
    without = {"type": "json_schema", "json_schema": {"name": "x"}}
    for any_object in (without, {"type": "json_object"}):
        assert config(response_format=any_object) == {"responseMimeType": "application/json"}


def test_functions_are_declared_together_and_googles_tools_each_by_itself() -> None:
    search, ran = {"type": "google_search"}, {"type": "code_execution", "code_execution": None}
    maps = {"type": "google_maps", "google_maps": {"enableWidget": True}}
    parameters = {"type": "object", "properties": {}}
    full = {"type": "function", "function": {"name": "g", "description": "d", "parameters": parameters}}
    sent = body(tools=[search, TOOL, ran, full, maps])
    declared = [{"name": "f"}, {"name": "g", "description": "d", "parametersJsonSchema": parameters}]
    assert sent["tools"] == [
        {"functionDeclarations": declared},
        {"googleSearch": {}},
        {"codeExecution": {}},
        {"googleMaps": {"enableWidget": True}},
    ]
    assert "toolConfig" not in sent


@pytest.mark.parametrize("tool", [{"type": "custom", "custom": {}}, {"type": "google_search", "other": 1}])
def test_a_tool_that_google_does_not_have_is_refused_by_its_place(tool: Any) -> None:
    with pytest.raises(UnsupportedParameter) as told:
        body(tools=[TOOL, tool])
    assert str(told.value.param).startswith("tools[1].")
    assert asked(tools=[TOOL, tool], drop=True).body["tools"] == [{"functionDeclarations": [{"name": "f"}]}]


NAMED = {"type": "function", "function": {"name": "f"}}
STRICT = {"type": "function", "function": {"name": "f", "strict": True}}


@pytest.mark.parametrize(
    ("tool", "choice", "mode"),
    [
        (TOOL, "auto", {"mode": "AUTO"}),
        (TOOL, "none", {"mode": "NONE"}),
        (TOOL, "required", {"mode": "ANY"}),
        (TOOL, NAMED, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (STRICT, None, {"mode": "VALIDATED"}),
        (STRICT, "required", {"mode": "ANY"}),
        (
            TOOL,
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}},
            {"mode": "VALIDATED", "allowedFunctionNames": ["f"]},
        ),
    ],
)
def test_which_tools_may_and_must_be_called(tool: Any, choice: Any, mode: Any) -> None:
    sent = body(tools=[tool], tool_choice=choice)
    assert sent["toolConfig"] == {"functionCallingConfig": mode}


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "custom", "custom": {"name": "x"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED, {"type": "custom"}]}},
    ],
)
def test_a_choice_of_tools_that_google_does_not_have_is_refused(choice: Any) -> None:
    with pytest.raises(UnsupportedParameter) as told:
        body(tools=[TOOL], tool_choice=choice)
    assert str(told.value.param).startswith("tool_choice")
