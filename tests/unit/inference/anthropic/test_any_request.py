"""Whatever a client sends: Anthropic is asked, or the client is told what is wrong."""

import json
from contextlib import suppress
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from apps.inference.providers.remote.anthropic.request import asked
from apps.inference.providers.unsupported import GeneratesConfig
from apps.inference.schemas import ChatCompletionRequest
from llamastack.errors import BadRequest
from tests.conversations import OBJECTS, PNG, VALUES
from tests.unit.inference.anthropic.saying import JSON, text, thought
from tests.unit.inference.anthropic.spoiling import spoilt

MARK = {"type": "ephemeral"}
SCHEMA: JSON = {"type": "object", "properties": {"city": {"type": "string"}, "there": {"anyOf": [{"items": {}}]}}}
FUNCTION: JSON = {"name": "look", "description": "Looks.", "parameters": SCHEMA, "strict": True, "input_examples": [{}]}
NAMED: JSON = {"type": "function", "function": {"name": "look"}}
SEARCH: JSON = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
PARTS: list[JSON] = [
    {"type": "text", "text": "See:", "cache_control": MARK},
    {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}},
    {"type": "file", "file": {"file_data": "data:text/plain;base64,QQ==", "filename": "a.txt"}, "context": "A"},
    {"type": "refusal", "refusal": "No."},
]
CALL: JSON = {"id": "a", "type": "function", "index": 0, "function": {"name": "look", "arguments": "{}"}}
MESSAGES: list[JSON] = [
    {"role": "system", "content": "Be brief.", "cache_control": MARK},
    {"role": "user", "content": PARTS},
    {"role": "assistant", "content": "A", "thinking_blocks": [thought("Hm.")], "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "a", "content": "20", "is_error": False, "name": "look"},
    {"role": "assistant", "content": "B", "extra_content": {"anthropic": {"content": [text("B"), dict(SEARCH)]}}},
    {"role": "user", "content": "Hi", "extra": None},
]
BODY: JSON = {
    "messages": MESSAGES,
    "tools": [{"type": "function", "function": FUNCTION, "cache_control": MARK}, SEARCH],
    "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED, {"type": "x"}]}},
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
    "stop": ["a"],
    "user": "u",
    "safety_identifier": "u",
    "service_tier": "auto",
    "thinking": {"type": "disabled"},
    "output_config": {},
    "modalities": ["text"],
    "stream_options": {"include_usage": True},
    "stream": True,
    "logit_bias": {},
    "top_k": 5,
}
BARE = {name: value for name, value in BODY.items() if name not in ("tools", "tool_choice", "thinking")}
MODELS = st.sampled_from(
    ("claude-3-haiku-20240307", "claude-sonnet-4-5", "claude-opus-4-8", "claude-opus-5-5", "other")
)
BYS = VALUES | OBJECTS | st.lists(OBJECTS, max_size=2)


@settings(max_examples=150)
@given(st.sampled_from((BODY, BARE)), MODELS, st.integers(0, 10_000), BYS, st.booleans())
def test_a_spoilt_request_is_asked_or_refused(body: JSON, model: str, where: int, by: Any, drops: bool) -> None:
    try:
        request = ChatCompletionRequest.model_validate(spoilt(body, where, by) | {"model": model})
    except ValidationError:
        assume(False)
    before = request.model_dump_json()
    with suppress(BadRequest):
        json.dumps(asked(request, "'claude'", GeneratesConfig(drop_unsupported=drops)).body)
    assert request.model_dump_json() == before
