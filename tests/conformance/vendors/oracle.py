"""Oracle's OCI Generative AI: OpenAI's dialect for chats, its own for Cohere's models, embeddings and rankings."""

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.conformance.vendors.native import Native, call, content, image_at, needed, only, schema, text, tool
from tests.conformance.vendors.vendor import (
    CHAT,
    EMBEDDINGS,
    JSON,
    RERANK,
    USAGE,
    Answer,
    Asking,
    NotUnderstood,
    Ranking,
    Vendor,
)

COMPARTMENT = "ocid1.compartment.oc1..aaaa"
ACTIONS = "/20231130/actions"
LISTED = {"id": "ocid1.generativeaimodel.oc1..a", "displayName": "sky", "capabilities": ["CHAT"]}


@dataclass(frozen=True)
class Oracle(Vendor):
    def asking(self, path: str, query: Mapping[str, str]) -> Asking | None:
        own = {f"{ACTIONS}/embedText": Asking(EMBEDDINGS), f"{ACTIONS}/rerankText": Asking(RERANK)}
        return own.get(path) or super().asking(path, query)

    def question(self, operation: str, body: JSON) -> JSON:
        if operation == CHAT:
            return super().question(operation, body)
        if body.get("compartmentId") != COMPARTMENT:
            raise NotUnderstood("compartmentId may not be null")
        serving = only(needed(body, "servingMode", dict), "servingType", "modelId")
        if serving["servingType"] != "ON_DEMAND":
            raise NotUnderstood("servingType")
        asked = {"model": serving["modelId"]}
        if operation == EMBEDDINGS:
            return asked | {"input": needed(only(body, "compartmentId", "servingMode", "inputs"), "inputs", list)}
        only(body, "compartmentId", "servingMode", "input", "documents", "topN")
        most = {"topN": body["topN"]} if "topN" in body else {}
        return asked | {"query": body["input"], "documents": body["documents"], **most}

    def vectors(self, body: JSON, vectors: list[list[float]]) -> JSON:
        usage = {"promptTokens": 3, "completionTokens": 0, "totalTokens": 3}
        return {"id": "x", "modelId": body["model"], "embeddings": vectors, "usage": usage}


ORACLE = Oracle(
    "remote::oci",
    "https://docs.oracle.com/en-us/iaas/Content/generative-ai/chat-completions-api.htm, and of what is Oracle's own "
    "https://docs.oracle.com/en-us/iaas/api/#/en/generative-ai-inference/20231130",
    config={"oci_compartment_id": COMPARTMENT},
    prefix="/openai/v1",
    address="",
    headers={"CompartmentId": COMPARTMENT, "opc-compartment-id": COMPARTMENT},
    offers=frozenset({CHAT, EMBEDDINGS}),
    done=False,
    ranking=Ranking(f"{ACTIONS}/rerankText", most="topN", results="documentRanks", score="relevanceScore"),
    told={"/20231130/models": {"items": [LISTED]}, "/20231130/endpoints": {"items": []}},
    unauthorized=(401, {"code": "NotAuthenticated", "message": "The required information to complete authentication"}),
    unknown_model=(404, {"code": "404", "message": "Entity with key unknown not found"}),
    too_many=(429, {"code": "429", "message": "Too many requests"}),
    failure=(500, {"code": "InternalServerError", "message": "An internal error occurred."}),
)


COHERE_CHAT = (
    *("apiFormat", "message", "chatHistory", "toolResults", "tools", "maxTokens", "temperature", "topP", "topK"),
    *("seed", "frequencyPenalty", "presencePenalty", "stopSequences", "isStream", "streamOptions", "responseFormat"),
)
JSON_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}


COMMAND_A_CHAT = (
    *("apiFormat", "messages", "tools", "toolsChoice", "isStrictToolsEnabled", "thinking", "maxTokens", "temperature"),
    *("topP", "topK", "seed", "frequencyPenalty", "presencePenalty", "stopSequences", "isStream", "streamOptions"),
    "responseFormat",
)
OF_BOTH = {
    "maxTokens": "max_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "stopSequences": "stop",
    "isStream": "stream",
    "seed": "seed",
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
}


