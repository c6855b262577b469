"""A whole answer of the Messages API as a chat completion of OpenAI's.

What has no place at OpenAI is kept under names that its clients pass over: whoever continues the conversation sends
`thinking_blocks` and `extra_content` back, which conversation.py reads.
"""

import time
from typing import Any

import orjson

from apps.inference.dialect import JSON, AnswerFailed, Malformed
from apps.inference.dialect.answers import objects
from apps.inference.dialect.fields import count_at, objects_at, text_at, text_or_none

REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
TIERS = {"standard": "default"}
THINKING = ("thinking", "redacted_thinking")
OURS = (
    "text",
    "tool_use",
    *THINKING,
)  # what a message of OpenAI's says; any other block is of a tool of Anthropic's own


def completion(answer: JSON, model: str, answer_tool: str | None) -> JSON:
    """`answer_tool` is the name of the tool whose input is the answer."""
    message = _message(objects_at(answer, "content"), answer_tool)
    ended = end(answer, called="tool_calls" in message)
    if ended["finish_reason"] is None:
        raise Malformed("it has no 'stop_reason'")
    refusal = refusal_of(answer)
    choice = {"index": 0, "message": message | ({"refusal": refusal} if refusal else {}), "logprobs": None} | ended
    return head(answer, model) | {"object": "chat.completion", "choices": [choice]} | usage(answer.get("usage"))


def head(answer: JSON, model: str) -> JSON:
    known = {"id": answer["id"]} if isinstance(answer.get("id"), str) else {}
    container = {"container": answer["container"]} if answer.get("container") else {}
    return known | {"created": int(time.time()), "model": answer.get("model") or model} | container


def end(answer: JSON, *, called: bool) -> JSON:
    """Why an answer ended, in OpenAI's word and in Anthropic's.

    `called`: functions are called. A call of the tool whose input is the answer is none.
    """
    native = text_or_none(answer, "stop_reason")
    if native is None:
        return {"finish_reason": None}
    if native == "error":
        raise AnswerFailed(native)
    reason = REASONS.get(native, "stop")
    if reason == "tool_calls" and not called:
        reason = "stop"
    matched = {"stop_sequence": answer["stop_sequence"]} if answer.get("stop_sequence") else {}
    details = {"stop_details": answer["stop_details"]} if answer.get("stop_details") else {}
    return {"finish_reason": reason, "native_finish_reason": native} | matched | details


def refusal_of(answer: JSON) -> str | None:
    """Why Claude refuses, where it says so."""
    details = answer.get("stop_details")
    explanation = details.get("explanation") if isinstance(details, dict) else None
    return explanation if isinstance(explanation, str) and explanation else None


def usage(counted: Any) -> JSON:
    """Anthropic counts the tokens of a prompt that a cache held, or took, apart from the others."""
    if not isinstance(counted, dict) or not isinstance(counted.get("output_tokens"), int):
        return {}
    read, made = count_at(counted, "cache_read_input_tokens"), count_at(counted, "cache_creation_input_tokens")
    prompt, said = count_at(counted, "input_tokens") + read + made, counted["output_tokens"]
    told: JSON = {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}
    told["prompt_tokens_details"] = {"cached_tokens": read} | ({"cache_creation_tokens": made} if made else {})
    details = counted.get("output_tokens_details")
    if isinstance(details, dict) and isinstance(details.get("thinking_tokens"), int):
        told["completion_tokens_details"] = {"reasoning_tokens": details["thinking_tokens"]}
    if counted.get("server_tool_use"):
        told["server_tool_use"] = counted["server_tool_use"]
    tier = counted.get("service_tier")
    return {"usage": told} | ({"service_tier": TIERS.get(tier, tier)} if isinstance(tier, str) else {})


def thinking(block: JSON) -> JSON:
    """A block of thoughts as it has to come back."""
    names = ("thinking", "signature") if block["type"] == "thinking" else ("data",)
    return {"type": block["type"]} | {name: text_in(block, name) for name in names}


def call(block: JSON) -> JSON:
    function = {"name": text_at(block, "name"), "arguments": arguments(block)}
    return {"id": text_at(block, "id"), "type": "function", "function": function}


def arguments(block: JSON) -> str:
    """The input of a call as text."""
    try:
        return orjson.dumps(block.get("input") or {}).decode()
    except orjson.JSONEncodeError as error:  # a depth that JSON of this library has no room for
        raise Malformed("the input of a call cannot be written as text") from error


def text_in(block: JSON, name: str) -> str:
    """Of what may be missing."""
    return text_or_none(block, name) or ""


def annotation(citation: JSON, start: int, end: int) -> JSON | None:
    """A citation of a page of the web as OpenAI has it: `start` and `end` of the text that rests on it."""
    if not isinstance(citation.get("url"), str):
        return None
    cited = {"url": citation["url"], "title": citation.get("title") or "", "start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": cited}


def _message(content: list[JSON], answer_tool: str | None) -> JSON:
    said, thoughts, blocks, calls = [], [], [], []
    cited: list[JSON] = []
    annotations: list[JSON] = []
    length, verbatim = 0, False
    for block in content:
        kind = block.get("type")
        if kind == "text":
            words = text_at(block, "text")
            for citation in objects(block.get("citations")):
                cited.append(citation)
                if (known := annotation(citation, length, length + len(words))) is not None:
                    annotations.append(known)
            said.append(words)
            length += len(words)
        elif kind == "tool_use" and answer_tool is not None and block.get("name") == answer_tool:
            said.append(arguments(block))
        elif kind == "tool_use":
            calls.append(call(block))
        elif kind in THINKING:
            blocks.append(thinking(block))
            thoughts.append(text_in(block, "thinking"))
        else:
            verbatim = True
    message: JSON = {"role": "assistant", "content": "".join(said) if said or not calls else None, "refusal": None}
    if reasoning := "".join(thoughts):
        message["reasoning_content"] = reasoning
    added = {"thinking_blocks": blocks, "tool_calls": calls, "annotations": annotations, "citations": cited}
    message |= {name: value for name, value in added.items() if value}
    if verbatim:
        message["extra_content"] = {"anthropic": {"content": content}}
    return message
