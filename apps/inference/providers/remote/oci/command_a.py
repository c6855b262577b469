"""Chats with Cohere's Command A models on OCI: the format COHEREV2 of /20231130/actions/chat.

Format: Oracle's own package (oci.generative_ai_inference.models: CohereChatRequestV2, CohereChatResponseV2), and of
streams Cohere's own client, https://github.com/cohere-ai/cohere-python (oci_client.py), which passes text and thoughts
on. How a stream brings calls is written nowhere: here they may come whole or in pieces, and once more at the end.
Of thinking: https://docs.cohere.com/docs/compatibility-api (`reasoning_effort`).
"""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from apps.inference.dialect import AnswerFailed
from apps.inference.dialect.answers import objects
from apps.inference.dialect.fields import object_at, text_at, text_or_none
from apps.inference.providers.remote.oci.cohere import IN_BOTH, ended, settings, usage
from apps.inference.providers.remote.translation import JSON, Request, Translation
from apps.inference.providers.unsupported import GeneratesConfig, Lacks, to_drop
from apps.inference.schemas import (
    AllowedToolsChoice,
    ChatCompletionRequest,
    ImagePart,
    Message,
    NamedToolChoice,
    TextPart,
    ToolCall,
    chosen_names,
)
from apps.inference.schemas.chat import ContentPart
from apps.inference.schemas.tools import AnyToolCall, FunctionTool
from llamastack.errors import UnsupportedParameter

NAMES = {**IN_BOTH, "citation_options": "citationOptions"}
ROLES = {"system": "SYSTEM", "developer": "SYSTEM", "user": "USER", "assistant": "ASSISTANT", "tool": "TOOL"}
THINKS = {"none": "DISABLED", "high": "ENABLED"}


def serves(model: str) -> bool:
    return model.startswith("cohere.command-a")


def chat_request(request: ChatCompletionRequest, config: GeneratesConfig, upstream: str) -> JSON:
    """`chatRequest`. Raises UnsupportedParameter for what it has no field for."""
    lacks = Lacks(upstream)
    body = {"apiFormat": "COHEREV2", **settings(request, NAMES, lacks, "reasoning_effort")}
    sees = "vision" in request.model
    body["messages"] = [_message(one, f"messages[{n}]", sees, lacks) for n, one in enumerate(request.messages)]
    body |= _tools(request, lacks) | _thinking(request, lacks)
    to_drop(lacks, config)
    return body


def _thinking(request: ChatCompletionRequest, lacks: Lacks) -> JSON:
    effort, thinks = request.reasoning_effort, "reasoning" in request.model
    if effort is None or (effort == "none" and not thinks):
        return {}
    if thinks and effort in THINKS:
        return {"thinking": {"type": THINKS[effort]}}
    lacks.note(
        "reasoning_effort", "Ask for 'high' or 'none'." if thinks else "This model does not think: leave it out."
    )
    return {}


def _message(message: Message, where: str, sees: bool, lacks: Lacks) -> JSON:
    """What is said beside calls is the plan for them, and no answer yet."""
    role = ROLES.get(message.role)
    if role is None:
        raise UnsupportedParameter(f"{where}.role", lacks.upstream, "Send the result as a 'tool' message.")
    refusal = lacks.of_message(message, where, ("refusal",) if role == "ASSISTANT" else ()).get("refusal")
    content = _content(message.content or str(refusal or ""), where, sees, lacks)
    calls = list(_calls(message.tool_calls or (), where, lacks))
    if calls:
        plan = "".join(part.get("text", "") for part in content)
        return {"role": role, "toolCalls": calls} | ({"toolPlan": plan} if plan else {})
    answers = {"toolCallId": message.tool_call_id} if role == "TOOL" else {}
    return {"role": role, "content": content, **answers}


def _content(content: str | list[ContentPart], where: str, sees: bool, lacks: Lacks) -> list[JSON]:
    if isinstance(content, str):
        return [_text(content)] if content else []
    return [_part(part, f"{where}.content[{place}]", sees, lacks) for place, part in enumerate(content)]


def _part(part: ContentPart, where: str, sees: bool, lacks: Lacks) -> JSON:
    """What cannot be said cannot be left out of a conversation either."""
    lacks.taken(part.model_extra, (part.type,), f"{where}.")
    if isinstance(part, TextPart):
        return _text(part.text)
    if part.type == "refusal":
        return _text(str((part.model_extra or {}).get("refusal") or ""))
    if not isinstance(part, ImagePart) or not sees:
        raise UnsupportedParameter(where, lacks.upstream, "This model reads text alone here: leave it out.")
    lacks.taken(part.image_url.model_extra, (), f"{where}.image_url.")
    detail = {"detail": part.image_url.detail.upper()} if part.image_url.detail else {}
    return {"type": "IMAGE_URL", "imageUrl": {"url": part.image_url.url, **detail}}


def _text(words: str) -> JSON:
    return {"type": "TEXT", "text": words}


