"""Chat over a WebSocket."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import aclosing, suppress
from typing import Any
from urllib.parse import parse_qsl

import orjson
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from pydantic import ValidationError

from apps.access.service import secret_in
from apps.inference.schemas import ChatCompletionRequest
from llamastack import sse
from llamastack.bodies import invalid, json_object
from llamastack.call import Call
from llamastack.errors import AuthenticationError, BadRequest, Conflict, StackError, render
from llamastack.guards import too_large
from llamastack.provider_data import TEST_ID, from_headers
from llamastack.recording import of_test
from llamastack.stack import current

POLICY_VIOLATION = 1008
UNAUTHENTICATED = 4401
TOO_SLOW = 4408
LONGEST_REASON = 120  # RFC 6455 leaves 123 bytes
SECRET_NAMES = {"api_key", "apikey", "key", "token", "access_token", "authorization", "x_api_key"}
logger = logging.getLogger(__name__)


class ChatConsumer(AsyncWebsocketConsumer):
    """Chat completions over one socket, one after another. Every message, both ways, is text.

    From the client:

        {"type": "auth", "api_key": "…"}        first, where no key came in the Authorization or x-api-key header
        {"model": …, "messages": […], …}        the body of POST /v1/chat/completions; it always streams
        {"type": "cancel"}                      stops the running chat within one token

    To the client:

        {"type": "authenticated"}               answers auth
        {"object": "chat.completion.chunk", …}  what an SSE event of the HTTP API holds
        [DONE]                                  these six characters: the chat is complete
        {"type": "cancelled"}                   answers cancel, also where the chat had just ended; no [DONE] follows
        {"error": {…}, "detail": …}             the HTTP API's error body: ends the chat without [DONE]; of code `busy`,
                                                it refuses a chat while another one runs, and that one goes on

    Closes with 4401 where a key is required and is not given in time or not valid, 4408 when nothing was asked for a
    while, and 1008 where the key stands in the URL, which logs would keep.
    """

    # A chat is between this socket and this process: with no layer to listen to, it outlives a Redis that is gone.
    channel_layer_alias = "none"

    def __init__(self, authenticate_seconds: float = 30, idle_seconds: float = 600) -> None:
        super().__init__()
        self.authenticate_seconds = authenticate_seconds
        self.idle_seconds = idle_seconds
        self.headers: dict[str, str] = {}
        self.chat: asyncio.Task[None] | None = None
        self.timer: asyncio.Task[None] | None = None
        self.ended = False

    # --- the socket ---

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the socket until it is gone; a server that stops may cancel this without a disconnect."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.ended = True
            if self.timer:
                self.timer.cancel()
            await self.stop_chat()

    async def connect(self) -> None:
        await self.accept()
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.scope["headers"]
        }
        if secret_in_url(self.scope["query_string"]):
            advice = "Send the API key in the Authorization header or in a first message, never in the URL."
            await self.refuse(BadRequest(advice, code="key_in_url"), close=POLICY_VIOLATION)
        elif settings.AUTH_REQUIRED and secret_in(self.headers) is None:
            self.end_after(self.authenticate_seconds, UNAUTHENTICATED, "No API key was sent in time.")
        else:
            await self.obeying(self.authenticate())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if not self.ended:
            await self.obeying(self.obey(text_data))

    # --- what the client wants ---

    async def obeying(self, wish: Coroutine[Any, Any, None]) -> None:
        """Tell the client why its wish is not granted, if it is not."""
        try:
            await wish
        except AuthenticationError as error:
            await self.refuse(error, close=UNAUTHENTICATED)
        except StackError as error:
            await self.refuse(error)

    async def obey(self, text: str | None) -> None:
        message = read(text)
        if message.get("type") == "auth":
            self.headers["authorization"] = f"Bearer {key_in(message)}"
            await self.authenticate()
            await self.say({"type": "authenticated"})
            return
        call = await self.call()
        if message.get("type") == "cancel":
            await self.stop_chat()
            await self.say({"type": "cancelled"})
            self.rest()
        else:
            self.start_chat(call, chat_request(message))

    async def authenticate(self) -> None:
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

    async def stop_chat(self) -> None:
        """Close the running chat's stream, and with it the generation."""
        if self.chat:
            self.chat.cancel()
            await asyncio.wait([self.chat])

    # --- what is sent ---

    async def tell(self, text: str) -> None:
        """Send a message, unless the client is gone: what runs is stopped then."""
        if not self.ended:
            with suppress(OSError):
                await self.send(text_data=text)

    async def say(self, message: dict[str, Any]) -> None:
        await self.tell(orjson.dumps(message).decode())

    async def refuse(self, error: StackError, close: int | None = None) -> None:
        await self.say(render(error)[1])
        if close:
            await self.end(close, error.message)

    async def end(self, code: int, reason: str) -> None:
        if not self.ended:
            self.ended = True
            await self.stop_chat()
            await self.close(code, reason[:LONGEST_REASON])

    # --- time ---

    def rest(self) -> None:
        """Nothing runs: wait for the next chat, though not for ever."""
        self.end_after(self.idle_seconds, TOO_SLOW, "Nothing was asked for a while.")

    def end_after(self, seconds: float, code: int, reason: str) -> None:
        if self.timer:
            self.timer.cancel()
        if not self.ended:
            self.timer = asyncio.create_task(self.expire(seconds, code, reason))

    async def expire(self, seconds: float, code: int, reason: str) -> None:
        await asyncio.sleep(seconds)
        await self.end(code, reason)


def secret_in_url(query: bytes) -> bool:
    names = {name.lower().replace("-", "_") for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)}
    return not names.isdisjoint(SECRET_NAMES)


def read(text: str | None) -> dict[str, Any]:
    """A message as JSON, within the limits of a request's body."""
    if text is None:
        raise BadRequest("Send text messages, not binary ones.")
    data = text.encode()
    if len(data) > settings.MAX_BODY_BYTES:
        raise too_large()
    return json_object(data)


def key_in(message: dict[str, Any]) -> str:
    key = message.get("api_key")
    if not isinstance(key, str) or not key:
        raise BadRequest("'api_key': must be a text.", param="api_key", code="invalid_value")
    return key


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
