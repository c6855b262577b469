"""Chats as Anthropic is asked them, and held against the types of its own package."""

from typing import Any

from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from pydantic import TypeAdapter

from apps.inference.providers.remote.anthropic.request import asked
from apps.inference.providers.unsupported import GeneratesConfig
from apps.inference.schemas import ChatCompletionRequest
from tests.unit.inference.anthropic.saying import MODEL

JSON = dict[str, Any]
HI = {"role": "user", "content": "Hi"}
# Its newest types lack what newest models do, and older ones still take.
OLDER = {"temperature", "top_p", "top_k"}
PARAMS: Any = {True: TypeAdapter(MessageCreateParamsStreaming), False: TypeAdapter(MessageCreateParamsNonStreaming)}
KNOWN = MessageCreateParamsStreaming.__annotations__.keys() | {
    name for base in MessageCreateParamsStreaming.__orig_bases__ for name in base.__annotations__
}


def body(*messages: JSON, config: GeneratesConfig | None = None, **fields: Any) -> JSON:
    """What is asked for a chat, which the types of Anthropic's package take."""
    request = {"model": MODEL, "messages": list(messages) or [HI], **fields}
    made = asked(ChatCompletionRequest.model_validate(request), "'claude'", config or GeneratesConfig()).body
    checked(made)
    return made


def turns(*messages: JSON, **fields: Any) -> list[JSON]:
    made: list[JSON] = body(*messages, **fields)["messages"]
    return made


def checked(made: JSON) -> None:
    assert made.keys() <= KNOWN | OLDER
    read(PARAMS[bool(made.get("stream"))].validate_python(made))


def read(value: Any) -> None:
    """All of it: pydantic validates the lists in these types only once somebody reads them."""
    if isinstance(value, dict):
        value = value.values()
    if not isinstance(value, str | int | float | None):
        for item in value:
            read(item)
