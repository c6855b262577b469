"""Messages of OpenAI's as the system prompt and the turns of Anthropic's."""

import json
from typing import Any

import pytest

from llamastack.errors import BadRequest, UnsupportedParameter
from tests.unit.inference.anthropic.asking import HI, JSON, body, turns
from tests.unit.inference.anthropic.saying import text, thought, use

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
MARK = {"type": "ephemeral", "ttl": "1h"}


def call(identifier: str, arguments: str = "{}", **more: Any) -> JSON:
    return {"id": identifier, "type": "function", "function": {"name": "look", "arguments": arguments}, **more}


def assistant(content: Any = None, **fields: Any) -> JSON:
    return {"role": "assistant", "content": content, **fields}


def result(identifier: str, content: Any = "20", **fields: Any) -> JSON:
    return {"role": "tool", "tool_call_id": identifier, "content": content, **fields}


def user(*content: JSON) -> JSON:
    return {"role": "user", "content": list(content)}


def answer(identifier: str, words: str = "20", **more: Any) -> JSON:
    return {"type": "tool_result", "tool_use_id": identifier, "content": [text(words)], **more}


def test_system_and_developer_are_the_system_prompt_wherever_they_stand() -> None:
    made = body(
        {"role": "system", "content": "Be brief."},
        HI,
        assistant("Yes?"),
        {"role": "developer", "content": "Be kind."},
        HI,
    )
    assert made["system"] == [text("Be brief."), text("Be kind.")]
    assert [turn["role"] for turn in made["messages"]] == ["user", "assistant", "user"]


def test_neighbours_of_one_role_become_one_turn() -> None:
    assert turns(HI, HI, assistant("A"), assistant("B"), HI) == [
        user(text("Hi"), text("Hi")),
        {"role": "assistant", "content": [text("A"), text("B")]},
        user(text("Hi")),
    ]


def test_what_says_nothing_is_left_out() -> None:
    empty = [{"type": "text", "text": " \n"}, {"type": "text", "text": ""}]
    said = [HI, assistant(""), {"role": "user", "content": empty}, {"role": "system", "content": ""}]
    made = body(*said)
    assert made["messages"] == [user(text("Hi"))]
    assert "system" not in made


@pytest.mark.parametrize("messages", [[{"role": "system", "content": "Be brief."}], [{"role": "user", "content": " "}]])
def test_a_conversation_in_which_nobody_says_anything_is_refused(messages: list[JSON]) -> None:
    with pytest.raises(BadRequest, match="asks for a message of the user") as caught:
        body(*messages)
    assert caught.value.param == "messages"


def test_results_of_several_calls_are_one_turn_that_the_user_goes_on_with() -> None:
    calls = assistant("Let me see.", tool_calls=[call("a", '{"city": "Paris"}'), call("b", "")])
    assert turns(HI, calls, result("a"), HI, result("b", "30"), tools=[TOOL])[1:] == [
        {"role": "assistant", "content": [text("Let me see."), use("look", "a", city="Paris"), use("look", "b")]},
        user(answer("a"), answer("b", "30"), text("Hi")),
    ]


def test_a_result_may_be_an_image_nothing_or_an_error() -> None:
    png = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    calls = assistant(tool_calls=[call("a"), call("b"), call("c")])
    made = turns(HI, calls, result("a", png), result("b", ""), result("c", is_error=True), tools=[TOOL])
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    assert made[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": [image]},
        {"type": "tool_result", "tool_use_id": "b"},
        answer("c", is_error=True),
    ]


def test_an_id_that_anthropic_does_not_allow_gets_another_on_both_sides() -> None:
    made = turns(
        HI, assistant(tool_calls=[call("a.b:0"), call("a:b.0")]), result("a.b:0"), result("a:b.0"), tools=[TOOL]
    )
    called = [block["id"] for block in made[1]["content"]]
    assert called == [block["tool_use_id"] for block in made[2]["content"]]
    assert len(set(called)) == 2


@pytest.mark.parametrize("arguments", ["{", "[1]", "7", '"x"', "null"])
def test_arguments_that_are_no_object_are_refused_by_name(arguments: str) -> None:
    with pytest.raises(BadRequest, match="not the JSON of an object") as caught:
        body(HI, assistant(tool_calls=[call("a", arguments)]), result("a"), tools=[TOOL])
    assert caught.value.param == "messages[1].tool_calls[0].function.arguments"


def test_thoughts_go_back_before_what_was_said() -> None:
    blocks = [thought("Hm."), {"type": "redacted_thinking", "data": "c2VjcmV0"}]
    said = assistant("Look.", thinking_blocks=blocks, reasoning_content="Hm.", tool_calls=[call("a")])
    made = turns(HI, said, result("a"), tools=[TOOL])
    assert made[1]["content"] == [*blocks, text("Look."), use("look", "a")]


