"""Tools with the openai package, against the real server and a real model."""

import json
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field, SecretStr

from tests.sdk.conftest import CHAT
from tests.servers import Server

pytestmark = pytest.mark.local_model
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
}
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Current weather of a city", "parameters": SCHEMA},
}
NOW = {"type": "function", "function": {"name": "now", "description": "What time it is"}}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
QUESTION = [{"role": "user", "content": "What's the weather in Paris?"}]


def check(arguments: str) -> None:
    given = json.loads(arguments)
    assert isinstance(given.pop("city"), str)
    assert given in ({"unit": "celsius"}, {"unit": "fahrenheit"})


def test_a_call_its_result_and_the_answer(client: openai.OpenAI) -> None:
    given: dict[str, Any] = {"model": CHAT, "tools": [WEATHER, NOW], "temperature": 0, "max_tokens": 100}
    first = client.chat.completions.create(**given, messages=QUESTION, tool_choice=NAMED).choices[0]
    assert first.finish_reason == "tool_calls"
    assert first.message.content is None
    [call] = first.message.tool_calls
    assert call.function.name == "get_weather"
    check(call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": "Rain, 12 degrees"}
    asked = [*QUESTION, first.message, result]
    last = client.chat.completions.create(**given, messages=asked, tool_choice="none").choices[0]
    assert last.message.content
    assert (last.finish_reason, last.message.tool_calls) == ("stop", None)


def test_a_stream_brings_the_name_and_then_the_arguments_in_pieces(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=CHAT, messages=QUESTION, tools=[WEATHER], tool_choice=NAMED, temperature=0, stream=True
    )
    choices = [chunk.choices[0] for chunk in stream]
    first, *rest = [call for choice in choices for call in choice.delta.tool_calls or ()]
    assert (first.index, first.type, first.function.name) == (0, "function", "get_weather")
    assert len(rest) > 3
    check("".join(call.function.arguments for call in rest))
    assert choices[-1].finish_reason == "tool_calls"


def test_whatever_is_drawn_a_required_call_is_right(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model=CHAT, messages=QUESTION, tools=[WEATHER, NOW], tool_choice="required", parallel_tool_calls=False,
        temperature=1.5, seed=1, n=3, max_tokens=120,
    )  # fmt: skip
    for choice in reply.choices:
        [call] = choice.message.tool_calls
        assert choice.finish_reason == "tool_calls"
        if call.function.name == "get_weather":
            check(call.function.arguments)
        else:
            assert (call.function.name, json.loads(call.function.arguments)) == ("now", {})


def test_a_schema_that_cannot_be_followed_is_refused(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    with pytest.raises(openai.BadRequestError, match="cannot be followed") as caught:
        client.chat.completions.create(model=CHAT, messages=QUESTION, tools=[tool], tool_choice="required")
    assert caught.value.param == "tools"


def test_langchain_binds_a_tool_and_reads_its_call(server: Server) -> None:
    class Weather(BaseModel):
        """Current weather of a city"""

        city: str = Field(max_length=20)

    chat = ChatOpenAI(model=CHAT, base_url=f"{server.url}/v1", api_key=SecretStr("any"), temperature=0, max_retries=0)
    message = chat.bind_tools([Weather], tool_choice="Weather").invoke("What's the weather in Paris?")
    [call] = message.tool_calls
    assert call["name"] == "Weather"
    assert Weather.model_validate(call["args"]).city
