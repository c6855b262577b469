"""Chats as Amazon's Converse takes them: AWS's own client is the judge of each body."""

from typing import Any

import pytest
from pydantic import ValidationError

from apps.inference.providers.remote.bedrock.config import BedrockConfig
from apps.inference.providers.remote.bedrock.request import body
from apps.inference.schemas import ChatCompletionRequest
from llamastack.errors import BadRequest, UnsupportedParameter
from tests.bedrock import check
from tests.unit.inference.scripted import chat

CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
OLD_CLAUDE = "us.anthropic.claude-3-5-sonnet-20241022-v2:0"
NEW_CLAUDE = "global.anthropic.claude-opus-4-6-v1"
NOVA, NOVA_2 = "us.amazon.nova-pro-v1:0", "amazon.nova-2-lite-v1:0"
LLAMA, MISTRAL, OSS = "meta.llama3-3-70b-instruct-v1:0", "mistral.mistral-7b-instruct-v0:2", "openai.gpt-oss-20b-1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6"
PNG = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Now.", "parameters": SCHEMA}}
TIME = {"type": "function", "function": {"name": "get_time"}}
PLACE = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
USER = {"role": "user", "content": "Hi"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
CALLED = [
    USER,
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "20"},
]


def made(model: str = CLAUDE, *, config: dict[str, Any] | None = None, **fields: Any) -> Any:
    """The body of a request, which AWS's own client has found right."""
    request = chat(model=model, **fields)
    before = request.model_dump()
    sent, _ = body(request, "Provider 'b'", BedrockConfig.model_validate(config or {}))
    assert request.model_dump() == before
    check(sent, model=model)
    check(sent, "ConverseStream", model=model)
    return sent


def turns(*messages: dict[str, Any], model: str = CLAUDE, **fields: Any) -> Any:
    return made(model, messages=list(messages), **fields)["messages"]


def refused(model: str = CLAUDE, **fields: Any) -> str:
    """The field that is refused, and is left out where the config says so."""
    with pytest.raises(UnsupportedParameter, match="Provider 'b' does not support") as caught:
        made(model, **fields)
    made(model, config={"drop_unsupported": True}, **fields)
    return str(caught.value.param)


def wrong(**fields: Any) -> str:
    with pytest.raises(BadRequest) as caught:
        made(**fields)
    return str(caught.value.param)


def test_a_text_is_a_turn() -> None:
    assert made() == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}


def test_what_instructs_stands_apart_wherever_it_stood() -> None:
    sent = made(
        messages=[
            {"role": "system", "content": "Be brief."},
            USER,
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        ]
    )
    assert sent["system"] == [{"text": "Be brief."}, {"text": "Be kind."}]
    assert len(sent["messages"]) == 1


def test_user_and_assistant_take_turns() -> None:
    assert turns(USER, USER, {"role": "assistant", "content": "Yes?"}, {"role": "assistant", "content": ""}, USER) == [
        {"role": "user", "content": [{"text": "Hi"}, {"text": "Hi"}]},
        {"role": "assistant", "content": [{"text": "Yes?"}]},
        {"role": "user", "content": [{"text": "Hi"}]},
    ]


def test_a_conversation_begins_with_the_user() -> None:
    assert wrong(messages=[{"role": "system", "content": "Be brief."}]) == "messages"
    assert wrong(messages=[{"role": "assistant", "content": "Hello"}, USER]) == "messages"
    assert wrong(messages=[{"role": "user", "content": "  \n"}]) == "messages[0].content"


def test_texts_and_images_keep_their_order() -> None:
    parts = [
        {"type": "text", "text": "Before"},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}},
        {"type": "text", "text": " "},
        {"type": "text", "text": "After"},
    ]
    image = {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}
    assert turns({"role": "user", "content": parts})[0]["content"] == [{"text": "Before"}, image, {"text": "After"}]


@pytest.mark.parametrize(
    "url", ["https://a.example/cat.png", "data:image/png,abc", "data:image/tiff;base64,AAAA", "data:image/png;base64,"]
)
def test_an_image_that_is_not_there_itself_is_a_bad_request(url: str) -> None:
    parts = [{"type": "image_url", "image_url": {"url": url}}]
    assert wrong(messages=[{"role": "user", "content": parts}]) == "messages[0].content[0].image_url.url"