def test_reasoning_without_a_signature_stays_here() -> None:
    assert turns(HI, assistant("A", reasoning_content="Hm.", thinking_blocks=[]), HI)[1]["content"] == [text("A")]


@pytest.mark.parametrize(
    "blocks",
    ["Hm.", [7], [{"type": "thinking", "thinking": "Hm."}], [{"type": "text", "text": "Hm."}], [{"type": 7}]],
)
def test_thoughts_that_no_answer_came_with_are_refused(blocks: Any) -> None:
    with pytest.raises(BadRequest, match=r"'messages\[1\]\.thinking_blocks'") as caught:
        body(HI, assistant("A", thinking_blocks=blocks), HI)
    assert caught.value.param == "messages[1].thinking_blocks"


def test_an_answer_with_anthropics_own_tools_goes_back_block_by_block() -> None:
    content = [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "sky"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        text("Blue."),
    ]
    said = assistant("Blue.", extra_content={"anthropic": {"content": content}})
    assert turns(HI, said, HI)[1]["content"] == content


@pytest.mark.parametrize("content", [None, "Blue.", [7]])
def test_blocks_that_are_none_are_refused(content: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        body(HI, assistant("A", extra_content={"anthropic": {"content": content}}), HI)
    assert caught.value.param == "messages[1].extra_content.anthropic.content"


def test_what_another_vendor_says_of_its_answer_is_for_that_vendor() -> None:
    signed = call("a", extra_content={"google": {"thought_signature": "x"}}, index=0)
    said = assistant("A", extra_content={"google": {}}, tool_calls=[signed])
    assert turns(HI, said, result("a"), tools=[TOOL])[1]["content"] == [text("A"), use("look", "a")]


def test_a_refusal_is_what_the_assistant_said() -> None:
    parts = [{"type": "refusal", "refusal": "No."}]
    assert turns(HI, assistant(parts), HI)[1]["content"] == [text("No.")]
    assert turns(HI, assistant(refusal="No."), HI)[1]["content"] == [text("No.")]


def test_marks_for_the_cache_stand_where_they_were_set() -> None:
    part = {"type": "text", "text": "Long", "cache_control": MARK}
    called = call("a", cache_control=MARK)
    made = body(
        {"role": "system", "content": [part]},
        {"role": "user", "content": "Hi", "cache_control": MARK},
        assistant("A", tool_calls=[called]),
        result("a", cache_control=MARK),
        tools=[TOOL],
        cache_control=MARK,
    )
    marked = {"cache_control": MARK}
    assert made["system"] == [text("Long") | marked]
    assert made["messages"] == [
        user(text("Hi") | marked),
        {"role": "assistant", "content": [text("A"), use("look", "a") | marked]},
        user(answer("a") | marked),
    ]
    assert made["cache_control"] == MARK


LACKING: list[tuple[list[JSON], str]] = [
    ([HI | {"name": "Ada"}], "messages[0].name"),
    ([HI | {"weight": 1}], "messages[0].weight"),
    ([HI, {"role": "function", "name": "look", "content": "20"}, HI], "messages[1].role"),
    ([HI, assistant(audio={"id": "audio_1"}), HI], "messages[1].audio"),
    ([HI, assistant(tool_calls=[{"id": "a", "type": "custom", "custom": {}}]), HI], "messages[1].tool_calls[0].type"),
    ([HI, assistant(tool_calls=[call("a", odd=1)]), result("a")], "messages[1].tool_calls[0].odd"),
    (
        [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]}, HI],
        "messages[0].content",
    ),
]


@pytest.mark.parametrize(("messages", "name"), LACKING, ids=[name for _, name in LACKING])
def test_what_a_message_cannot_say_is_refused_by_name(messages: list[JSON], name: str) -> None:
    with pytest.raises(UnsupportedParameter, match="'claude' does not support") as caught:
        body(*messages)
    assert caught.value.param == name


def test_what_asks_for_nothing_is_no_reason_to_refuse() -> None:
    echoed = assistant("A", audio=None, annotations=[], function_call=None, refusal=None, tool_calls=None)
    assert turns(HI, echoed, HI)[1]["content"] == [text("A")]
    named = result("a", name="look")
    assert turns(HI, assistant(tool_calls=[call("a")]), named, tools=[TOOL])[2]["content"] == [answer("a")]


def test_a_request_is_not_changed_by_its_translation() -> None:
    given = [HI, assistant("A", thinking_blocks=[thought("Hm.")], tool_calls=[call("a")]), result("a")]
    before = json.dumps(given)
    body(*given, tools=[TOOL])
    assert json.dumps(given) == before
