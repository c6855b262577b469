"""Chat over a WebSocket."""

import asyncio
import logging
from contextlib import aclosing
from typing import Any

from django.conf import settings
from pydantic import ValidationError

from apps.access.sockets import Socket
from apps.inference.schemas import ChatCompletionRequest
from llamastack import sse
from llamastack.bodies import invalid
from llamastack.call import Call
from llamastack.errors import BadRequest, Conflict, StackError
from llamastack.provider_data import TEST_ID, from_headers
from llamastack.recording import of_test
from llamastack.stack import current

TOO_SLOW = 4408
logger = logging.getLogger(__name__)


class ChatConsumer(Socket):
    """Chat completions over one socket, one after another. Every message, both ways, is text.

    From the client, beside `auth`:

        {"model": …, "messages": […], …}        the body of POST /v1/chat/completions; it always streams
        {"type": "cancel"}                      stops the running chat within one token

    To the client:

        {"object": "chat.completion.chunk", …}  what an SSE event of the HTTP API holds
        [DONE]                                  these six characters: the chat is complete
        {"type": "cancelled"}                   answers cancel, also where the chat had just ended; no [DONE] follows
        {"error": {…}, "detail": …}             the HTTP API's error body: ends the chat without [DONE]; of code `busy`,
                                                it refuses a chat while another one runs, and that one goes on

    Closes with 4408 when nothing was asked for a while.
    """

    def __init__(self, authenticate_seconds: float = 30, idle_seconds: float = 600) -> None:
        super().__init__(authenticate_seconds)
        self.idle_seconds = idle_seconds
        self.chat: asyncio.Task[None] | None = None

    # --- what the client wants ---

    async def obey(self, message: dict[str, Any]) -> None:
        call = await self.call()
        if message.get("type") == "cancel":
            await self.leave()
            await self.say({"type": "cancelled"})
            self.rest()
        else:
            self.start_chat(call, chat_request(message))

    async def enter(self) -> None:
        await self.call()
        if not self.chatting:
            self.rest()

    async def call(self) -> Call:
        """A Call of whoever holds the socket, who is asked for at each message: keys are revoked and expire."""
        principal = await current().live.principal(self.headers, required=settings.AUTH_REQUIRED)
        data = from_headers(self.scope["headers"])
        of_test(data.get(TEST_ID))
        return Call(principal, provider_data=data)

    # --- the chat ---

    @property
    def chatting(self) -> bool:
        return self.chat is not None and not self.chat.done()

    def start_chat(self, call: Call, request: ChatCompletionRequest) -> None:
        if self.chatting:
            raise Conflict("A chat runs on this socket: wait for its end or cancel it.", code="busy")
        if self.timer:
            self.timer.cancel()
        self.chat = asyncio.create_task(self.answer(call, request))

    async def answer(self, call: Call, request: ChatCompletionRequest) -> None:
        try:
            await self.stream(call, request)
        except StackError as error:
            await self.refuse(error)
        except Exception:  # whatever a provider's code raises, the client must be told that the chat is over
            logger.exception("A chat broke off")
            await self.refuse(StackError("The server failed while it streamed the answer.", code="internal_error"))
        self.rest()

    async def stream(self, call: Call, request: ChatCompletionRequest) -> None:
        chunks: Any = await current().inference.post_chat_completion(call, request)
        async with aclosing(chunks):
            async for chunk in chunks:
                await self.tell(sse.dump(chunk).decode())
        await self.tell("[DONE]")

    async def leave(self) -> None:
        """Close the running chat's stream, and with it the generation."""
        if self.chat:
            self.chat.cancel()
            await asyncio.wait([self.chat])

    def rest(self) -> None:
        """Nothing runs: wait for the next chat, though not for ever."""
        self.end_after(self.idle_seconds, TOO_SLOW, "Nothing was asked for a while.")


def chat_request(body: dict[str, Any]) -> ChatCompletionRequest:
    """The body of a chat completion, with the HTTP API's errors."""
    if "type" in body:
        raise BadRequest("'type' is 'auth' or 'cancel'; the body of a chat completion has none.", param="type")
    if body.get("stream") is False:
        raise BadRequest("'stream': a WebSocket always streams; leave it out.", param="stream", code="invalid_value")
    try:
        return ChatCompletionRequest.model_validate(body | {"stream": True})
    except ValidationError as error:
        raise invalid(error.errors(), body) from error
