"""Google's generateContent, as the Gemini API and Vertex AI speak it."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.vendors.anthropic import ANTHROPIC, Messages
from tests.conformance.vendors.native import Native, call, content, image, image_at, needed, only, schema, text, tool
from tests.conformance.vendors.vendor import CHAT, EMBEDDINGS, JSON, USAGE, Answer, Asking, NotUnderstood

CHATS = {"generateContent": False, "streamGenerateContent": True}
AS_THEY_ARE = {
    "temperature": "temperature",
    "topP": "top_p",
    "seed": "seed",
    "candidateCount": "n",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
}
CONFIG = (*AS_THEY_ARE, "responseMimeType", "responseJsonSchema", "thinkingConfig", "responseLogprobs", "logprobs")
BUDGETS = {0: "none", 1024: "low", 8192: "medium", 24576: "high"}
CACHED, THOUGHT = 2, 1


@dataclass(frozen=True)
class Generates(Native):
    """`embeds` is the operation that gives vectors, `resources` is where the models are; `ids`: calls may have them."""

    embeds: str = "batchEmbedContents"
    resources: str = "models"
    ids: bool = True

    def asking(self, path: str, query: Mapping[str, str]) -> Asking | None:
        found = re.fullmatch(f"{self.prefix}/{self.resources}/([^/:]+):([a-zA-Z]+)", path)
        if found is None:
            return None
        model, method = self.model.removesuffix("sky") + found[1], found[2]
        if method == self.embeds:
            return Asking(EMBEDDINGS, model)
        if method not in CHATS or dict(query) != ({"alt": "sse"} if CHATS[method] else {}):
            return None
        return Asking(CHAT, model, CHATS[method])

    def question(self, operation: str, body: JSON) -> JSON:
        if operation == EMBEDDINGS:
            return {"input": list(self._texts(body))}
        only(body, "contents", "systemInstruction", "generationConfig", "tools", "toolConfig", "safetySettings")
        if not needed(body, "contents", list):
            raise NotUnderstood("contents is not specified")
        said = only(body.get("systemInstruction", {}), "parts").get("parts", [])
        asked: JSON = {"messages": [{"role": "system", "content": content(map(_part, said))}] if said else []}
        asked["messages"] += [turn for turns in body["contents"] for turn in _turns(turns)]
        if not self.ids:
            _number(asked["messages"])
        return asked | _config(only(body.get("generationConfig", {}), *CONFIG)) | _tools(body)

    def _texts(self, body: JSON) -> Iterator[str]:
        for one in needed(only(body, "requests"), "requests", list):
            only(one, "model", "content", "outputDimensionality", "taskType")
            [part] = only(one["content"], "parts")["parts"]
            yield only(part, "text")["text"]

    def vectors(self, body: JSON, vectors: list[list[float]]) -> JSON:
        return {"embeddings": [{"values": vector} for vector in vectors]}

    def whole(self, answer: Answer) -> JSON:
        parts = [*_thoughts(answer.thoughts), *([text_of(answer.text)] if answer.words else []), *_called(answer)]
        return self._answer(answer, parts, self._ending(answer))

    def events(self, answer: Answer) -> list[JSON]:
        """Calls come whole, each in an event of its own; the signature at the end of a text in an empty part."""
        parts = [*_thoughts(answer.thoughts), *map(text_of, answer.words), *_called(answer)]
        each = [self._answer(answer, [part], {}, index) for part in parts for index in range(answer.choices)]
        signed: list[JSON] = [] if answer.calls else [{"text": "", "thoughtSignature": "c2lnbmVk"}]
        ends = [self._answer(answer, signed, self._ending(answer), index) for index in range(answer.choices)]
        return [*each, *ends]

    def _answer(self, answer: Answer, parts: list[JSON], ending: JSON, only_of: int | None = None) -> JSON:
        indexes = range(answer.choices) if only_of is None else (only_of,)
        said = {"content": {"parts": parts, "role": "model"}} if parts else {}
        candidates = [{**said, **ending, "index": index} for index in indexes]
        usage: JSON = {
            "promptTokenCount": USAGE["prompt_tokens"],
            "cachedContentTokenCount": CACHED,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": USAGE["prompt_tokens"]}],
        }
        if ending:
            usage |= {"candidatesTokenCount": USAGE["completion_tokens"] - THOUGHT, "thoughtsTokenCount": THOUGHT}
            usage["totalTokenCount"] = USAGE["total_tokens"]
        head = {"modelVersion": answer.model, "responseId": "reply-1"}
        return {"candidates": candidates, "usageMetadata": usage, **head}

    def _ending(self, answer: Answer) -> JSON:
        return {"finishReason": self.reasons["stop" if answer.calls else answer.reason]}


@dataclass(frozen=True)
class Predicts(Generates):
    """Vertex AI's embeddings come from where all its models predict."""

    embeds: str = "predict"
    ids: bool = False
    resources: str = "publishers/google/models"
    embedding_usage: JSON | None = field(default_factory=lambda: {"prompt_tokens": 3, "total_tokens": 3})

    def _texts(self, body: JSON) -> Iterator[str]:
        for instance in needed(only(body, "instances", "parameters"), "instances", list):
            yield only(instance, "content", "task_type", "title")["content"]

    def vectors(self, body: JSON, vectors: list[list[float]]) -> JSON:
        counted = {"truncated": False, "token_count": 1}
        return {"predictions": [{"embeddings": {"values": vector, "statistics": counted}} for vector in vectors]}


