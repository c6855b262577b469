"""Tools in a request to POST /v1/chat/completions: what every provider gets, and what none gets to see."""

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
        ({"tools": [tool(name="")]}, "tools.0.function.name", "pattern"),
        ({"tools": [tool(name="a b")]}, "tools.0.function.name", "pattern"),
        ({"tools": [tool(name="x" * 65)]}, "tools.0.function.name", "pattern"),
        ({"tools": [{"type": "function"}]}, "tools.0.function", "required"),
        ({"tools": ["now"]}, "tools.0", "tag"),
        ({"tools": [{"type": 5}]}, "tools.0", "tag"),
        ({"tools": [tool(parameters=[])]}, "tools.0.function.parameters", "dictionary"),
        ({"tools": [tool(parameters={"type": "string"})]}, "tools.0.function.parameters", "type 'object'"),
        ({"tools": [tool(parameters={"properties": {"a": 1}})]}, "tools.0.function.parameters", "'properties'"),
        ({"tools": [tool(parameters={"required": "a"})]}, "tools.0.function.parameters", "'required'"),
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
    assert response.json()["error"]["param"] == "messages.1.tool_calls.0.function.arguments"