@dataclass(frozen=True)
class AnyCohere(Native):
    """What Oracle's two formats for Cohere's models have in common."""

    api_format: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]

    def asking(self, path: str, query: Mapping[str, str]) -> Asking | None:
        if path == f"{ACTIONS}/chat":
            return Asking(CHAT)
        return Asking(RERANK) if path == f"{ACTIONS}/rerankText" else None

    def question(self, operation: str, body: JSON) -> JSON:
        if operation == RERANK:
            return ORACLE.question(operation, body)
        only(body, "compartmentId", "servingMode", "chatRequest")
        if body["compartmentId"] != COMPARTMENT:
            raise NotUnderstood("compartmentId may not be null")
        asked = only(body["chatRequest"], *self.fields)
        if asked["apiFormat"] != self.api_format:
            raise NotUnderstood("Chat request type does not match serving model.")
        found: JSON = {"model": body["servingMode"]["modelId"], **self.said(asked)}
        found |= {ours: asked[own] for own, ours in OF_BOTH.items() if own in asked}
        if "responseFormat" in asked:
            form = only(asked["responseFormat"], "type", "schema")
            found["response_format"] = schema(form["schema"]) if "schema" in form else {"type": "json_object"}
        return found

    @abstractmethod
    def said(self, asked: JSON) -> JSON:
        """The messages and tools, as OpenAI has them."""

    def _ending(self, answer: Answer) -> JSON:
        usage = {"promptTokens": USAGE["prompt_tokens"], "completionTokens": USAGE["completion_tokens"]}
        return {"finishReason": self._reason(answer), "usage": usage | {"totalTokens": USAGE["total_tokens"]}}


class Cohere(AnyCohere):
    api_format, fields = "COHERE", COHERE_CHAT

    def said(self, asked: JSON) -> JSON:
        tools = {"tools": [_tool(one) for one in asked["tools"]]} if "tools" in asked else {}
        return {"messages": list(_turns(asked)), **tools}

    def whole(self, answer: Answer) -> JSON:
        said = {"apiFormat": "COHERE", "text": answer.text, **_calls(answer), **self._ending(answer)}
        return {"modelId": answer.model, "modelVersion": "1.7", "chatResponse": said}

    def events(self, answer: Answer) -> list[JSON]:
        """The last one says everything once more."""
        words = [{"apiFormat": "COHERE", "text": word} for word in answer.words]
        calls = [{"apiFormat": "COHERE", "text": "", **_calls(answer)}] if answer.calls else []
        last = {"apiFormat": "COHERE", "text": answer.text, **_calls(answer), "chatHistory": []}
        return [{"apiFormat": "COHERE", "text": ""}, *words, *calls, last | self._ending(answer)]


def _calls(answer: Answer) -> JSON:
    calls = [
        {"name": one["function"]["name"], "parameters": json.loads(one["function"]["arguments"])}
        for one in answer.calls
    ]
    return {"toolCalls": calls} if calls else {}


def _turns(asked: JSON) -> Iterator[JSON]:
    """Calls have no ids: each is known by its place, and a result is that of the first such call which has none yet."""
    made: list[JSON] = []
    for number, turn in enumerate(asked["chatHistory"]):
        match turn["role"]:
            case "SYSTEM" | "USER":
                yield {"role": turn["role"].lower(), "content": only(turn, "role", "message")["message"]}
            case "CHATBOT":
                only(turn, "role", "message", "toolCalls")
                calls = [call(f"call_{number}_{n}", **_made(one)) for n, one in enumerate(turn.get("toolCalls", ()))]
                made += calls
                said = {"content": turn["message"]} if turn["message"] else {}
                yield {"role": "assistant", **said, **({"tool_calls": calls} if calls else {})}
            case "TOOL":
                yield from _results(only(turn, "role", "toolResults")["toolResults"], made)
            case role:
                raise NotUnderstood(role)
    yield from _results(asked.get("toolResults", ()), made)
    if asked["message"]:
        yield {"role": "user", "content": asked["message"]}