@dataclass(frozen=True)
class Claude(Messages):
    """Anthropic's models on Vertex AI: their dialect, with the model in the path and the version in the body."""

    def asking(self, path: str, query: Mapping[str, str]) -> Asking | None:
        found = re.fullmatch(f"{self.prefix}/publishers/anthropic/models/([^/:]+):(rawPredict|streamRawPredict)", path)
        if found is None or query:
            return None
        return Asking(CHAT, f"anthropic/{found[1]}", found[2] == "streamRawPredict")

    def question(self, operation: str, body: JSON) -> JSON:
        if body.get("anthropic_version") != "vertex-2023-10-16" or "model" in body:
            raise NotUnderstood("anthropic_version: Field required; model: Extra inputs are not permitted")
        return super().question(operation, {name: body[name] for name in body if name != "anthropic_version"})


def text_of(said: str) -> JSON:
    return {"text": said}


def _thoughts(thoughts: Iterable[str]) -> list[JSON]:
    return [{"text": thought, "thought": True} for thought in thoughts]


def _called(answer: Answer) -> list[JSON]:
    """The Gemini API leaves ids out; of parallel calls the first has a signature."""
    made = [one["function"] for one in answer.calls]
    parts = [{"functionCall": {"name": one["name"], "args": json.loads(one["arguments"])}} for one in made]
    return [part | ({"thoughtSignature": "c2lnbmVk"} if place == 0 else {}) for place, part in enumerate(parts)]


def _turns(said: JSON) -> Iterator[JSON]:
    parts = needed(only(said, "role", "parts"), "parts", list)
    if said["role"] not in ("user", "model") or not parts:
        raise NotUnderstood("Please use a valid role: user, model.")
    if said["role"] == "model":
        yield _model(parts)
        return
    results = [part["functionResponse"] for part in parts if "functionResponse" in part]
    for result in results:
        only(result, "id", "name", "response", "parts")
        told = needed(result, "response", dict)
        output = told["output"] if told.keys() == {"output"} else json.dumps(told)
        yield {"role": "tool", "tool_call_id": result.get("id"), "content": output}
    if rest := [part for part in parts if "functionResponse" not in part]:
        yield {"role": "user", "content": content(map(_part, rest))}


