"""Requests as watsonx.ai takes them.

Its chat is OpenAI's but for a few names; what it knows beside them is in IBM's own SDKs:
https://github.com/IBM/watsonx-ai-java-sdk (TextChatRequest, TextGenerationParameters) and
https://ibm.github.io/watsonx-ai-node-sdk (TextChatParams). What stands in neither is refused by name.
"""

from collections.abc import Iterable
from typing import Any

from apps.inference.providers.unsupported import JSON, GeneratesConfig, Lacks, to_drop
from apps.inference.schemas import (
    ChatCompletionRequest,
    CompletionRequest,
    ImagePart,
    Message,
    TextPart,
    ToolCall,
)
from apps.inference.schemas.chat import ContentPart
from apps.inference.schemas.tools import AnyToolCall, FunctionTool, Tool
from llamastack.errors import BadRequest, UnsupportedParameter

# What a chat may have: the last two lines are IBM's own.
OF_CHATS = frozenset(
    {
        *("frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "n"),
        *("presence_penalty", "reasoning_effort", "response_format", "seed", "stop", "temperature", "tool_choice"),
        *("tools", "top_logprobs", "top_p"),
        *("chat_template_kwargs", "context", "crypto", "guided_choice", "guided_grammar", "guided_json"),
        *("guided_regex", "include_reasoning", "length_penalty", "moderations", "repetition_penalty", "time_limit"),
    }
)
OF_COMPLETIONS = frozenset({"max_tokens", "temperature", "top_p", "stop", "seed", "moderations", "crypto"})
PARAMETERS = frozenset(
    {
        *("length_penalty", "min_new_tokens", "repetition_penalty", "return_options", "time_limit", "top_k"),
        "truncate_input_tokens",
    }
)
OF_MESSAGES = {"assistant": ("name", "refusal")}
OF_SOUNDS = ("data", "format")
FORMATS = ("text", "json_object", "json_schema")
MAX_TOKENS = 16  # OpenAI's default for a completion


def chat(request: ChatCompletionRequest, config: GeneratesConfig, upstream: str) -> JSON:
    """The body but for the model and whom it is charged to."""
    lacks = Lacks(upstream)
    named = lacks.fields(request, OF_CHATS)
    given = request.model_dump(exclude_unset=True, include=named.keys() - {"tools"})
    body = given | {"messages": [_message(one, f"messages[{n}]", lacks) for n, one in enumerate(request.messages)]}
    if "stop" in body:
        body["stop"] = request.stops
    if body.get("response_format", {}).get("type", "text") not in FORMATS:
        lacks.note("response_format")
        del body["response_format"]
    if tools := _tools(request.tools or (), lacks):
        body["tools"] = tools
    body |= _choice(body.pop("tool_choice", None), tools, lacks)
    to_drop(lacks, config)
    return body


def completion(request: CompletionRequest, config: GeneratesConfig, upstream: str) -> JSON:
    """The same of /ml/v1/text/generation, whose defaults are not OpenAI's: IBM's are 20 tokens, and the most likely."""
    lacks = Lacks(upstream)
    body = lacks.fields(request, OF_COMPLETIONS | PARAMETERS)
    to_drop(lacks, config)
    parameters = {name: body[name] for name in PARAMETERS & body.keys()}
    parameters["max_new_tokens"] = MAX_TOKENS if request.max_tokens is None else request.max_tokens
    parameters |= _drawn(body)
    if request.stop:
        parameters |= {"stop_sequences": request.stops, "include_stop_sequence": False}
    if "seed" in body:
        parameters["random_seed"] = body["seed"]
    own = {name: value for name, value in body.items() if name in ("moderations", "crypto")}
    return {"input": _text(request.prompt, upstream), "parameters": parameters, **own}


def _message(message: Message, where: str, lacks: Lacks) -> JSON:
    if message.role == "function":
        raise UnsupportedParameter(f"{where}.role", lacks.upstream, "Send the result as a 'tool' message.")
    made: JSON = {"role": "system" if message.role == "developer" else message.role}
    named = {"name": message.name, "tool_call_id": message.tool_call_id}
    made |= {name: value for name, value in named.items() if value is not None}
    made |= lacks.of_message(message, where, OF_MESSAGES.get(message.role, ("name",)))
    if isinstance(message.content, str):
        made["content"] = message.content
    elif message.content is not None:
        made["content"] = [_part(part, f"{where}.content[{n}]", lacks) for n, part in enumerate(message.content)]
    if calls := [_call(call, f"{where}.tool_calls[{n}]", lacks) for n, call in enumerate(message.tool_calls or ())]:
        made["tool_calls"] = [call for call in calls if call]
    return made


def _part(part: ContentPart, where: str, lacks: Lacks) -> JSON:
    """An assistant's refusal is what it said. What cannot be said cannot be left out either."""
    extra = part.model_extra or {}
    if part.type == "file":
        raise UnsupportedParameter(where, lacks.upstream, "Send the file's text, or its pages as images.")
    lacks.taken(extra, (part.type,), f"{where}.")
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImagePart):
        lacks.taken(part.image_url.model_extra, (), f"{where}.image_url.")
        detail = {"detail": part.image_url.detail} if part.image_url.detail else {}
        return {"type": "image_url", "image_url": {"url": part.image_url.url, **detail}}
    if part.type == "refusal":
        return {"type": "text", "text": str(extra.get("refusal") or "")}
    sound = extra.get("input_audio")
    if not isinstance(sound, dict):
        raise BadRequest(f"'{where}.input_audio' is missing, or no object.", param=f"{where}.input_audio")
    return {"type": "input_audio", "input_audio": lacks.taken(sound, OF_SOUNDS, f"{where}.input_audio.")}