def _made(one: JSON) -> JSON:
    return {"name": only(one, "name", "parameters")["name"], "arguments": needed(one, "parameters", dict)}


def _results(results: Any, made: list[JSON]) -> Iterator[JSON]:
    for result in results:
        only(result, "call", "outputs")
        whose = call("", **_made(result["call"]))["function"]
        first = next(one for one in made if one["function"] == whose)
        made.remove(first)
        [output] = result["outputs"]
        yield {"role": "tool", "tool_call_id": first["id"], "content": output["output"]}


def _tool(given: JSON) -> JSON:
    only(given, "name", "description", "parameterDefinitions")
    definitions = given["parameterDefinitions"]
    parameters = {"type": "object", "properties": {name: _property(one) for name, one in definitions.items()}}
    required = [name for name, one in definitions.items() if one["isRequired"]]
    described = None if given["description"] == given["name"] else given["description"]
    return tool(given["name"], parameters | {"required": required} if required else parameters, described)


def _property(definition: JSON) -> JSON:
    """A type, and in words what else a schema says."""
    only(definition, "description", "type", "isRequired")
    words, _, more = definition["description"].partition("JSON Schema: ")
    told = {"description": words.strip()} if words else {}
    return {"type": JSON_TYPES[definition["type"]], **told, **json.loads(more or "{}")}


class CommandA(AnyCohere):
    """Of streams their last event says nothing again here; test_oci_command_a.py has others."""

    api_format, fields = "COHEREV2", COMMAND_A_CHAT

    def said(self, asked: JSON) -> JSON:
        found: JSON = {"messages": [_turn(one) for one in asked["messages"]]}
        if "tools" in asked:
            found["tools"] = [_function(one) for one in asked["tools"]]
        if "toolsChoice" in asked:
            found["tool_choice"] = asked["toolsChoice"].lower()
        if "thinking" in asked:
            found["reasoning_effort"] = only(asked["thinking"], "type")["type"].lower()
        return found

    def whole(self, answer: Answer) -> JSON:
        blocks = [{"type": "THINKING", "thinking": answer.thought}] if answer.thoughts else []
        blocks += [{"type": "TEXT", "text": answer.text}] if answer.words else []
        calls = {"toolCalls": [_made_v2(one) for one in answer.calls]} if answer.calls else {}
        message = {"role": "ASSISTANT", "content": blocks, **calls}
        said = {"apiFormat": "COHEREV2", "id": "c-1", "message": message, **self._ending(answer)}
        return {"modelId": answer.model, "modelVersion": "1.0", "chatResponse": said}

    def events(self, answer: Answer) -> list[JSON]:
        thoughts = [_event({"content": [{"type": "THINKING", "thinking": thought}]}) for thought in answer.thoughts]
        words = [_event({"content": [{"type": "TEXT", "text": word}]}) for word in answer.words]
        calls = [_event({"toolCalls": [_made_v2(one)]}) for one in answer.calls]
        last = {"apiFormat": "COHEREV2", **self._ending(answer)}
        return [_event({"content": [{"type": "TEXT", "text": ""}]}), *thoughts, *words, *calls, last]


def _event(message: JSON) -> JSON:
    return {"apiFormat": "COHEREV2", "message": {"role": "ASSISTANT", **message}}


def _made_v2(one: JSON) -> JSON:
    return {"id": one["id"], "type": "FUNCTION", "function": one["function"]}


def _turn(said: JSON) -> JSON:
    only(said, "role", "content", "toolCalls", "toolPlan", "toolCallId")
    turn: JSON = {"role": said["role"].lower()}
    parts = content(_block(block) for block in said.get("content", ()))
    plan = said.get("toolPlan")
    if parts or plan:
        turn["content"] = parts or plan
    if "toolCalls" in said:
        turn["tool_calls"] = [
            only(one, "id", "type", "function") | {"type": one["type"].lower()} for one in said["toolCalls"]
        ]
    if said["role"] == "TOOL":
        turn |= {"tool_call_id": said["toolCallId"], "content": parts or ""}
    return turn