def _number(messages: list[JSON]) -> None:
    """Ids for calls and results that have none, and may not have any: they are told apart by their order."""
    waiting: list[str] = []
    for place, message in enumerate(messages):
        for number, one in enumerate(message.get("tool_calls") or ()):
            if one["id"] is not None:
                raise NotUnderstood('Unknown name "id" at function_call: Cannot find field.')
            one["id"] = f"made_{place}_{number}"
            waiting.append(one["id"])
        if message["role"] == "tool":
            if message["tool_call_id"] is not None:
                raise NotUnderstood('Unknown name "id" at function_response: Cannot find field.')
            message["tool_call_id"] = waiting.pop(0)


def _model(parts: list[JSON]) -> JSON:
    turn: JSON = {"role": "assistant"}
    if said := [_part(part) for part in parts if "text" in part and not part.get("thought")]:
        turn["content"] = content(said)
    made = [only(part, "functionCall", "thoughtSignature")["functionCall"] for part in parts if "functionCall" in part]
    if made:
        turn["tool_calls"] = [
            call(only(one, "id", "name", "args").get("id"), one["name"], needed(one, "args", dict)) for one in made
        ]
    return turn


def _part(part: JSON) -> JSON:
    if "text" in part:
        return text(only(part, "text", "thoughtSignature")["text"])
    if "inlineData" in part:
        blob = only(only(part, "inlineData")["inlineData"], "mimeType", "data")
        return image(blob["mimeType"], blob["data"])
    file = only(only(part, "fileData")["fileData"], "mimeType", "fileUri")
    needed(file, "mimeType", str)
    return image_at(file["fileUri"])


def _config(config: JSON) -> JSON:
    asked = {name: config[google] for google, name in AS_THEY_ARE.items() if google in config}
    if "responseJsonSchema" in config:
        if config.get("responseMimeType") != "application/json":
            raise NotUnderstood("A schema needs response_mime_type application/json")
        asked["response_format"] = schema(needed(config, "responseJsonSchema", dict))
    elif "responseMimeType" in config:
        asked["response_format"] = {"type": "json_object"}
    if "thinkingConfig" in config:
        thinking = only(config["thinkingConfig"], "thinkingLevel", "thinkingBudget", "includeThoughts")
        asked["reasoning_effort"] = thinking.get("thinkingLevel", "").lower() or BUDGETS[thinking["thinkingBudget"]]
    if "logprobs" in config and not config.get("responseLogprobs"):
        raise NotUnderstood("Logprobs requires response_logprobs")
    return asked


def _tools(body: JSON) -> JSON:
    if "tools" not in body:
        return {}
    given = [tool for one in body["tools"] for tool in only(one, "functionDeclarations")["functionDeclarations"]]
    for one in given:
        only(one, "name", "description", "parametersJsonSchema")
    asked: JSON = {
        "tools": [tool(one["name"], one.get("parametersJsonSchema"), one.get("description")) for one in given]
    }
    mode = only(
        only(body.get("toolConfig", {}), "functionCallingConfig").get("functionCallingConfig", {}), "mode", NAMES
    )
    if not mode:
        return asked
    return asked | {"tool_choice": _choice(mode["mode"], mode.get(NAMES))}


NAMES = "allowedFunctionNames"


def _choice(mode: str, names: list[str] | None) -> Any:
    kinds = {"AUTO": "auto", "ANY": "required", "NONE": "none", "VALIDATED": "auto"}
    if not names:
        return kinds[mode]
    if mode not in ("ANY", "VALIDATED"):
        raise NotUnderstood("allowed_function_names is for the modes ANY and VALIDATED")
    allowed = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": kinds[mode], "tools": allowed}}


