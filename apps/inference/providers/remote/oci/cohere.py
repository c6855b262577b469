"""Chats with Cohere's Command R models on OCI, which its OpenAI-compatible API does not serve: the format COHERE of
/20231130/actions/chat. That of later models is in command_a.py.

Format: https://docs.oracle.com/en-us/iaas/api/#/en/generative-ai-inference/20231130/datatypes/CohereChatRequest, and
Oracle's own package (oci.generative_ai_inference.models: CohereChatRequest, CohereChatResponse). A conversation is the
message that is to be answered, the history before it, and the results of calls that were made last. Calls have no ids,
so that they are told apart by what was called.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

import orjson

from apps.inference.dialect.fields import object_at, objects_at, text_or_none
from apps.inference.providers.remote.translation import JSON, Request, Translation
from apps.inference.providers.unsupported import GeneratesConfig, Lacks, to_drop
from apps.inference.schemas import (
    AllowedToolsChoice,
    ChatCompletionRequest,
    Function,
    JsonSchemaFormat,
    Message,
    OtherFormat,
    ResponseFormat,
    TextPart,
    ToolCall,
    chosen_names,
)
from apps.inference.schemas.chat import ContentPart
from apps.inference.schemas.tools import FunctionTool
from llamastack.errors import BadRequest, UnsupportedParameter
from llamastack.ids import new_id

# OpenAI's fields and Cohere's own, each by its name there: of both formats, and of this one.
IN_BOTH: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "topP",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "seed": "seed",
    "top_k": "topK",
    "documents": "documents",
    "safety_mode": "safetyMode",
}
NAMES: Mapping[str, str] = {
    **IN_BOTH,
    "citation_quality": "citationQuality",
    "max_input_tokens": "maxInputTokens",
    "prompt_truncation": "promptTruncation",
}
OTHERS = ("max_tokens", "max_completion_tokens", "stop", "tools", "tool_choice", "response_format")
TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict"}
# Of Oracle's words for why an answer ended; those that are not here are the dialect's to read.
REASONS = {"ERROR_TOXIC": "content_filter", "ERROR_LIMIT": "length", "USER_CANCEL": "error"}
Turn = tuple[int, Message]  # with its place in the request
TEXT_ALONE = "Cohere's models read text alone here: leave it out."


def is_cohere(model: str) -> bool:
    return model.startswith("cohere.command")


def chat_request(request: ChatCompletionRequest, config: GeneratesConfig, upstream: str) -> JSON:
    """`chatRequest`. Raises UnsupportedParameter for what it has no field for."""
    lacks = Lacks(upstream)
    body = {"apiFormat": "COHERE", **settings(request, NAMES, lacks)}
    body |= {**_spoken(request.messages, lacks), **_tools(request, lacks)}
    to_drop(lacks, config)
    return body


def settings(request: ChatCompletionRequest, names: Mapping[str, str], lacks: Lacks, *more: str) -> JSON:
    """What is said alike in both formats. `more` are fields that are read elsewhere."""
    given = lacks.fields(request, (*names, *OTHERS, *more))
    body = {names[name]: value for name, value in given.items() if name in names}
    if request.limit is not None:
        body["maxTokens"] = request.limit
    if request.stop:
        body["stopSequences"] = request.stops
    if request.stream:
        body |= {"isStream": True, "streamOptions": {"isIncludeUsage": True}}
    return body | _form(request.response_format, lacks)


def _allowed(request: ChatCompletionRequest) -> set[str] | None:
    """The functions that may be called, where not all that are given may be."""
    choice = request.tool_choice
    if not isinstance(choice, AllowedToolsChoice) or choice.allowed_tools.mode != "auto":
        return None
    return set(chosen_names(choice))


def _form(wanted: ResponseFormat | None, lacks: Lacks) -> JSON:
    if wanted is None or wanted.type == "text":
        return {}
    if isinstance(wanted, OtherFormat):
        lacks.note("response_format")
        return {}
    schema = wanted.json_schema.json_schema if isinstance(wanted, JsonSchemaFormat) else None
    return {"responseFormat": {"type": "JSON_OBJECT"} | ({"schema": schema} if schema else {})}


def _tools(request: ChatCompletionRequest, lacks: Lacks) -> JSON:
    allowed = _allowed(request)
    if request.tool_choice not in (None, "auto", "none") and allowed is None:
        lacks.note("tool_choice", "Cohere's models choose themselves here: leave it out.")
    made: list[JSON] = []
    for place, tool in enumerate(request.tools or ()):
        where = f"tools[{place}]"
        if not isinstance(tool, FunctionTool):
            lacks.note(f"{where}.type", "It calls functions alone: leave other tools out.")
            continue
        lacks.of_tool(tool, where)
        if tool.function.strict:
            lacks.note(f"{where}.function.strict")
        if allowed is None or tool.function.name in allowed:
            made.append(_tool(tool.function))
    return {"tools": made} if made and request.tool_choice != "none" else {}


def _tool(function: Function) -> JSON:
    described = function.description or function.name
    definitions = _parameters(function.parameters or {})
    return {"name": function.name, "description": described, "parameterDefinitions": definitions}


def _parameters(schema: JSON) -> JSON:
    """Of a JSON Schema, which Cohere does not read, its types; what else it says of a parameter is told in words."""
    required = schema.get("required", [])
    properties = schema.get("properties", {}).items()
    return {
        name: _parameter(of if isinstance(of, dict) else {}) | {"isRequired": name in required}
        for name, of in properties
    }


def _parameter(of: JSON) -> JSON:
    kind = of.get("type")
    known = TYPES.get(kind) if isinstance(kind, str) else None
    silent = ("description", "type") if known else ("description",)
    more = {field: value for field, value in of.items() if field not in silent}
    words = [str(of.get("description", "")), f"JSON Schema: {json.dumps(more, separators=(',', ':'))}" if more else ""]
    return {"description": " ".join(filter(None, words)), "type": known or "str"}


def _spoken(messages: list[Message], lacks: Lacks) -> JSON:
    """What is to be answered, and what was said before."""
    called = {call.id: call for turn in messages for call in turn.tool_calls or () if isinstance(call, ToolCall)}
    turns = _ordered(messages, called)
    last = len(turns)
    while last and turns[last - 1][1].role == "tool":
        last -= 1
    results = [_result(turn, called, place, lacks) for place, turn in turns[last:]]
    if results:
        return {"message": "", "chatHistory": _history(turns[:last], called, lacks), "toolResults": results}
    if messages[-1].role != "user":
        raise BadRequest("Cohere's models answer a user or the results of tools: end with one.", param="messages")
    asked = _text(messages[-1], len(messages) - 1, lacks)
    return {"message": asked, "chatHistory": _history(turns[:-1], called, lacks)}


def _ordered(messages: list[Message], called: Mapping[str, ToolCall]) -> list[Turn]:
    """Each with its place; results in the order of their calls, which alone tells those of equal calls apart."""
    order = {identifier: number for number, identifier in enumerate(called)}

    def of_call(turn: Turn) -> int:
        return order.get(turn[1].tool_call_id or "", -1) if turn[1].role == "tool" else -1

    runs = groupby(enumerate(messages), key=lambda turn: turn[1].role == "tool")
    return [turn for _, run in runs for turn in sorted(run, key=of_call)]


def _history(turns: list[Turn], called: Mapping[str, ToolCall], lacks: Lacks) -> list[JSON]:
    history: list[JSON] = []
    for place, turn in turns:
        match turn.role:
            case "tool":
                result = _result(turn, called, place, lacks)
                if history and history[-1]["role"] == "TOOL":
                    history[-1]["toolResults"].append(result)
                else:
                    history.append({"role": "TOOL", "toolResults": [result]})
            case "assistant":
                said = {"role": "CHATBOT", "message": _text(turn, place, lacks)}
                calls = list(_calls(turn, f"messages[{place}]", lacks))
                history.append(said | ({"toolCalls": calls} if calls else {}))
            case "system" | "developer":
                history.append({"role": "SYSTEM", "message": _text(turn, place, lacks)})
            case "user":
                history.append({"role": "USER", "message": _text(turn, place, lacks)})
            case role:
                raise UnsupportedParameter(f"messages[{place}].role", lacks.upstream, f"It knows no '{role}'.")
    return history


def _result(turn: Message, called: Mapping[str, ToolCall], place: int, lacks: Lacks) -> JSON:
    call = called.get(turn.tool_call_id or "")
    if call is None:
        raise UnsupportedParameter(
            f"messages[{place}].tool_call_id", lacks.upstream, "It takes results of functions alone."
        )
    return {"call": _called(call), "outputs": [{"output": _text(turn, place, lacks)}]}


def _calls(turn: Message, where: str, lacks: Lacks) -> Iterator[JSON]:
    for place, call in enumerate(turn.tool_calls or ()):
        if isinstance(call, ToolCall):
            lacks.of_call(call, f"{where}.tool_calls[{place}]")
            yield _called(call)
        else:
            lacks.note(f"{where}.tool_calls[{place}].type")


def _called(call: ToolCall) -> JSON:
    try:
        arguments = orjson.loads(call.function.arguments or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise BadRequest(f"The arguments of the call '{call.id}' are no JSON object.", param="messages")
    return {"name": call.function.name, "parameters": arguments}


def _text(turn: Message, place: int, lacks: Lacks) -> str:
    where = f"messages[{place}]"
    refusal = lacks.of_message(turn, where, ("refusal",) if turn.role == "assistant" else ()).get("refusal")
    if not isinstance(turn.content, list):
        return turn.content or str(refusal or "")
    return "\n".join(_words(part, f"{where}.content[{index}]", lacks) for index, part in enumerate(turn.content))


def _words(part: ContentPart, where: str, lacks: Lacks) -> str:
    if part.type not in ("text", "refusal"):
        raise UnsupportedParameter(where, lacks.upstream, TEXT_ALONE)
    lacks.taken(part.model_extra, ("refusal",), f"{where}.")
    return part.text if isinstance(part, TextPart) else str((part.model_extra or {}).get("refusal", ""))


class Chatted(Translation):
    """A stream's last event repeats the whole answer, of which only what has not come is passed on."""

    def __init__(self, request: Request, path: str, body: JSON) -> None:
        super().__init__(request, path, body)
        self.calls = 0
        self.said = False

    def is_reply(self, answer: JSON) -> bool:
        return not {"chatResponse", "text", "toolCalls", "finishReason"}.isdisjoint(answer)

    def whole(self, answer: JSON) -> JSON:
        said = object_at(answer, "chatResponse")
        message = {"role": "assistant", "content": said.get("text"), "tool_calls": self._calls(said)}
        choice = {"index": 0, "message": message, **ended(said)}
        head = {"model": answer.get("modelId"), "model_version": answer.get("modelVersion")}
        return head | _more(said) | {"choices": [choice], "usage": usage(said)}

    def chunks(self, event: JSON) -> Iterable[JSON]:
        if "chatResponse" in event:  # which is all of it
            return (self.whole(event),)
        last = event.get("finishReason") is not None
        delta: JSON = {}
        if event.get("text") and not (last and self.said):
            self.said = True
            delta["content"] = event["text"]
        if event.get("toolCalls") and not (last and self.calls):
            delta["tool_calls"] = self._calls(event)
        choice = {"index": 0, "delta": delta, **ended(event)}
        return ({**_more(event), "choices": [choice], "usage": usage(event)},)

    def _calls(self, said: JSON) -> list[JSON]:
        calls = objects_at(said, "toolCalls") if said.get("toolCalls") else []
        first, self.calls = self.calls, self.calls + len(calls)
        return [
            {
                "index": first + place,
                "id": new_id("call_"),
                "type": "function",
                "function": {"name": call.get("name"), "arguments": call.get("parameters") or {}},
            }
            for place, call in enumerate(calls)
        ]


def ended(said: JSON) -> JSON:
    reason = text_or_none(said, "finishReason")
    ours = REASONS.get(reason or "")
    return {"finish_reason": reason} if ours is None else {"finish_reason": ours, "native_finish_reason": reason}


def _more(said: JSON) -> JSON:
    """What Cohere tells beside the answer."""
    return {name: said[name] for name in ("citations", "documents") if said.get(name)}


def usage(said: JSON) -> JSON | None:
    if said.get("usage") is None:
        return None
    counted = object_at(said, "usage")
    return {"prompt_tokens": counted.get("promptTokens"), "completion_tokens": counted.get("completionTokens")}
