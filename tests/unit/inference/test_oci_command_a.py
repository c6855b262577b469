"""Chats with Cohere's Command A models on OCI, in Oracle's format COHEREV2."""

import json
from typing import Any

import pytest

from apps.inference.providers.remote.oci.command_a import chat_request
from apps.inference.providers.unsupported import GeneratesConfig
from llamastack.errors import BadRequest, UnsupportedParameter, UpstreamError
from tests.unit.inference.scripted import CALL, Line, Stream, chat, heard, scripted, started
from tests.unit.inference.test_oci import HOST, on_paper

MODEL, VISION, REASONING = "cohere.command-a-03-2025", "cohere.command-a-vision-07-2025", "cohere.command-a-reasoning"
ASKED = f"POST {HOST}/20231130/actions/chat"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}
LOOK: dict[str, Any] = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
FIND: dict[str, Any] = {"type": "function", "function": {"name": "find", "strict": True}}
MADE = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":"sky"}'}}
USAGE = {"promptTokens": 5, "completionTokens": 2, "totalTokens": 7}


def body(config: GeneratesConfig | None = None, **fields: Any) -> dict[str, Any]:
    return chat_request(chat(**{"model": MODEL} | fields), config or GeneratesConfig(), "Provider 'oci'")


def refused(**fields: Any) -> str | None:
    with pytest.raises(BadRequest) as caught:
        body(**fields)
    return caught.value.param


def test_a_conversation_keeps_its_turns_and_ids() -> None:
    turns = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Look."}]},
        {"role": "assistant", "content": "I look.", "tool_calls": [MADE], "reasoning_content": "Hm."},
        {"role": "tool", "tool_call_id": "c1", "content": "Blue."},
        {"role": "assistant", "content": None, "refusal": "No."},
    ]
    asked = body(messages=turns, max_tokens=7, stop="x", temperature=0.5, top_k=3, user="me")
    assert asked == {
        "apiFormat": "COHEREV2",
        "messages": [
            {"role": "SYSTEM", "content": [{"type": "TEXT", "text": "Be brief."}]},
            {"role": "USER", "content": [{"type": "TEXT", "text": "Look."}]},
            {"role": "ASSISTANT", "toolCalls": [MADE | {"type": "FUNCTION"}], "toolPlan": "I look."},
            {"role": "TOOL", "content": [{"type": "TEXT", "text": "Blue."}], "toolCallId": "c1"},
            {"role": "ASSISTANT", "content": [{"type": "TEXT", "text": "No."}]},
        ],
        "maxTokens": 7,
        "stopSequences": ["x"],
        "temperature": 0.5,
        "topK": 3,
    }


def test_images_are_for_models_that_see() -> None:
    messages = [{"role": "user", "content": [IMAGE]}]
    image = {"type": "IMAGE_URL", "imageUrl": {"url": "data:image/png;base64,AA==", "detail": "LOW"}}
    assert body(model=VISION, messages=messages)["messages"] == [{"role": "USER", "content": [image]}]
    assert refused(messages=messages) == "messages[0].content[0]"


@pytest.mark.parametrize(
    ("choice", "names", "told"),
    [
        (None, ["look", "find"], None),
        ("auto", ["look", "find"], None),
        ("none", ["look", "find"], "NONE"),
        ("required", ["look", "find"], "REQUIRED"),
        ({"type": "function", "function": {"name": "look"}}, ["look"], "REQUIRED"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [LOOK]}}, ["look"], None),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [LOOK]}}, ["look"], "REQUIRED"),
    ],
)
def test_a_choice_among_tools_leaves_the_others_out(choice: Any, names: list[str], told: str | None) -> None:
    made = body(tools=[LOOK, FIND], tool_choice=choice)
    assert [tool["function"]["name"] for tool in made["tools"]] == names
    assert (made.get("toolsChoice"), made.get("isStrictToolsEnabled")) == (told, True if "find" in names else None)


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [(REASONING, "none", "DISABLED"), (REASONING, "high", "ENABLED"), (MODEL, "none", None), (MODEL, None, None)],
)
def test_how_much_to_think(model: str, effort: str | None, thinking: str | None) -> None:
    assert body(model=model, reasoning_effort=effort).get("thinking", {}).get("type") == thinking


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"model": REASONING, "reasoning_effort": "low"}, "reasoning_effort"),
        ({"logprobs": True}, "logprobs"),
        ({"tools": [{"type": "custom"}]}, "tools[0].type"),
        ({"tools": [LOOK], "tool_choice": {"type": "custom"}}, "tool_choice"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "x", "mood": "bright"}]}, "messages[0].mood"),
    ],
)
def test_what_it_cannot_express_is_refused_by_name(fields: dict[str, Any], name: str) -> None:
    assert refused(**fields) == name
    with pytest.raises(UnsupportedParameter, match="'oci'"):
        body(**fields)


