"""Stored chat completions."""

from typing import Literal

from pydantic import BaseModel

from apps.inference.schemas.chat import ChatCompletion, ContentPart, Message, Metadata


class StoredChatCompletion(ChatCompletion):
    """A chat completion with its metadata and the messages it answered."""

    metadata: dict[str, str]
    input_messages: list[Message]


class StoredMessage(Message):
    """A message that a stored completion answered. `content` is null where it came in parts."""

    id: str
    content: str | None = None
    content_parts: list[ContentPart] | None = None
    refusal: str | None = None


class ChatCompletionUpdate(BaseModel):
    metadata: Metadata | None


class DeletedChatCompletion(BaseModel):
    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    id: str
    deleted: Literal[True] = True
