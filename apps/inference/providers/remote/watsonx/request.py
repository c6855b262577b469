"""Requests as watsonx.ai takes them.

Its chat is OpenAI's but for a few names; what it knows beside them is in IBM's own SDKs:
https://github.com/IBM/watsonx-ai-java-sdk (TextChatRequest, TextGenerationParameters) and
https://ibm.github.io/watsonx-ai-node-sdk (TextChatParams). What stands in neither is refused by name.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from apps.inference.providers.remote.translation import JSON
from apps.inference.providers.unsupported import REMEDY, GeneratesConfig, to_drop
from apps.inference.schemas import ChatCompletionRequest, CompletionRequest
from llamastack.errors import UnsupportedParameter

# What a chat may have: the last two lines are IBM's own.
OF_CHATS = frozenset(
    {
        *("frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "messages", "n"),
        *("presence_penalty", "reasoning_effort", "response_format", "seed", "stop", "temperature", "tool_choice"),
        *("tools", "top_logprobs", "top_p"),
        *("chat_template_kwargs", "context", "crypto", "guided_choice", "guided_grammar", "guided_json"),
        *("guided_regex", "include_reasoning", "length_penalty", "moderations", "repetition_penalty", "time_limit"),
    }
)
OF_COMPLETIONS = frozenset({"prompt", "max_tokens", "temperature", "top_p", "stop", "seed", "moderations", "crypto"})
PARAMETERS = frozenset(
    {
        *("length_penalty", "min_new_tokens", "repetition_penalty", "return_options", "time_limit", "top_k"),
        "truncate_input_tokens",
    }
)
# Said otherwise: by the path, by the name of the model, and a stream's usage always comes.
SAID_OTHERWISE = frozenset({"model", "stream", "stream_options"})
# Values that ask for nothing else than leaving the field out does.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "parallel_tool_calls": (True,),
    "best_of": (0, 1),
    "echo": (False,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "suffix": ("",),
}
FORMATS = ("text", "json_object", "json_schema")
MAX_TOKENS = 16  # OpenAI's default for a completion


def chat(request: ChatCompletionRequest, config: GeneratesConfig, upstream: str) -> JSON:
    """The body but for the model and whom it is charged to."""
    given = request.model_dump(exclude_unset=True)
    body = _kept(given, OF_CHATS, config, upstream, _of_messages(given, upstream), _of_tools(given, upstream))
    body["messages"] = [_message(message) for message in body["messages"]]
    if isinstance(body.get("stop"), str):
        body["stop"] = [body["stop"]]
    if tools := [_tool(tool) for tool in body.pop("tools", ()) if tool["type"] == "function"]:
        body["tools"] = tools
    return body | _choice(body.pop("tool_choice", None), body.get("tools"))


def completion(request: CompletionRequest, config: GeneratesConfig, upstream: str) -> JSON:
    """The same of /ml/v1/text/generation, whose defaults are not OpenAI's: IBM's are 20 tokens, and the most likely."""
    given = request.model_dump(exclude_unset=True)
    body = _kept(given, OF_COMPLETIONS | PARAMETERS, config, upstream)
    parameters = {name: body[name] for name in PARAMETERS & body.keys()}
    parameters["max_new_tokens"] = MAX_TOKENS if request.max_tokens is None else request.max_tokens
    parameters |= _drawn(body)
    if stop := body.get("stop"):
        parameters |= {"stop_sequences": [stop] if isinstance(stop, str) else stop, "include_stop_sequence": False}
    if "seed" in body:
        parameters["random_seed"] = body["seed"]
    own = {name: value for name, value in body.items() if name in ("moderations", "crypto")}
    return {"input": _text(request.prompt, upstream), "parameters": parameters, **own}


def _kept(
    given: JSON, known: frozenset[str], config: GeneratesConfig, upstream: str, *more: Iterator[UnsupportedParameter]
) -> JSON:
    """The fields to send. Raises UnsupportedParameter for any that IBM does not name."""
    said = {name: value for name, value in given.items() if value is not None and name not in SAID_OTHERWISE}
    fields = {n: v for n, v in said.items() if n in known or v not in NEUTRAL.get(n, ())}

    def refusals() -> Iterator[UnsupportedParameter]:
        for name in fields.keys() - known:
            yield UnsupportedParameter(name, upstream, REMEDY)
        if (fields.get("response_format") or {}).get("type", "text") not in FORMATS:
            yield UnsupportedParameter("response_format", upstream, REMEDY)
        for refused in more:
            yield from refused

    dropped = to_drop(refusals(), config)
    return {name: value for name, value in fields.items() if name not in dropped}


def _of_messages(given: JSON, upstream: str) -> Iterator[UnsupportedParameter]:
    """These cannot be left out of a conversation: they raise whatever the config says."""
    for place, message in enumerate(given["messages"]):
        if message["role"] == "function":
            raise UnsupportedParameter(f"messages[{place}].role", upstream, "Send the result as a 'tool' message.")
        for index, part in enumerate(message["content"] if isinstance(message.get("content"), list) else ()):
            if part["type"] == "file":
                where = f"messages[{place}].content[{index}]"
                raise UnsupportedParameter(where, upstream, "Send the file's text, or its pages as images.")
    yield from ()


def _of_tools(given: JSON, upstream: str) -> Iterator[UnsupportedParameter]:
    for place, tool in enumerate(given.get("tools") or ()):
        if tool["type"] != "function":
            yield UnsupportedParameter(f"tools[{place}]", upstream, REMEDY)
        elif tool["function"].get("strict"):
            yield UnsupportedParameter(f"tools[{place}].function.strict", upstream, REMEDY)
    choice = given.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] not in ("function", "allowed_tools"):
        yield UnsupportedParameter("tool_choice", upstream, REMEDY)


def _message(message: JSON) -> JSON:
    role = "system" if message["role"] == "developer" else message["role"]
    kept = {name: value for name, value in message.items() if value is not None} | {"role": role}
    if isinstance(kept.get("content"), list):
        kept["content"] = [_part(part) for part in kept["content"]]
    return kept


def _part(part: JSON) -> JSON:
    """An assistant's refusal is what it said."""
    return {"type": "text", "text": part.get("refusal", "")} if part["type"] == "refusal" else part


def _tool(tool: JSON) -> JSON:
    """Without `strict`, which it does not know."""
    function = {name: value for name, value in tool["function"].items() if name != "strict"}
    return tool | {"function": function}


def _choice(choice: Any, tools: list[JSON] | None) -> JSON:
    """`tool_choice` names one function; everything else is `tool_choice_option`. Some of the tools are fewer tools."""
    if choice is None:
        return {}
    if isinstance(choice, str):
        return {"tool_choice_option": choice}
    if choice["type"] == "function":
        return {"tool_choice": choice}
    allowed = choice["allowed_tools"]
    names = {tool["function"]["name"] for tool in allowed["tools"] if tool["type"] == "function"}
    return {
        "tools": [tool for tool in tools or () if tool["function"]["name"] in names],
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
