"""Tools in a request to POST /v1/chat/completions: what every provider gets, and what none gets to see."""

import json
from typing import Any

import httpx
import pytest

from apps.registry.models import Provider
from tests.upstream import Upstream

URL = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "d", "parameters": SCHEMA}}
NOW = {"type": "function", "function": {"name": "now"}}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}


def tool(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f"} | fields}


async def asked(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    return await client.post(URL, json={"model": "sky/sky-1", "messages": HELLO, **fields})


@pytest.mark.parametrize(
    "choice",
    [
        "none",
        "auto",
        "required",
        NAMED,
        ALLOWED,
        {"type": "custom", "custom": {"name": "vendors"}},
    ],
)
async def test_tools_reach_the_vendor_as_the_client_wrote_them(
    client: httpx.AsyncClient, sky: Provider, upstream: Upstream, choice: Any
) -> None:
    others = {"type": "custom", "custom": {"name": "vendors", "format": {"type": "text"}}}
    strict = tool(strict=True, parameters={}, cache_control={"type": "ephemeral"})
    sent = {
        "messages": [
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": [CALL | {"extra_content": {"signature": "s"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "12 degrees"},
        ],
        "tools": [WEATHER, NOW, others, strict],
        "tool_choice": choice,
        "parallel_tool_calls": False,
        "reasoning_effort": "xhigh",
        "functions": [],
    }
    response = await asked(client, **sent)
    assert response.status_code == 200, response.text
    assert upstream.requests[-1] == {"model": "sky-1", **sent}


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"tool_choice": "required"}, "tool_choice", "no tools are given"),
        ({"tools": [], "tool_choice": NAMED}, "tool_choice", "no tools are given"),
        ({"tools": [NOW], "tool_choice": NAMED}, "tool_choice", "'get_weather', which is not given"),
        (
            {"tools": [NOW], "tool_choice": ALLOWED},
            "tool_choice",
            "'get_weather', which is not given",
        ),
        ({"tools": [NOW], "tool_choice": "perhaps"}, "tool_choice", "'required'"),
        ({"tools": [NOW], "tool_choice": {"type": "function"}}, "tool_choice.function", "required"),
        ({"tools": [NOW, NOW]}, "tools", "two tools are called 'now'"),
        ({"tools": [tool(name="")]}, "tools[0].function.name", "pattern"),
        ({"tools": [tool(name="a b")]}, "tools[0].function.name", "pattern"),
        ({"tools": [tool(name="x" * 65)]}, "tools[0].function.name", "pattern"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "required"),
        ({"tools": ["now"]}, "tools[0]", "tag"),
        ({"tools": [{"type": 5}]}, "tools[0]", "tag"),
        ({"tools": [tool(parameters=[])]}, "tools[0].function.parameters", "dictionary"),
        ({"tools": [tool(parameters={"type": "string"})]}, "tools[0].function.parameters", "type 'object'"),
        ({"tools": [tool(parameters={"properties": {"a": 1}})]}, "tools[0].function.parameters", "'properties'"),
        ({"tools": [tool(parameters={"required": "a"})]}, "tools[0].function.parameters", "'required'"),
        ({"tools": [tool(name=f"f{n}") for n in range(129)]}, "tools", "128"),
    ],
)  # fmt: skip
async def test_a_wrong_tool_is_refused_by_its_place(
    client: httpx.AsyncClient, sky: Provider, fields: Any, param: str, said: str
) -> None:
    response = await asked(client, **fields)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param), error
    assert said in error["message"]


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "tool", "content": "12", "tool_call_id": "call_1"}],
        [{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "12", "tool_call_id": "call_2"}],
        [{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "12"}],
        [{"role": "tool", "content": "12", "tool_call_id": "call_1"}, {"role": "assistant", "tool_calls": [CALL]}],
    ],
)
async def test_a_result_that_answers_no_earlier_call_is_refused(
    client: httpx.AsyncClient, sky: Provider, messages: Any
) -> None:
    response = await asked(client, messages=[*HELLO, *messages])
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "messages")
    assert "no earlier tool call's" in error["message"]


async def test_a_call_without_its_arguments_is_refused(client: httpx.AsyncClient, sky: Provider) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "now"}}
    response = await asked(client, messages=[*HELLO, {"role": "assistant", "tool_calls": [call]}])
    assert response.json()["error"]["param"] == "messages[1].tool_calls[0].function.arguments"


async def test_a_vendors_calls_reach_the_client_with_all_it_says_of_them(
    client: httpx.AsyncClient, sky: Provider
) -> None:
    choice = (await asked(client, tools=[WEATHER])).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [CALL | {"index": 0, "extra_content": {"signature": "s"}}]


async def test_a_vendors_calls_are_streamed_as_they_come(client: httpx.AsyncClient, sky: Provider) -> None:
    response = await asked(client, tools=[WEATHER], stream=True)
    lines = [line.removeprefix("data: ") for line in response.text.split("\n") if line.startswith("data: {")]
    choices = [json.loads(line)["choices"][0] for line in lines]
    deltas = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]
    function = {"name": "get_weather", "arguments": ""}
    first = {"index": 0, "id": "call_1", "type": "function", "extra_content": {"signature": "s"}}
    assert deltas[0] == first | {"function": function}
    assert [delta["function"] for delta in deltas[1:]] == [{"arguments": '{"cit'}, {"arguments": 'y": "Paris"}'}]
    assert choices[-1]["finish_reason"] == "tool_calls"


async def test_a_result_is_answered(client: httpx.AsyncClient, sky: Provider) -> None:
    turns = [{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "call_1", "content": "blue"}]
    choice = (await asked(client, tools=[WEATHER], messages=[*HELLO, *turns])).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("The sky is blue.", "stop")
    assert choice["message"]["reasoning_content"] == "I looked up."
