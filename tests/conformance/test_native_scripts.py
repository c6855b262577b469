"""The scripted servers of native dialects, as the vendors' own clients read them: what checks our providers is checked
by what is not ours.
"""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from tests.conformance.vendors import ANTHROPIC
from tests.conformance.vendors.script import ARGUMENTS, RETRY_AFTER, SAID, THOUGHT, Script, scripted
from tests.conformance.vendors.vendor import KEY, USAGE

ASKED: Any = {"max_tokens": 4096, "messages": [{"role": "user", "content": "What colour is the sky?"}]}
WEATHER: Any = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    async with scripted(ANTHROPIC) as running:
        yield running


@pytest.fixture
async def claude(script: Script) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=script.url, api_key=KEY, max_retries=0) as client:
        yield client


async def test_anthropics_client_reads_a_whole_message(claude: anthropic.AsyncAnthropic) -> None:
    message = await claude.messages.create(model="claude-sonnet-4-5-sky", **ASKED)
    assert (message.content[0].to_dict(), message.stop_reason) == ({"type": "text", "text": SAID}, "end_turn")
    read = (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens)
    assert read == (3, 2, USAGE["completion_tokens"])


async def test_anthropics_client_adds_a_stream_up_to_the_message(claude: anthropic.AsyncAnthropic) -> None:
    async with claude.messages.stream(
        model="claude-sonnet-4-5-sky", **ASKED, tools=[WEATHER, WEATHER | {"name": "b"}]
    ) as stream:
        message = await stream.get_final_message()
    assert message.stop_reason == "tool_use"
    called = [block for block in message.content if block.type == "tool_use"]
    assert [(block.name, block.input) for block in called] == [
        ("get_weather", {"city": "Paris"}),
        ("b", {"city": "Paris"}),
    ]


async def test_anthropics_client_reads_thoughts(claude: anthropic.AsyncAnthropic) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    async with claude.messages.stream(model="claude-sonnet-4-5-sky", **ASKED, thinking=thinking) as stream:
        message = await stream.get_final_message()
    first, second = message.content
    assert (first.to_dict(), second.to_dict()) == (
        {"type": "thinking", "thinking": THOUGHT, "signature": "c2lnbmVk"},
        {"type": "text", "text": SAID},
    )


async def test_what_anthropics_client_asks_is_read_as_it_is_meant(
    claude: anthropic.AsyncAnthropic, script: Script
) -> None:
    use: Any = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}
    result: Any = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "20"}]}
    said = [*ASKED["messages"], {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    await claude.messages.create(
        model="claude-sonnet-4-5-sky",
        max_tokens=64,
        system=[{"type": "text", "text": "Be brief."}],
        messages=said,
        tools=[WEATHER],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        stop_sequences=["."],
    )
    call = {"id": "toolu_1", "type": "function", "function": {"name": "get_weather", "arguments": ARGUMENTS}}
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    assert script.sent == {
        "model": "claude-sonnet-4-5-sky",
        "max_tokens": 64,
        "messages": [
            {"role": "system", "content": "Be brief."},
            *ASKED["messages"],
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "20"},
        ],
        "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "stop": ["."],
    }


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("claude-sonnet-4-5-unknown", anthropic.NotFoundError),
        ("claude-sonnet-4-5-busy", anthropic.RateLimitError),
        ("claude-sonnet-4-5-failing", anthropic.InternalServerError),
    ],
)
async def test_anthropics_client_reads_the_errors(
    claude: anthropic.AsyncAnthropic, model: str, kind: type[anthropic.APIStatusError]
) -> None:
    with pytest.raises(kind) as caught:
        await claude.messages.create(model=model, **ASKED)
    assert caught.value.response.headers.get("Retry-After") == (
        RETRY_AFTER if model == "claude-sonnet-4-5-busy" else None
    )


async def test_anthropics_client_reads_an_error_in_a_stream(claude: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.APIStatusError, match="It ran out of memory"):
        async with claude.messages.stream(model="claude-sonnet-4-5-broken", **ASKED) as stream:
            await stream.get_final_message()


async def test_a_field_that_anthropic_does_not_know_is_refused(claude: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="logprobs"):
        await claude.messages.create(model="claude-sonnet-4-5-sky", **ASKED, extra_body={"logprobs": True})