def test_documents_have_names_that_converse_takes_and_none_twice() -> None:
    file = {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "Year_report: 2026 (v1).pdf"}
    parts = [{"type": "file", "file": file}, {"type": "file", "file": file}, {"type": "text", "text": "Compare."}]
    first, second, _ = turns({"role": "user", "content": parts})[0]["content"]
    assert first["document"] == {"format": "pdf", "name": "Year report 2026 (v1)", "source": {"bytes": "JVBERi0="}}
    assert second["document"]["name"] == "Year report 2026 (v1) 2"
    nameless = {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:text/csv;base64,YQ=="}}]}
    assert turns(nameless)[0]["content"][0]["document"]["name"] == "document"


def test_a_sound_is_one() -> None:
    part = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    assert turns({"role": "user", "content": [part]}, model=NOVA_2)[0]["content"] == [
        {"audio": {"format": "wav", "source": {"bytes": "UklGRg=="}}}
    ]
    odd = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "midi"}}
    assert wrong(messages=[{"role": "user", "content": [odd]}]) == "messages[0].content[0].input_audio.format"


def test_calls_and_their_results_are_one_turn_each() -> None:
    other = CALL | {"id": "call_2"}
    result = {
        "role": "tool",
        "content": [{"type": "text", "text": "21"}, {"type": "image_url", "image_url": {"url": PNG}}],
    }
    sent = turns(
        USER,
        {"role": "assistant", "content": "I look.", "tool_calls": [CALL, other]},
        {"role": "tool", "tool_call_id": "call_1", "content": "20"},
        result | {"tool_call_id": "call_2", "name": "get_weather", "is_error": True},
        {"role": "user", "content": "And?"},
        tools=[WEATHER],
    )
    use = {"name": "get_weather", "input": {"city": "Paris"}}
    image = {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}
    assert sent[1:] == [
        {
            "role": "assistant",
            "content": [
                {"text": "I look."},
                {"toolUse": {"toolUseId": "call_1", **use}},
                {"toolUse": {"toolUseId": "call_2", **use}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "call_1", "content": [{"text": "20"}]}},
                {"toolResult": {"toolUseId": "call_2", "content": [{"text": "21"}, image], "status": "error"}},
                {"text": "And?"},
            ],
        },
    ]


def test_an_id_that_converse_would_refuse_is_another_that_both_have() -> None:
    own = "call/" + "x" * 80
    sent = turns(
        USER,
        {"role": "assistant", "tool_calls": [CALL | {"id": own}]},
        {"role": "tool", "tool_call_id": own, "content": ""},
    )
    assert sent[1]["content"][0]["toolUse"]["toolUseId"] == sent[2]["content"][0]["toolResult"]["toolUseId"]
    assert sent[2]["content"][0]["toolResult"]["content"] == []


@pytest.mark.parametrize("arguments", ['{"city": ', "[1]", '"Paris"'])
def test_arguments_that_are_no_object_are_a_bad_request(arguments: str) -> None:
    call = CALL | {"function": {"name": "get_weather", "arguments": arguments}}
    assert (
        wrong(messages=[USER, {"role": "assistant", "tool_calls": [call]}])
        == "messages[1].tool_calls[0].function.arguments"
    )


def test_arguments_that_are_empty_are_an_empty_object() -> None:
    call = CALL | {"function": {"name": "get_weather", "arguments": ""}}
    sent = turns(USER, {"role": "assistant", "tool_calls": [call]})
    assert sent[1]["content"][0]["toolUse"]["input"] == {}


def test_reasoning_goes_back_as_it_was_signed() -> None:
    thinking = [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "cmVkYWN0ZWQ="},
    ]
    answer = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm.", "thinking_blocks": thinking}
    assert turns(USER, answer, USER)[1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "cmVkYWN0ZWQ="}},
        {"text": "Yes."},
    ]


def test_reasoning_alone_does_not_go_back() -> None:
    messages = [USER, {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}, USER]
    assert turns(*messages)[1]["content"] == [{"text": "Yes."}]


@pytest.mark.parametrize("blocks", ["Hm.", [{"type": "thinking"}], [{"type": "text"}], ["Hm."]])
def test_thinking_that_is_none_is_a_bad_request(blocks: Any) -> None:
    messages = [USER, {"role": "assistant", "content": "Yes.", "thinking_blocks": blocks}]
    assert wrong(messages=messages).startswith("messages[1].thinking_blocks")


