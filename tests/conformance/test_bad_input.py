"""What is wrong with a request is a 400 that names the field, on the real server with the real model."""

from typing import Any

import httpx
import pytest

from tests.live import Live

pytestmark = [pytest.mark.local_model, pytest.mark.slow]

CHAT = "SmolLM2-135M-Instruct"
HELLO = [{"role": "user", "content": "Hello"}]
PIXEL = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "stocks"}}
ANSWERED = [
    {"role": "user", "content": "Hello"},
    {"role": "tool", "tool_call_id": "c1", "content": "Sunny"},
]


def schema(inner: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": inner}}


def deep(levels: int) -> dict[str, Any]:
    return {"not": deep(levels - 1)} if levels else {"type": "string"}


CHATS: dict[str, tuple[dict[str, Any], str]] = {
    "a schema that is none": ({"response_format": schema({"type": "banana"})}, "response_format"),
    "a schema without an end": ({"response_format": schema({"$ref": "#/nowhere"})}, "response_format"),
    "a schema that is too deep": ({"response_format": schema(deep(40))}, "response_format"),
    "a regex that is none": ({"structured_outputs": {"regex": "(["}}, "structured_outputs"),
    "a tool that was not given": ({"tools": [WEATHER], "tool_choice": OTHER}, "tool_choice"),
    "a choice of no tools": ({"tool_choice": "required"}, "tool_choice"),
    "an answer to no call": ({"messages": ANSWERED}, "messages"),
    "an image for a model that cannot see": ({"messages": PIXEL}, "messages"),
    "two megabytes of biases": ({"logit_bias": {str(token): 1 for token in range(200_000)}}, "logit_bias"),
    "a bias of a token that is none": ({"logit_bias": {"49999999": 1}}, "logit_bias"),
    "two limits": ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens"),
    "options of a stream for what is none": (
        {"stream_options": {"include_usage": True}, "stream": False},
        "stream_options",
    ),
    "likelihoods of nothing": ({"top_logprobs": 3, "logprobs": False}, "top_logprobs"),
    "two forms": ({"response_format": schema({}), "structured_outputs": {"regex": "a"}}, "structured_outputs"),
}


def refusal(server: Live, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = httpx.post(f"{server.url}{path}", json=body, timeout=60, trust_env=False)
    assert response.status_code == 400, response.text
    told: dict[str, Any] = response.json()["error"]
    return told


@pytest.mark.parametrize("what", CHATS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_with(starter: Live, what: str, stream: bool) -> None:
    fields, param = CHATS[what]
    body = {"model": CHAT, "messages": HELLO, "max_completion_tokens": 5, "stream": stream, **fields}
    assert (refusal(starter, "/v1/chat/completions", body)["param"] or "").startswith(param)


def test_a_regex_that_explodes_elsewhere_is_followed(starter: Live) -> None:
    body = {
        "model": CHAT,
        "messages": HELLO,
        "max_tokens": 5,
        "structured_outputs": {"regex": "((a{1,999}){1,999}){1,999}"},
    }
    reply = httpx.post(f"{starter.url}/v1/chat/completions", json=body, timeout=60, trust_env=False).json()
    assert set(reply["choices"][0]["message"]["content"]) == {"a"}


def test_a_prompt_over_the_context_is_told_both_numbers(starter: Live) -> None:
    told = refusal(starter, "/v1/completions", {"model": CHAT, "prompt": [7] * 5000})
    assert told["code"] == "context_length_exceeded"
    assert "5000" in told["message"]
    assert "4096" in told["message"]


def test_token_ids_that_the_model_does_not_have(starter: Live) -> None:
    assert refusal(starter, "/v1/completions", {"model": CHAT, "prompt": [1, 49_999_999]})["param"] == "prompt"
