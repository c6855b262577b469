"""Chats with Cohere's models on OCI, in the words of Oracle's own API."""

import json
from typing import Any

import pytest

from apps.inference.providers.remote.oci.cohere import Chatted, chat_request, is_cohere
from apps.inference.providers.remote.oci.command_a import serves
from apps.inference.providers.unsupported import GeneratesConfig
from apps.inference.schemas import ChatCompletionRequest
from llamastack.errors import BadRequest, UnsupportedParameter, UpstreamError
from tests.unit.inference.scripted import CALL, Line, Stream, chat, scripted, started
from tests.unit.inference.test_oci import HOST, on_paper

ASKED = f"POST {HOST}/20231130/actions/chat"
LOOK = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks up",
        "parameters": {
            "type": "object",
            "properties": {
                "at": {"type": "string", "description": "What"},
                "how": {"type": "string", "enum": ["up", "down"]},
                "far": {"type": ["integer", "null"]},
                "any": True,
            },
            "required": ["at"],
        },
    },
}


def body(request: ChatCompletionRequest, **config: Any) -> dict[str, Any]:
    return chat_request(request, GeneratesConfig(**config), "Provider 'oci'")


def test_calls_of_one_turn_have_their_results_together_and_the_last_ones_stand_apart() -> None:
    def call(number: int) -> dict[str, Any]:
        function = {"name": "look", "arguments": json.dumps({"at": str(number)})}
        return {"id": f"c{number}", "type": "function", "function": function}

    def result(number: int) -> dict[str, Any]:
        return {"role": "tool", "tool_call_id": f"c{number}", "content": f"r{number}"}

    def told(number: int) -> dict[str, Any]:
        made = {"name": "look", "parameters": {"at": str(number)}}
        return {"call": made, "outputs": [{"output": f"r{number}"}]}

    turns = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Look."},
        {"role": "assistant", "tool_calls": [call(1), call(2)]},
        *(result(1), result(2)),
        {"role": "assistant", "content": "Once more.", "tool_calls": [call(3)]},
        result(3),
    ]
    assert body(chat(messages=turns)) == {
        "apiFormat": "COHERE",
        "message": "",
        "chatHistory": [
            {"role": "SYSTEM", "message": "Be brief."},
            {"role": "USER", "message": "Look."},
            {"role": "CHATBOT", "message": "", "toolCalls": [told(1)["call"], told(2)["call"]]},
            {"role": "TOOL", "toolResults": [told(1), told(2)]},
            {"role": "CHATBOT", "message": "Once more.", "toolCalls": [told(3)["call"]]},
        ],
        "toolResults": [told(3)],
    }


def test_what_cohere_does_not_read_of_a_schema_is_told_in_words() -> None:
    [tool] = body(chat(tools=[LOOK]))["tools"]
    assert (tool["name"], tool["description"]) == ("look", "Looks up")
    assert tool["parameterDefinitions"] == {
        "at": {"description": "What", "type": "str", "isRequired": True},
        "how": {"description": 'JSON Schema: {"enum":["up","down"]}', "type": "str", "isRequired": False},
        "far": {"description": 'JSON Schema: {"type":["integer","null"]}', "type": "str", "isRequired": False},
        "any": {"description": "", "type": "str", "isRequired": False},
    }