def event(**message: Any) -> dict[str, Any]:
    return {"apiFormat": "COHEREV2", "message": {"role": "ASSISTANT", **message}}


def words(text: str) -> dict[str, Any]:
    return {"content": [{"type": "TEXT", "text": text}]}


def called(arguments: str, **fields: Any) -> dict[str, Any]:
    return {"toolCalls": [{"type": "FUNCTION", "function": {"arguments": arguments}} | fields]}


LAST = {"finishReason": "COMPLETE", "usage": USAGE}
BEGUN = {"name": "look", "arguments": '{"at"'}
WHOLE = {"id": "c1", "function": {"name": "look", "arguments": '{"at":"sky"}'}}


@pytest.mark.parametrize("last", [LAST, event(**words("Blue.")) | LAST, event(**words(".")) | LAST])
async def test_the_last_event_may_say_the_rest_or_everything_or_nothing(last: dict[str, Any]) -> None:
    ends_itself = last.get("message", {}).get("content") == words(".")["content"]
    parts = [event(**words("Bl")), event(**words("ue" if ends_itself else "ue."))]
    script: dict[str, Line] = {ASKED: Stream([*parts, last], done=False)}
    async with scripted(script) as vendor, started(on_paper(vendor, api_key="k")) as provider:
        assert await heard(await provider.post_chat_completion(CALL, chat(model=MODEL, stream=True))) == "Blue."


@pytest.mark.parametrize(
    "events",
    [
        [event(**called("", **WHOLE)), LAST],
        [event(**called("", **WHOLE)), event(**called("", **WHOLE)) | LAST],
        [
            event(**called("", id="c1", function={"name": "look", "arguments": '{"at"'})),
            event(**called(':"sky"}')),
            LAST,
        ],
        [event(**called("", **WHOLE | {"function": {"name": "look", "arguments": {"at": "sky"}}})), LAST],
        [event(**called("", **WHOLE)) | LAST],
    ],
)
async def test_calls_come_whole_or_in_pieces(events: list[dict[str, Any]]) -> None:
    script: dict[str, Line] = {ASKED: Stream([event(toolPlan="I look."), *events], done=False)}
    async with scripted(script) as vendor, started(on_paper(vendor, api_key="k")) as provider:
        chunks = [each async for each in await provider.post_chat_completion(CALL, chat(model=MODEL, stream=True))]
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    assert "".join(delta.content or "" for delta in deltas) == "I look."
    assert (calls[0].id, calls[0].function.name, {call.index for call in calls}) == ("c1", "look", {0})
    assert json.loads("".join(call.function.arguments or "" for call in calls)) == {"at": "sky"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_a_stream_that_failed_says_why() -> None:
    failed = {"finishReason": "ERROR", "errorMessage": "It ran out of memory."}
    script: dict[str, Line] = {ASKED: Stream([event(**words("Bl")), failed], done=False)}
    async with scripted(script) as vendor, started(on_paper(vendor, api_key="k")) as provider:
        with pytest.raises(UpstreamError, match="ran out of memory"):
            await heard(await provider.post_chat_completion(CALL, chat(model=MODEL, stream=True)))


async def test_an_answer_is_read_with_what_was_thought_and_cited() -> None:
    message = event(content=[{"type": "THINKING", "thinking": "Hm."}, {"type": "TEXT", "text": "Blue."}])["message"]
    said = {"message": message | {"citations": [{"start": 0}]}, "finishReason": "STOP_SEQUENCE", "usage": USAGE}
    script: dict[str, Line] = {ASKED: {"modelId": MODEL, "chatResponse": said}}
    async with scripted(script) as vendor, started(on_paper(vendor, api_key="k")) as provider:
        reply = await provider.post_chat_completion(CALL, chat(model=MODEL))
    told = reply.choices[0].message
    assert (told.content, told.reasoning_content, told.model_extra["citations"]) == ("Blue.", "Hm.", [{"start": 0}])
    assert (reply.choices[0].finish_reason, reply.usage.total_tokens) == ("stop", 7)