def test_marks_of_a_cache_are_blocks_of_their_own() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    hour = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    sent = made(
        messages=[
            {"role": "system", "content": [{"type": "text", "text": "Long.", **hour}]},
            {"role": "user", "content": "Hi", **mark},
        ],
        tools=[WEATHER | mark, TIME],
    )
    assert sent["system"] == [{"text": "Long."}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    assert sent["messages"][0]["content"] == [{"text": "Hi"}, {"cachePoint": {"type": "default"}}]
    assert [list(tool) for tool in sent["toolConfig"]["tools"]] == [["toolSpec"], ["cachePoint"], ["toolSpec"]]
    odd = {"cache_control": {"type": "ephemeral", "ttl": "1w"}}
    assert wrong(messages=[{"role": "user", "content": "Hi", **odd}]) == "messages[0].cache_control"


CHOICES: list[tuple[Any, Any]] = [
    (None, None),
    ("auto", None),
    ("required", {"any": {}}),
    ({"type": "function", "function": {"name": "get_time"}}, {"tool": {"name": "get_time"}}),
]


@pytest.mark.parametrize(("choice", "meant"), CHOICES)
def test_tools_and_their_choice(choice: Any, meant: Any) -> None:
    config = made(tools=[WEATHER, TIME], tool_choice=choice)["toolConfig"]
    assert config.get("toolChoice") == meant
    assert config["tools"] == [
        {"toolSpec": {"name": "get_weather", "description": "Now.", "inputSchema": {"json": SCHEMA}}},
        {"toolSpec": {"name": "get_time", "inputSchema": {"json": {"type": "object"}}}},
    ]


def test_of_allowed_tools_only_those_are_sent() -> None:
    named = [{"type": "function", "function": {"name": "get_time"}}]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": named}}
    config = made(tools=[WEATHER, TIME], tool_choice=choice)["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["get_time"]
    assert config["toolChoice"] == {"any": {}}


def test_no_tools_are_sent_where_none_may_be_called_but_for_a_conversation_with_calls() -> None:
    assert "toolConfig" not in made(tools=[WEATHER], tool_choice="none")
    assert "toolChoice" not in made(tools=[WEATHER], tool_choice="none", messages=CALLED)["toolConfig"]
    [tool] = made(messages=CALLED)["toolConfig"]["tools"]
    assert tool["toolSpec"]["name"] == "get_weather"


def test_a_model_that_cannot_be_made_to_call_says_so() -> None:
    assert refused(LLAMA, tools=[WEATHER], tool_choice="required") == "tool_choice"
    assert refused(LLAMA, response_format=PLACE) == "response_format"
    assert "toolChoice" not in made(LLAMA, tools=[WEATHER], tool_choice="auto")["toolConfig"]


def test_a_strict_tool_is_one_where_the_model_follows_schemas() -> None:
    strict = WEATHER | {"function": WEATHER["function"] | {"strict": True}}  # type: ignore[operator]
    spec = made(tools=[strict])["toolConfig"]["tools"][0]["toolSpec"]
    assert (spec["strict"], spec["inputSchema"]["json"]["additionalProperties"]) == (True, False)
    assert refused(NOVA, tools=[strict]) == "tools[0].function.strict"


def test_a_schema_is_followed_by_the_model_itself_where_it_can() -> None:
    sent = made(response_format=PLACE, tools=[WEATHER])
    described = sent["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert described["name"] == "place"
    assert '"additionalProperties":false' in described["schema"]
    assert "toolChoice" not in sent["toolConfig"]


@pytest.mark.parametrize("model", [OLD_CLAUDE, NOVA, PROFILE])
def test_elsewhere_the_answer_is_the_input_of_a_tool(model: str) -> None:
    config = made(model, response_format=PLACE)["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["place"]
    assert config["toolChoice"] == {"tool": {"name": "place"}}
    config = made(model, response_format=PLACE, tools=[WEATHER])["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["get_weather", "place"]
    assert config["toolChoice"] == {"any": {}}
    config = made(model, response_format=PLACE, tools=[WEATHER], tool_choice="none")["toolConfig"]
    assert config["toolChoice"] == {"tool": {"name": "place"}}
    config = made(model, response_format=PLACE, tools=[WEATHER], tool_choice="required")["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["get_weather"]


def test_any_object_is_the_input_of_a_tool_too() -> None:
    config = made(response_format={"type": "json_object"})["toolConfig"]
    assert config["tools"][0]["toolSpec"] == {
        "name": "answer",
        "description": "Answers the user. Its input is the whole answer.",
        "inputSchema": {"json": {"type": "object"}},
    }
    assert "toolConfig" not in made(response_format={"type": "text"})
    assert refused(response_format={"type": "regex", "pattern": "a"}) == "response_format"


def test_a_schema_of_any_object_is_the_input_of_a_tool_too() -> None:
    anything = {"type": "json_schema", "json_schema": {"name": "place", "schema": {"type": "object"}}}
    assert made(response_format=anything)["toolConfig"]["toolChoice"] == {"tool": {"name": "place"}}


def test_how_to_sample_and_when_to_stop() -> None:
    sent = made(NOVA, max_completion_tokens=9, temperature=0.5, top_p=0.25, stop="END")
    assert sent["inferenceConfig"] == {"maxTokens": 9, "temperature": 0.5, "topP": 0.25, "stopSequences": ["END"]}
    assert made(temperature=0.5)["inferenceConfig"] == {"temperature": 0.5}
    assert made(max_tokens=9, stop=["a", "b"])["inferenceConfig"] == {"maxTokens": 9, "stopSequences": ["a", "b"]}
    assert "inferenceConfig" not in made(stop=[])
    assert refused(temperature=1.5) == refused(NOVA, temperature=1.5) == "temperature"
    assert refused(temperature=0.5, top_p=0.25) == "top_p"
    assert refused("anthropic.claude-opus-4-7-v1", temperature=0.5) == "temperature"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("seed", 0),
        ("logprobs", True),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("logit_bias", {"5": 1}),
        ("parallel_tool_calls", False),
        ("top_k", 5),
        ("service_tier", "scale"),
        ("thinking", {"type": "enabled", "budget_tokens": 1024}),
        ("reasoning_effort", "high"),
        ("stream_options", {"include_noise": True}),
    ],
)
def test_what_converse_cannot_express_is_refused_by_name(field: str, value: Any) -> None:
    more = {"stream": True} if field == "stream_options" else {}
    assert refused(LLAMA, **{field: value}, **more).startswith(field)


def test_what_asks_for_nothing_is_no_reason_to_refuse() -> None:
    nothing = {"n": 1, "logprobs": False, "top_logprobs": 0, "frequency_penalty": 0, "presence_penalty": 0.0}
    more = {"logit_bias": {}, "parallel_tool_calls": True, "service_tier": "auto", "modalities": None, "store": True}
    ours = {"metadata": {"a": "b"}, "stream": True, "stream_options": {"include_usage": True}}
    assert made(**nothing, **more, **ours, reasoning_effort="none") == made()


def test_a_user_that_bedrock_would_not_take_is_not_sent() -> None:
    assert made(user="<somebody>", safety_identifier={"a": 1}) == made()


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "user", "content": "Hi", "name": "Ada"}, "messages[0].name"),
        ({"role": "user", "content": "Hi", "mood": "good"}, "messages[0].mood"),
        ({"role": "user", "content": [{"type": "text", "text": "Hi", "tone": "low"}]}, "messages[0].content[0].tone"),
        (
            {
                "role": "user",
                "content": [{"type": "text", "text": "Hi"}, {"type": "file", "file": {"file_id": "file-1"}}],
            },
            "messages[0].content[1].file.file_id",
        ),
    ],
)
def test_what_a_message_says_beyond_converse_is_refused_by_name(message: dict[str, Any], field: str) -> None:
    assert refused(messages=[message]) == field