def _calls(calls: Iterable[AnyToolCall], where: str, lacks: Lacks) -> Iterator[JSON]:
    for place, call in enumerate(calls):
        if isinstance(call, ToolCall):
            lacks.of_call(call, f"{where}.tool_calls[{place}]")
            function = {"name": call.function.name, "arguments": call.function.arguments}
            yield {"id": call.id, "type": "FUNCTION", "function": function}
        else:
            lacks.note(f"{where}.tool_calls[{place}].type")


def _tools(request: ChatCompletionRequest, lacks: Lacks) -> JSON:
    """Where some of the functions may be called, the others are left out."""
    choice = request.tool_choice
    named = chosen_names(choice) if isinstance(choice, NamedToolChoice | AllowedToolsChoice) else None
    made, strict = [], False
    for place, tool in enumerate(request.tools or ()):
        where = f"tools[{place}]"
        if not isinstance(tool, FunctionTool):
            lacks.note(f"{where}.type", "It calls functions alone: leave other tools out.")
            continue
        lacks.of_tool(tool, where)
        if named is None or tool.function.name in named:
            told = {"description": tool.function.description, "parameters": tool.function.parameters}
            function = {name: value for name, value in told.items() if value is not None}
            made.append({"type": "FUNCTION", "function": {"name": tool.function.name, **function}})
            strict = strict or bool(tool.function.strict)
    if not made:
        return {}
    return {"tools": made, **_choice(choice, lacks)} | ({"isStrictToolsEnabled": True} if strict else {})


def _choice(choice: Any, lacks: Lacks) -> JSON:
    if isinstance(choice, AllowedToolsChoice):
        choice = choice.allowed_tools.mode
    if choice in (None, "auto"):
        return {}
    if choice == "none":
        return {"toolsChoice": "NONE"}
    if choice == "required" or isinstance(choice, NamedToolChoice):
        return {"toolsChoice": "REQUIRED"}
    lacks.note("tool_choice")
    return {}


class Chatted(Translation):
    """One answer, or the events of one stream, of which the last may say everything once more."""

    def __init__(self, request: Request, path: str, body: JSON) -> None:
        super().__init__(request, path, body)
        self.said = {"content": "", "reasoning_content": ""}
        self.arguments: dict[str, str] = {}  # of each call by its id

    def is_reply(self, answer: JSON) -> bool:
        """An error's `message` is text."""
        return "chatResponse" in answer or "finishReason" in answer or isinstance(answer.get("message"), dict)

    def whole(self, answer: JSON) -> JSON:
        said = object_at(answer, "chatResponse")
        message = {"role": "assistant", "content": None, **self._delta(object_at(said, "message"), last=True)}
        choice = {"index": 0, "message": message, **_ended(said)}
        known = {"id": said["id"]} if isinstance(said.get("id"), str) else {}
        head = known | {"model": answer.get("modelId"), "model_version": answer.get("modelVersion")}
        return head | {"choices": [choice], "usage": usage(said)}

    def chunks(self, event: JSON) -> Iterable[JSON]:
        if "chatResponse" in event:  # which is all of it
            return (self.whole(event),)
        last = event.get("finishReason") is not None
        delta = self._delta(object_at(event, "message"), last=last) if event.get("message") else {}
        return ({"choices": [{"index": 0, "delta": delta, **_ended(event)}], "usage": usage(event)},)

    def _delta(self, message: JSON, *, last: bool) -> JSON:
        parts = objects(message.get("content"))
        words = "".join(text_or_none(part, "text") or "" for part in parts) or text_or_none(message, "toolPlan") or ""
        thoughts = "".join(text_or_none(part, "thinking") or "" for part in parts)
        delta: JSON = {}
        for name, piece in (("content", words), ("reasoning_content", thoughts)):
            if new := _new(self.said[name], piece, last):
                self.said[name] += new
                delta[name] = new
        calls = [made for call in objects(message.get("toolCalls")) if (made := self._call(call, last)) is not None]
        more = {"tool_calls": calls, "citations": message.get("citations")}
        return delta | {name: value for name, value in more.items() if value}

    def _call(self, call: JSON, last: bool) -> JSON | None:
        """A call, or a piece of the one with this id, or of the last one."""
        function, own = object_at(call, "function"), text_or_none(call, "id") or next(reversed(self.arguments), "")
        piece = function.get("arguments") or ""
        written = piece if isinstance(piece, str) else orjson.dumps(piece).decode()
        if own in self.arguments:
            new = _new(self.arguments[own], written, last)
            self.arguments[own] += new
            return {"index": list(self.arguments).index(own), "function": {"arguments": new}} if new else None
        self.arguments[own] = written
        begun = {"name": text_at(function, "name"), "arguments": written}
        return {"index": len(self.arguments) - 1, "id": own, "type": "function", "function": begun}


def _new(said: str, piece: str, last: bool) -> str:
    return piece[len(said) :] if last and piece.startswith(said) else piece


def _ended(said: JSON) -> JSON:
    if said.get("finishReason") == "ERROR":
        raise AnswerFailed(said.get("errorMessage") or "ERROR")
    return ended(said)
