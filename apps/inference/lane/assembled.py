"""A stream's chunks put together again as the completion that is stored."""

import asyncio
from typing import Any, Literal

import msgspec
import orjson
from msgspec import UNSET, Struct, UnsetType
from pydantic_core import to_json

from apps.inference.assembler import Assembler
from apps.inference.lane.replies import Reason
from apps.inference.schemas import ChatCompletionChunk

FEW = 100  # chunks that are put together at once, whatever they hold


class Plain(Struct, forbid_unknown_fields=True):
    pass


class PlainDelta(Plain):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    refusal: None = None


class PlainChoice(Plain):
    index: int
    delta: PlainDelta
    finish_reason: Reason | None
    logprobs: None = None
    stop_reason: None = None
    token_ids: None = None


class PlainChunk(Plain):
    """One that says nothing but text; other fields of vLLM's and OpenAI's are null in it."""

    id: str
    object: str
    created: int
    model: str
    choices: list[PlainChoice]
    usage: dict[str, Any] | None = None
    system_fingerprint: None = None
    service_tier: None = None
    prompt_token_ids: None = None


chunks = msgspec.json.Decoder(list[PlainChunk])


async def assembled(events: list[bytes], choices: int) -> bytes:
    """The JSON of the completion."""
    try:
        return plainly(chunks.decode(b"[" + b",".join(events) + b"]"))
    except (msgspec.MsgspecError, orjson.JSONEncodeError):  # the latter of a number that is too large for it
        return await asyncio.to_thread(wholly, events, choices) if len(events) > FEW else wholly(events, choices)


def plainly(read: list[PlainChunk]) -> bytes:
    texts: dict[int, list[str]] = {}
    reasons: dict[int, str | None] = {}
    usage = None
    for chunk in read:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            pieces = texts.setdefault(choice.index, [])
            if isinstance(choice.delta.content, str):
                pieces.append(choice.delta.content)
            reasons[choice.index] = choice.finish_reason or reasons.get(choice.index)
    said = []
    for index in sorted(texts):
        content = "".join(texts[index]) if texts[index] else None
        message = {"role": "assistant", "content": content, "refusal": None}
        said.append({"index": index, "message": message, "finish_reason": reasons[index], "logprobs": None})
    first = read[0]
    head = {"id": first.id, "object": "chat.completion", "created": first.created, "model": first.model}
    return orjson.dumps(head | {"choices": said} | ({"usage": usage} if usage else {}))


def wholly(events: list[bytes], choices: int) -> bytes:
    assembler = Assembler(choices)
    for data in events:
        assembler.add(ChatCompletionChunk.model_validate_json(data))
    return to_json(assembler.completion(), inf_nan_mode="null")