def test_what_the_sdks_echo_says_nothing() -> None:
    echo = {
        "role": "assistant",
        "content": "Yes.",
        "refusal": None,
        "audio": None,
        "function_call": None,
        "annotations": [],
    }
    assert turns(USER, echo, USER)[1]["content"] == [{"text": "Yes."}]
    refusal = {"role": "assistant", "content": None, "refusal": "I will not."}
    assert turns(USER, refusal, USER)[1]["content"] == [{"text": "I will not."}]


def test_tools_and_calls_that_are_no_functions_are_refused_by_name() -> None:
    assert refused(tools=[{"type": "custom", "name": "x"}]) == "tools[0].type"
    call = {"id": "call_1", "type": "custom", "custom": {"name": "x", "input": "y"}}
    messages = [USER, {"role": "assistant", "content": "I call.", "tool_calls": [call]}]
    assert refused(messages=messages) == "messages[1].tool_calls[0].type"
    assert refused(messages=[USER, {"role": "function", "name": "x", "content": "y"}]).startswith("messages[1].")


EFFORTS: list[tuple[str, str, Any]] = [
    (CLAUDE, "low", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    (NEW_CLAUDE, "max", {"thinking": {"type": "adaptive", "display": "summarized"}}),
    (NOVA_2, "medium", {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}),
    (NOVA_2, "none", {"reasoningConfig": {"type": "disabled"}}),
    (OSS, "high", {"reasoning_effort": "high"}),
]


@pytest.mark.parametrize(("model", "effort", "meant"), EFFORTS)
def test_reasoning_is_asked_for_in_the_models_own_words(model: str, effort: str, meant: Any) -> None:
    sent = made(model, reasoning_effort=effort)
    assert sent["additionalModelRequestFields"] == meant
    assert sent.get("outputConfig") == ({"effort": "max"} if model == NEW_CLAUDE else None)


def test_a_budget_of_reasoning_leaves_something_of_the_limit() -> None:
    thinking = made(reasoning_effort="high", max_tokens=2000)["additionalModelRequestFields"]["thinking"]
    assert thinking["budget_tokens"] == 1024
    assert wrong(reasoning_effort="high", max_tokens=1000) == "max_completion_tokens"
    assert refused(reasoning_effort="high", tools=[WEATHER], tool_choice="required") == "reasoning_effort"
    assert refused(OLD_CLAUDE, reasoning_effort="high") == "reasoning_effort"
    own = {"type": "enabled", "budget_tokens": 4000}
    assert made(thinking=own)["additionalModelRequestFields"] == {"thinking": own}


@pytest.mark.parametrize(
    ("model", "meant"),
    [
        (CLAUDE, {"top_k": 5}),
        (MISTRAL, {"top_k": 5}),
        (NOVA, {"inferenceConfig": {"topK": 5}}),
        ("cohere.command-r-v1:0", {"k": 5}),
    ],
)
def test_top_k_stands_where_each_model_has_it(model: str, meant: Any) -> None:
    assert made(model, top_k=5)["additionalModelRequestFields"] == meant


def test_converses_own_fields_go_on_and_keep_what_they_say() -> None:
    own: dict[str, Any] = {
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1", "trace": "enabled"},
        "performanceConfig": {"latency": "optimized"},
        "promptVariables": {"topic": {"text": "cats"}},
        "requestMetadata": {"team": "blue"},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
        "additionalModelRequestFields": {"anthropic_beta": ["x"]},
    }
    sent = made(**own, top_k=5, user="ada", service_tier="flex")
    assert sent["additionalModelRequestFields"] == {"anthropic_beta": ["x"], "top_k": 5}
    assert sent["requestMetadata"] == {"team": "blue", "user": "ada"}
    assert sent["serviceTier"] == {"type": "flex"}
    assert sent["guardrailConfig"] == own["guardrailConfig"]
    assert wrong(guardrailConfig="g") == "guardrailConfig"


def test_a_request_stays_as_it_was() -> None:
    own = {"additionalModelRequestFields": {"inferenceConfig": {"x": 1}}, "requestMetadata": {"team": "blue"}}
    request = ChatCompletionRequest.model_validate({"model": NOVA, "messages": [USER], "top_k": 1, "user": "a", **own})
    before = request.model_dump()
    body(request, "b", BedrockConfig())
    assert request.model_dump() == before


def test_settings_that_contradict_each_other_are_refused() -> None:
    for odd in (
        {"aws_access_key_id": "AKIA"},
        {"aws_session_token": "t"},
        {"aws_web_identity_token_file": "/token"},
        {"region_name": "us east"},
        {"retry_mode": "often"},
    ):
        with pytest.raises(ValidationError):
            BedrockConfig.model_validate(odd)


def test_unset_variables_are_no_settings() -> None:
    names = (
        "api_key",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "region_name",
        "read_timeout",
    )
    config = BedrockConfig.model_validate(dict.fromkeys(names, ""))
    assert (config.api_key, config.aws_access_key_id, config.region) == (None, None, "us-east-2")


def test_time_outs_of_old_are_those_of_the_network() -> None:
    config = BedrockConfig.model_validate(
        {"connect_timeout": 3, "read_timeout": 7, "network": {"timeout": {"read": 9}}}
    )
    waits = config.reached.timeouts()
    assert (waits.connect, waits.first_byte, waits.total) == (3, 9, 9)