def _call(call: AnyToolCall, where: str, lacks: Lacks) -> JSON | None:
    if not isinstance(call, ToolCall):
        lacks.note(f"{where}.type")
        return None
    lacks.of_call(call, where)
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _tools(tools: Iterable[Tool], lacks: Lacks) -> list[JSON]:
    """Without `strict`, which it does not know."""
    made: list[JSON] = []
    for place, tool in enumerate(tools):
        where = f"tools[{place}]"
        if not isinstance(tool, FunctionTool):
            lacks.note(f"{where}.type")
            continue
        lacks.of_tool(tool, where)
        if tool.function.strict:
            lacks.note(f"{where}.function.strict")
        told = {"name": tool.function.name, "description": tool.function.description}
        function = told | {"parameters": tool.function.parameters}
        made.append({"type": "function", "function": {n: value for n, value in function.items() if value is not None}})
    return made


def _choice(choice: Any, tools: list[JSON], lacks: Lacks) -> JSON:
    """`tool_choice` names one function; everything else is `tool_choice_option`. Some of the tools are fewer tools."""
    if choice is None:
        return {}
    if isinstance(choice, str):
        return {"tool_choice_option": choice}
    if choice["type"] == "function":
        return {"tool_choice": choice}
    if choice["type"] != "allowed_tools":
        lacks.note("tool_choice")
        return {}
    allowed = choice["allowed_tools"]
    names = {tool["function"]["name"] for tool in allowed["tools"] if tool["type"] == "function"}
    return {
        "tools": [tool for tool in tools if tool["function"]["name"] in names],
        "tool_choice_option": allowed["mode"],
    }


def _drawn(body: JSON) -> JSON:
    """How tokens are taken: OpenAI draws them where nothing is said, and at a temperature of 0 has the most likely."""
    if body.get("temperature") == 0:
        return {"decoding_method": "greedy"}
    named = {name: value for name, value in body.items() if name in ("temperature", "top_p")}
    return {"decoding_method": "sample", **named}


def _text(prompt: Any, upstream: str) -> str:
    texts = prompt if isinstance(prompt, list) and len(prompt) == 1 else [prompt]
    if not isinstance(texts[0], str):
        raise UnsupportedParameter("prompt", upstream, "It takes one text a request, and no token ids.")
    return texts[0]