PLACES = {
    "max_tokens": ("generationConfig.maxOutputTokens",),
    "max_completion_tokens": ("generationConfig.maxOutputTokens",),
    "temperature": ("generationConfig.temperature",),
    "top_p": ("generationConfig.topP",),
    "n": ("generationConfig.candidateCount",),
    "stop": ("generationConfig.stopSequences",),
    "seed": ("generationConfig.seed",),
    "frequency_penalty": ("generationConfig.frequencyPenalty",),
    "presence_penalty": ("generationConfig.presencePenalty",),
    "logprobs": ("generationConfig.responseLogprobs",),
    "top_logprobs": ("generationConfig.logprobs",),
    "response_format": ("generationConfig.responseMimeType", "generationConfig.responseJsonSchema"),
    "tools": ("tools",),
    "tool_choice": ("toolConfig.functionCallingConfig.mode",),
    "reasoning_effort": ("generationConfig.thinkingConfig",),
    "messages.content.input_audio": ("contents",),
    "messages.content.file": ("contents",),
}
# A newer server may tell how a model is before it answers.
NOVELTIES = ({"candidates": [], "modelStatus": {"modelStage": "STABLE"}},)


def failure(code: int, status: str, message: str) -> JSON:
    return {"error": {"code": code, "message": message, "status": status}}


LISTED = {
    "name": "models/sky",
    "displayName": "Sky",
    "inputTokenLimit": 1048576,
    "outputTokenLimit": 65536,
    "supportedGenerationMethods": ["generateContent", "countTokens"],
}

GEMINI = Generates(
    "remote::gemini",
    "https://ai.google.dev/api/generate-content, https://ai.google.dev/gemini-api/docs/troubleshooting",
    prefix="/v1beta",
    offers=frozenset({CHAT, EMBEDDINGS}),
    authorization=("x-goog-api-key", "{key}"),
    line_end=b"\r\n",
    several=True,
    thinks=True,
    reasons={"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"},
    extras={
        "prompt_tokens_details": {"cached_tokens": CACHED},
        "completion_tokens_details": {"reasoning_tokens": THOUGHT},
    },
    places=PLACES,
    novelties=NOVELTIES,
    told={"/v1beta/models": {"models": [LISTED]}},
    # A wrong key is a bad request.
    unauthorized=(400, failure(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")),
    unknown_model=(404, failure(404, "NOT_FOUND", "models/unknown is not found for API version v1beta.")),
    too_many=(429, failure(429, "RESOURCE_EXHAUSTED", "Resource exhausted.")),
    failure=(500, failure(500, "INTERNAL", "An internal error has occurred.")),
    broken=failure(503, "UNAVAILABLE", "It ran out of memory."),
)

VERTEX = Predicts(
    "remote::vertexai",
    "https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference, …/text-embeddings-api",
    prefix="/v1/projects/p/locations/us-central1",
    config={"project": "p", "location": "us-central1", "allowed_models": ["google/sky"]},
    offers=frozenset({CHAT, EMBEDDINGS}),
    model="google/sky",
    line_end=b"\r\n",
    several=True,
    thinks=True,
    reasons=GEMINI.reasons,
    extras=GEMINI.extras,
    places=PLACES,
    novelties=NOVELTIES,
    unauthorized=(401, failure(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")),
    unknown_model=(404, failure(404, "NOT_FOUND", "Publisher Model `unknown` was not found.")),
    too_many=GEMINI.too_many,
    failure=GEMINI.failure,
    broken=GEMINI.broken,
)

CLAUDE_MODEL = "anthropic/claude-sonnet-4-5-sky"
VERTEX_CLAUDE = Claude(
    "remote::vertexai",
    "https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai",
    variant="-claude",
    prefix=VERTEX.prefix,
    config={"project": "p", "location": "us-central1", "allowed_models": [CLAUDE_MODEL]},
    model=CLAUDE_MODEL,
    beginning=ANTHROPIC.beginning,
    reasons=ANTHROPIC.reasons,
    extras=ANTHROPIC.extras,
    thinks=True,
    places=ANTHROPIC.places,
    novelties=ANTHROPIC.novelties,
    unauthorized=VERTEX.unauthorized,
    unknown_model=VERTEX.unknown_model,
    too_many=VERTEX.too_many,
    failure=ANTHROPIC.failure,
    broken=ANTHROPIC.broken,
)
