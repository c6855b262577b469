"""Google's candidates as OpenAI's choices, whole and in a stream.

Format: https://ai.google.dev/api/generate-content#candidate, #FinishReason, #UsageMetadata, #LogprobsResult. Every
function takes an upstream's JSON, in which anything may be of any type.
"""

from typing import Any

import orjson

from apps.inference.dialect import AnswerFailed, Malformed
from apps.inference.dialect.answers import FAILURES, objects, reason_of
from llamastack.ids import new_id

JSON = dict[str, Any]
READ = frozenset({"content", "finishReason", "index", "logprobsResult"})
# A blocked prompt is an answer: the model's refusal, with the reason that Google gives.
BLOCKED = "Google blocked the prompt"


class Message:
    """What parts of a message say, in OpenAI's fields; a stream's deltas are such messages too."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.thought: list[str] = []
        self.calls: list[JSON] = []
        self.images: list[JSON] = []
        self.google: JSON = {}

    def add(self, part: JSON) -> None:
        text, call = part.get("text"), part.get("functionCall")
        signature = _signature(part)
        if call is not None:
            self.calls.append(_call(call) | ({"extra_content": {"google": signature}} if signature else {}))
        elif isinstance(text, str):
            (self.thought if part.get("thought") else self.text).append(text)
            self.google |= signature
        elif (image := _image(part)) is not None:
            self.images.append(image | ({"extra_content": {"google": signature}} if signature else {}))
        elif part:
            self.google.setdefault("parts", []).append(part)

    def fields(self) -> JSON:
        told: JSON = {}
        if self.text:
            told["content"] = "".join(self.text)
        if self.thought:
            told["reasoning_content"] = "".join(self.thought)
        if self.calls:
            told["tool_calls"] = self.calls
        if self.images:
            told["images"] = self.images
        if self.google:
            told["extra_content"] = {"google": self.google}
        return told


def message(candidate: JSON) -> JSON:
    content = candidate.get("content")
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise Malformed("the 'content' of a candidate is no object")
    said = Message()
    for part in objects(content.get("parts")):
        said.add(part)
    return said.fields()


def _signature(part: JSON) -> JSON:
    signature = part.get("thoughtSignature")
    return {"thought_signature": signature} if isinstance(signature, str) else {}


def _call(call: Any) -> JSON:
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise Malformed("a 'functionCall' has no name")
    function = {"name": call["name"], "arguments": orjson.dumps(call.get("args") or {}).decode()}
    own = call.get("id")
    return {"id": own if own and isinstance(own, str) else new_id("call_"), "type": "function", "function": function}


def _image(part: JSON) -> JSON | None:
    """An image that the model made, as others answer with them too."""
    blob = part.get("inlineData")
    if not isinstance(blob, dict) or not str(blob.get("mimeType")).startswith("image/"):
        return None
    return {"type": "image_url", "image_url": {"url": f"data:{blob['mimeType']};base64,{blob.get('data')}"}}


def ended(candidate: JSON, *, called: bool) -> JSON:
    """Why a candidate ended. Raises AnswerFailed where that makes it no answer."""
    reason = candidate.get("finishReason")
    if isinstance(reason, str) and reason.lower() in FAILURES and candidate.get("finishMessage"):
        raise AnswerFailed(f"{reason}: {candidate['finishMessage']}")
    return reason_of({"finish_reason": reason}, called=called)


def beyond(candidate: JSON) -> JSON:
    """What OpenAI has no field for (citations, grounding, ratings of safety), under Google's own names."""
    return {name: value for name, value in candidate.items() if name not in READ}


def refusal(candidate: JSON, reason: JSON) -> str | None:
    """Why an answer was withheld, where Google says it."""
    told = candidate.get("finishMessage")
    return told if reason["finish_reason"] == "content_filter" and isinstance(told, str) else None


def blocked(answer: JSON) -> str | None:
    """Why the prompt was blocked, in a sentence, where it was."""
    feedback = answer.get("promptFeedback")
    if not isinstance(feedback, dict) or not feedback.get("blockReason"):
        return None
    told = feedback.get("blockReasonMessage")
    return f"{BLOCKED}: {feedback['blockReason']}" + (f" ({told})" if told else "") + "."


def logprobs(candidate: JSON) -> JSON | None:
    result = candidate.get("logprobsResult")
    if not isinstance(result, dict):
        return None
    tops = objects(result.get("topCandidates"))
    chosen = objects(result.get("chosenCandidates"))
    content = [
        _token(token)
        | {"top_logprobs": [_token(top) for top in objects(tops[i].get("candidates"))] if tops[i:] else []}
        for i, token in enumerate(chosen)
    ]
    return {"content": content, "refusal": None}


def _token(token: JSON) -> JSON:
    text = str(token.get("token", ""))
    return {"token": text, "logprob": token.get("logProbability", 0.0), "bytes": list(text.encode())}


def usage(counts: Any) -> JSON | None:
    """Google counts thoughts apart from the answer, and what its own tools put into the prompt apart from it."""
    if not isinstance(counts, dict):
        return None
    prompt = _count(counts, "promptTokenCount") + _count(counts, "toolUsePromptTokenCount")
    thoughts = _count(counts, "thoughtsTokenCount")
    completion = _count(counts, "candidatesTokenCount") + thoughts
    told: JSON = {"prompt_tokens": prompt, "completion_tokens": completion}
    told["total_tokens"] = _count(counts, "totalTokenCount") or prompt + completion
    cached, by_tools = _count(counts, "cachedContentTokenCount"), _count(counts, "toolUsePromptTokenCount")
    if cached or by_tools:
        told["prompt_tokens_details"] = {"cached_tokens": cached} | ({"tool_use_tokens": by_tools} if by_tools else {})
    if thoughts:
        told["completion_tokens_details"] = {"reasoning_tokens": thoughts}
    return told


def _count(counts: JSON, name: str) -> int:
    count = counts.get(name)
    return count if isinstance(count, int) else 0
