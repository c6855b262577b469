"""The paths of the fast lane."""

from dataclasses import dataclass
from typing import Any

import msgspec

from apps.inference.lane.replies import ChatReply, TextReply, Vectors
from apps.inference.lane.requests import Chat, Embedded, Prompt
from llamastack import call
from llamastack.apis import ALIASES


@dataclass(frozen=True, slots=True)
class Operation:
    """What is asked for at a path below an upstream's address: its requests, its replies, and who answers it."""

    name: call.Operation
    path: str
    model_type: str
    request: "msgspec.json.Decoder[Any]"
    reply: "msgspec.json.Decoder[Any]"


CHAT = Operation("chat", "chat/completions", "llm", msgspec.json.Decoder(Chat), msgspec.json.Decoder(ChatReply))
TEXT = Operation("completion", "completions", "llm", msgspec.json.Decoder(Prompt), msgspec.json.Decoder(TextReply))
VECTORS = Operation(
    "embedding", "embeddings", "embedding", msgspec.json.Decoder(Embedded), msgspec.json.Decoder(Vectors)
)
OPERATIONS = {f"{prefix}/{one.path}": one for prefix in ("/v1", ALIASES) for one in (CHAT, TEXT, VECTORS)}