def test_of_tools_only_those_are_given_that_may_be_called() -> None:
    other = {"type": "function", "function": {"name": "hear"}}
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "hear"}}]}
    asked = chat(tools=[LOOK, other], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert [tool["name"] for tool in body(asked)["tools"]] == ["hear"]
    assert "tools" not in body(chat(tools=[LOOK, other], tool_choice="none"))


def test_fields_of_its_own_have_its_names() -> None:
    sent = body(chat(top_k=3, safety_mode="OFF", seed=7, stop="x", stream=True, max_completion_tokens=9, n=1))
    assert sent == {
        "apiFormat": "COHERE",
        "message": "Hi",
        "chatHistory": [],
        "topK": 3,
        "safetyMode": "OFF",
        "seed": 7,
        "stopSequences": ["x"],
        "maxTokens": 9,
        "isStream": True,
        "streamOptions": {"isIncludeUsage": True},
    }


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"tools": [LOOK], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [LOOK], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tools": [{"type": "custom"}]}, "tools[0].type"),
        ({"response_format": {"type": "regex"}}, "response_format"),
        ({"tools": [{"type": "function", "function": {"name": "x", "strict": True}}]}, "tools[0].function.strict"),
        ({"messages": [{"role": "user", "content": "Hi", "name": "me"}]}, "messages[0].name"),
        (
            {"messages": [{"role": "user", "content": "Hi", "mood": "bright"}]},
            "messages[0].mood",
        ),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "function", "content": "x"}, {"role": "user", "content": "x"}]}, "messages[0].role"),
    ],
)
def test_what_it_cannot_express_is_refused_by_name(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(UnsupportedParameter, match="'oci'") as refused:
        body(chat(**fields))
    assert refused.value.param == name
    if not name.startswith(("messages[0].content", "messages[0].role")):
        assert body(chat(**fields), drop_unsupported=True)["message"] == "Hi"


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
        [
            {"role": "user", "content": "x"},
            {
                "role": "assistant",
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "look", "arguments": "[1]"}}],
            },
            {"role": "tool", "tool_call_id": "a", "content": "y"},
        ],
    ],
)
def test_a_conversation_that_it_cannot_go_on_with_is_the_callers_fault(turns: list[Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        body(chat(messages=turns))
    assert refused.value.param == "messages"


def test_what_an_answer_had_may_come_back() -> None:
    answer = {"role": "assistant", "content": "x", "refusal": None, "reasoning_content": "hm", "annotations": []}
    turns = [{"role": "user", "content": "a"}, answer, {"role": "user", "content": "b"}]
    assert body(chat(messages=turns))["chatHistory"][1] == {"role": "CHATBOT", "message": "x"}


async def test_the_last_event_says_only_what_has_not_come() -> None:
    usage = {"promptTokens": 5, "completionTokens": 2, "totalTokens": 7}
    call = {"name": "look", "parameters": {"at": "sky"}}
    last = {"apiFormat": "COHERE", "chatHistory": [], "finishReason": "COMPLETE", "usage": usage}
    script: dict[str, Line] = {ASKED: Stream([{"text": "Bl"}, {"text": "ue."}, last | {"text": "Blue."}], done=False)}
    asked = chat(model="cohere.command-r-08-2024", stream=True, stream_options={"include_usage": True})
    async with scripted(script) as vendor, started(on_paper(vendor, api_key="k")) as provider:
        *chunks, counted = [each async for each in await provider.post_chat_completion(CALL, asked)]
        script[ASKED] = Stream([last | {"text": "Blue.", "toolCalls": [call]}], done=False)
        once = [each async for each in await provider.post_chat_completion(CALL, asked)]
        script[ASKED] = Stream([{"text": "Bl"}, {"code": "500", "message": "It ran out of memory."}], done=False)
        with pytest.raises(UpstreamError, match="ran out of memory"):
            [each async for each in await provider.post_chat_completion(CALL, asked)]
    assert "".join(each.choices[0].delta.content or "" for each in chunks) == "Blue."
    assert (chunks[-1].choices[0].finish_reason, counted.usage.total_tokens) == ("stop", 7)
    told = once[0].choices[0].delta
    assert (told.content, told.tool_calls[0].function.arguments) == ("Blue.", '{"at":"sky"}')
    assert once[-2].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("reason", "ours"), [("ERROR_TOXIC", "content_filter"), ("ERROR_LIMIT", "length"), ("COMPLETE", "COMPLETE")]
)
def test_why_an_answer_ended_is_oracles_word_where_the_dialect_knows_it(reason: str, ours: str) -> None:
    translation = Chatted(chat(), "x", {})
    whole = translation.whole({"chatResponse": {"text": "x", "finishReason": reason, "citations": [{"start": 0}]}})
    assert whole["choices"][0]["finish_reason"] == ours
    assert whole["citations"] == [{"start": 0}]


def test_each_of_coheres_models_is_asked_in_its_own_format() -> None:
    models = ("cohere.command-r-08-2024", "cohere.command-a-vision-07-2025", "meta.llama-3.3-70b", "cohere.embed-v4.0")
    assert [(is_cohere(model), serves(model)) for model in models] == [
        (True, False),
        (True, True),
        (False, False),
        (False, False),
    ]