def _block(block: JSON) -> JSON:
    match block["type"]:
        case "TEXT":
            return text(only(block, "type", "text")["text"])
        case "IMAGE_URL":
            return image_at(only(only(block, "type", "imageUrl")["imageUrl"], "url", "detail")["url"])
    raise NotUnderstood(f"Unexpected block of type {block['type']}")


def _function(given: JSON) -> JSON:
    if only(given, "type", "function")["type"] != "FUNCTION":
        raise NotUnderstood("tools.type")
    function = only(given["function"], "name", "description", "parameters")
    return tool(function["name"], function.get("parameters", {"type": "object"}), function.get("description"))


ORACLE_COHERE = Cohere(
    "remote::oci",
    "https://docs.oracle.com/en-us/iaas/api/#/en/generative-ai-inference/20231130/datatypes/CohereChatRequest; of its "
    "streams, whose last event repeats the answer: https://github.com/oracle/langchain-oracle",
    variant="-cohere",
    config={"oci_compartment_id": COMPARTMENT},
    address="",
    model="cohere.command-sky",
    reasons={"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "COMPLETE", "content_filter": "ERROR_TOXIC"},
    headers={"CompartmentId": COMPARTMENT},
    ranking=ORACLE.ranking,
    chooses=False,
    sees=False,
    places={
        "max_tokens": ("chatRequest.maxTokens",),
        "max_completion_tokens": ("chatRequest.maxTokens",),
        "temperature": ("chatRequest.temperature",),
        "top_p": ("chatRequest.topP",),
        "stop": ("chatRequest.stopSequences",),
        "seed": ("chatRequest.seed",),
        "frequency_penalty": ("chatRequest.frequencyPenalty",),
        "presence_penalty": ("chatRequest.presencePenalty",),
        "response_format": ("chatRequest.responseFormat",),
        "tools": ("chatRequest.tools",),
    },
    told={"/20231130/models": {"items": [LISTED | {"displayName": "cohere.command-sky"}]}},
    unauthorized=ORACLE.unauthorized,
    unknown_model=ORACLE.unknown_model,
    too_many=ORACLE.too_many,
    failure=ORACLE.failure,
    broken={"code": "500", "message": "It ran out of memory."},
    nonsense=({}, {"message": "x"}, {"text": 7}, {"toolCalls": "x"}, {"finishReason": 7}, {"chatResponse": 1}),
)

ORACLE_COMMAND_A = CommandA(
    "remote::oci",
    "Oracle's package oci (generative_ai_inference.models: CohereChatRequestV2, CohereChatResponseV2); of its streams "
    "https://github.com/cohere-ai/cohere-python (src/cohere/oci_client.py)",
    variant="-command-a",
    config={"oci_compartment_id": COMPARTMENT},
    address="",
    model="cohere.command-a-reasoning-vision-sky",
    reasons={"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL", "content_filter": "ERROR_TOXIC"},
    headers={"CompartmentId": COMPARTMENT},
    ranking=ORACLE.ranking,
    thinks=True,
    places={
        **ORACLE_COHERE.places,
        "tool_choice": ("chatRequest.toolsChoice",),
        "reasoning_effort": ("chatRequest.thinking",),
    },
    told={"/20231130/models": {"items": [LISTED | {"displayName": "cohere.command-a-reasoning-vision-sky"}]}},
    unauthorized=ORACLE.unauthorized,
    unknown_model=ORACLE.unknown_model,
    too_many=ORACLE.too_many,
    failure=ORACLE.failure,
    broken={"code": "500", "message": "It ran out of memory."},
    nonsense=(
        *({}, {"message": "x"}, {"finishReason": 7}, {"chatResponse": 1}, {"message": {"toolCalls": "x"}}),
        *({"message": {"content": [{"text": 7}]}}, {"message": {"toolCalls": [{"id": "a"}]}}),
    ),
)
