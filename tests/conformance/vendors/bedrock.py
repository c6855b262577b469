"""Amazon Bedrock's Converse and ConverseStream. What AWS's own client would not send is not understood."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tests.bedrock import check
from tests.conformance.vendors.native import Native, call, content, image, schema, text, tool
from tests.conformance.vendors.vendor import CHAT, JSON, USAGE, Answer, Asking, NotUnderstood, Vendor
from tests.frames import MEDIA_TYPE, frame

SKY = "anthropic.claude-sonnet-4-5-sky"
OPERATIONS = {"converse": False, "converse-stream": True}
SIGNED = "c2lnbmVk"
ANSWERS = ("answer", "place")


@dataclass(frozen=True)
class Converse(Native):
    """`by_tool`: the model has no schemas, and JSON comes as the input of a tool that it is made to call."""

    by_tool: bool = False

    media_type: ClassVar[str] = MEDIA_TYPE
    malformed: ClassVar[bytes] = frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "is"}})[:40]

    @property
    def elsewhere(self) -> Mapping[str, Any]:
        listed = SUMMARY | {"modelId": self.model}
        return {
            "/foundation-models": {"modelSummaries": [listed]},
            "/inference-profiles": {"inferenceProfileSummaries": []},
        }

    def asking(self, path: str, query: Mapping[str, str]) -> Asking | None:
        start, _, rest = path.removeprefix("/").partition("/")
        model, _, operation = rest.rpartition("/")
        if start != "model" or operation not in OPERATIONS or query:
            return None
        return Asking(CHAT, model, OPERATIONS[operation])

    def question(self, operation: str, body: JSON) -> JSON:
        try:
            check(body)
        except AssertionError as error:
            raise NotUnderstood(str(error)) from error
        asked: JSON = {"messages": [*_system(body), *(turn for said in body["messages"] for turn in _turns(said))]}
        inference = body.get("inferenceConfig", {})
        names = {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "top_p", "stopSequences": "stop"}
        asked |= {names[name]: value for name, value in inference.items()}
        if "user" in body.get("requestMetadata", {}):
            asked["user"] = body["requestMetadata"]["user"]
        asked |= _tools(body) | _output(body) | _more(body)
        return _answering(asked)

    def whole(self, answer: Answer) -> JSON:
        blocks = [_block(one) for one in _said(self._as_called(answer))]
        said = {"output": {"message": {"role": "assistant", "content": blocks}}, "metrics": {"latencyMs": 420}}
        return said | self._ending(answer) | {"usage": self._usage()}

    def events(self, answer: Answer) -> list[JSON]:
        begun: list[JSON] = [{"messageStart": {"role": "assistant"}}]
        blocks = [
            event for index, block in enumerate(_said(self._as_called(answer))) for event in _streamed(index, block)
        ]
        return [*begun, *blocks, {"messageStop": self._ending(answer)}]

    def encoded(self, event: JSON) -> bytes:
        """A frame has one event: the first."""
        name, said = next(iter(event.items()))
        return frame(name, said)

    def failing(self, event: JSON) -> bytes:
        """An exception; what is no such is an event that means nothing."""
        if event.keys() == {"message"}:
            return frame("modelStreamErrorException", event, "exception")
        return self.encoded(event)

    @property
    def end(self) -> bytes:
        return frame("metadata", {"usage": self._usage(), "metrics": {"latencyMs": 420}})

    def _ending(self, answer: Answer) -> JSON:
        reason = "stop_sequence" if answer.stop else self.reasons[answer.reason]
        return {"stopReason": "tool_use" if self._as_called(answer).calls else reason}

    def _as_called(self, answer: Answer) -> Answer:
        wanted = answer.body.get("response_format")
        if not (self.by_tool and wanted):
            return answer
        function = {"name": wanted["json_schema"]["name"], "arguments": answer.text}
        return replace(answer, words=[], calls=[{"id": "tooluse_0", "type": "function", "function": function}])

    def _usage(self) -> JSON:
        """The tokens that are read from a cache are not among the others."""
        cached = self.extras["prompt_tokens_details"]["cached_tokens"]
        told = {"inputTokens": USAGE["prompt_tokens"] - cached, "outputTokens": USAGE["completion_tokens"]}
        return told | {"totalTokens": USAGE["total_tokens"], "cacheReadInputTokens": cached, "cacheWriteInputTokens": 0}


def _system(body: JSON) -> list[JSON]:
    parts = [text(block["text"]) for block in body.get("system", ()) if "text" in block]
    return [{"role": "system", "content": content(parts)}] if parts else []


def _turns(said: JSON) -> Iterator[JSON]:
    """A turn of the user may answer tool calls, and say something after that."""
    blocks = said["content"]
    if not blocks or any(not block.get("text", "x").strip() for block in blocks):
        raise NotUnderstood("The text field in the ContentBlock object is blank.")
    if said["role"] == "assistant":
        yield _assistant(blocks)
        return
    for block in blocks:
        if "toolResult" in block:
            result = block["toolResult"]
            parts = content(_part(one) for one in result["content"])
            yield {"role": "tool", "tool_call_id": result["toolUseId"], "content": parts or ""}
    if rest := [_part(block) for block in blocks if "toolResult" not in block]:
        yield {"role": "user", "content": content(rest)}


def _assistant(blocks: list[JSON]) -> JSON:
    turn: JSON = {"role": "assistant"}
    if said := [_part(block) for block in blocks if "text" in block]:
        turn["content"] = content(said)
    uses = [block["toolUse"] for block in blocks if "toolUse" in block]
    if uses:
        turn["tool_calls"] = [call(use["toolUseId"], use["name"], use["input"]) for use in uses]
    return turn


def _part(block: JSON) -> JSON:
    if "text" in block:
        return text(block["text"])
    if "image" in block:
        return image(f"image/{block['image']['format']}", block["image"]["source"]["bytes"])
    raise NotUnderstood(f"Unexpected block {block}")


def _tools(body: JSON) -> JSON:
    if "toolConfig" not in body:
        if "toolUse" in json.dumps(body["messages"]):
            raise NotUnderstood(
                "The toolConfig field must be defined when using toolUse and toolResult content blocks."
            )
        return {}
    specs = [one["toolSpec"] for one in body["toolConfig"]["tools"] if "toolSpec" in one]
    tools = [tool(spec["name"], spec["inputSchema"]["json"], spec.get("description")) for spec in specs]
    match body["toolConfig"].get("toolChoice"):
        case None | {"auto": _}:
            return {"tools": tools}
        case {"any": _}:
            return {"tools": tools, "tool_choice": "required"}
        case {"tool": {"name": name}}:
            return {"tools": tools, "tool_choice": {"type": "function", "function": {"name": name}}}
    raise NotUnderstood("toolChoice")


def _output(body: JSON) -> JSON:
    format_ = body.get("outputConfig", {}).get("textFormat")
    return {"response_format": schema(json.loads(format_["structure"]["jsonSchema"]["schema"]))} if format_ else {}


def _more(body: JSON) -> JSON:
    more = body.get("additionalModelRequestFields", {})
    if odd := more.keys() - {"thinking", "top_k"}:
        raise NotUnderstood(f"extraneous key {sorted(odd)} is not permitted")
    if "thinking" not in more:
        return {}
    limit = body.get("inferenceConfig", {}).get("maxTokens", 64_000)
    if not 1024 <= more["thinking"]["budget_tokens"] < limit:
        raise NotUnderstood("thinking.budget_tokens: at least 1024, and less than max_tokens")
    return {"reasoning_effort": more["thinking"]["type"]}


def _answering(asked: JSON) -> JSON:
    """A tool that is called as the formats of tests are stands for the answer; that, or another, has to be called."""
    tools = asked.get("tools", [])
    [answer, *_] = [one["function"] for one in tools if one["function"]["name"] in ANSWERS] or [None]
    if answer is None:
        return asked
    rest = [one for one in tools if one["function"] is not answer]
    wanted = answer["parameters"]
    format_ = {"type": "json_object"} if wanted == {"type": "object"} else schema(wanted, answer["name"])
    left = {name: value for name, value in asked.items() if name not in ("tools", "tool_choice")}
    return left | {"response_format": format_} | ({"tools": rest} if rest else {})


def _said(answer: Answer) -> Iterator[tuple[str, Any]]:
    """The blocks of an answer: what each is, and its pieces."""
    if answer.thoughts:
        yield "reasoningContent", answer.thoughts
    if answer.words:
        yield "text", answer.words
    for one in answer.calls:
        yield "toolUse", one


def _block(said: tuple[str, Any]) -> JSON:
    kind, pieces = said
    match kind:
        case "text":
            return {"text": "".join(pieces)}
        case "reasoningContent":
            return {kind: {"reasoningText": {"text": "".join(pieces), "signature": SIGNED}}}
    use = {"toolUseId": pieces["id"], "name": pieces["function"]["name"]}
    return {kind: use | {"input": json.loads(pieces["function"]["arguments"])}}


def _streamed(index: int, said: tuple[str, Any]) -> Iterator[JSON]:
    """Only of a tool call it is said that it begins."""
    kind, pieces = said
    deltas: list[JSON] = []
    if kind == "toolUse":
        start = {"toolUseId": pieces["id"], "name": pieces["function"]["name"]}
        yield {"contentBlockStart": {"start": {"toolUse": start}, "contentBlockIndex": index, "p": "abcd"}}
        arguments = pieces["function"]["arguments"]
        deltas = [{"toolUse": {"input": piece}} for piece in ("", arguments[:5], arguments[5:])]
    elif kind == "reasoningContent":
        deltas = [{kind: {"text": piece}} for piece in pieces] + [{kind: {"signature": SIGNED}}]
    else:
        deltas = [{"text": piece} for piece in pieces]
    for delta in deltas:
        yield {"contentBlockDelta": {"delta": delta, "contentBlockIndex": index, "p": "abcdefgh"}}
    yield {"contentBlockStop": {"contentBlockIndex": index}}


SUMMARY = {
    "modelArn": f"arn:aws:bedrock:us-east-2::foundation-model/{SKY}",
    "modelId": SKY,
    "modelName": "Sky",
    "providerName": "Anthropic",
    "inputModalities": ["TEXT", "IMAGE"],
    "outputModalities": ["TEXT"],
    "responseStreamingSupported": True,
    "inferenceTypesSupported": ["ON_DEMAND"],
    "modelLifecycle": {"status": "ACTIVE"},
}

BEDROCK = Converse(
    "remote::bedrock",
    "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html, …/API_runtime_ConverseStream",
    address="",
    model=SKY,
    beginning=2,
    thinks=True,
    reasons={
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "guardrail_intervened",
    },
    extras={"prompt_tokens_details": {"cached_tokens": 2, "cache_creation_tokens": 0}},
    # Where none may be called, a conversation with calls has its tools defined all the same: nobody can tell.
    asks={"addresses": False, "without": ("tool_choice",)},
    places={
        "max_tokens": ("inferenceConfig.maxTokens",),
        "max_completion_tokens": ("inferenceConfig.maxTokens",),
        "temperature": ("inferenceConfig.temperature",),
        "top_p": ("inferenceConfig.topP",),
        "stop": ("inferenceConfig.stopSequences",),
        "user": ("requestMetadata.user",),
        "safety_identifier": ("requestMetadata.safety_identifier",),
        "response_format": ("outputConfig.textFormat",),
        "tools": ("toolConfig.tools",),
        "tool_choice": ("toolConfig.toolChoice",),
        "reasoning_effort": ("additionalModelRequestFields.thinking",),
        "service_tier": ("serviceTier",),
        "messages.content.input_audio": ("messages",),
        "messages.content.file": ("messages",),
    },
    novelties=({"novelty": {"contentBlockIndex": 0}},),
    unauthorized=(403, {"message": "Authentication failed: Please make sure your API Key is valid."}),
    unknown_model=(404, {"message": "Could not resolve the foundation model from the model identifier: unknown"}),
    too_many=(429, {"message": "Too many tokens, please wait before trying again."}),
    failure=(500, {"message": "The system encountered an unexpected error during processing. Try your request again."}),
    broken={"message": "It ran out of memory."},
    nonsense=(
        {"message": 7},
        {"contentBlockDelta": 7},
        {"contentBlockDelta": {"contentBlockIndex": "0", "delta": {"text": "is"}}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": 7}}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{}"}}}},
        {"contentBlockStart": {"contentBlockIndex": 0, "start": {"toolUse": "now"}}},
        {"messageStop": {}},
        {"messageStop": {"stopReason": "malformed_model_output"}},
        {"metadata": {"usage": {"inputTokens": "many"}}},
    ),
)

# A model that follows no schemas, and that does not reason.
BEDROCK_BY_TOOL = replace(
    BEDROCK,
    variant="-by-tool",
    by_tool=True,
    thinks=False,
    model="us.amazon.nova-sky",
    places={
        **{name: place for name, place in BEDROCK.places.items() if name != "reasoning_effort"},
        "response_format": ("toolConfig",),
    },
)

FAULTS = (
    *(
        "unknown",
        "busy",
        "failing",
        "page",
        "blocked",
        "sign-in",
        "well",
        "slow",
        "silent",
        "reset",
        "cut",
        "malformed",
    ),
    *("broken", "half", "endless", "zipped", "refusing", "contrary", "contrary-broken"),
)
# Of models that the config names, its OpenAI-compatible API.
BEDROCK_OPENAI = Vendor(
    "remote::bedrock",
    "https://docs.aws.amazon.com/bedrock/latest/userguide/inference-chat-completions.html",
    variant="-openai",
    prefix="/openai/v1",
    address="",
    config={"openai_models": [f"openai.gpt-oss-{name}" for name in ("sky", *FAULTS)]},
    offers=frozenset({CHAT}),
    model="openai.gpt-oss-sky",
    told=BEDROCK.told,
    unauthorized=BEDROCK.unauthorized,
)
