"""WebSockets: who may open one, what is refused on it, and how it ends."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

import orjson
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from apps.access.service import secret_in
from llamastack.bodies import json_object
from llamastack.errors import AuthenticationError, BadRequest, StackError, render
from llamastack.guards import too_large

POLICY_VIOLATION = 1008
UNAUTHENTICATED = 4401
LONGEST_REASON = 120  # RFC 6455 leaves 123 bytes
SECRET_NAMES = {"api_key", "apikey", "key", "token", "access_token", "authorization", "x_api_key"}


class Socket(AsyncWebsocketConsumer):
    """A socket whose holder has a key, in the Authorization or x-api-key header or in a first message:

        {"type": "auth", "api_key": "…"}

    which is answered with {"type": "authenticated"}. Closes with 4401 where a key is required and is not given in time
    or not valid, and 1008 where the key stands in the URL, which logs would keep.
    """

    # It is between this socket and this process: with no layer to listen to, it outlives a Redis that is gone.
    channel_layer_alias = "none"

    def __init__(self, authenticate_seconds: float = 30) -> None:
        super().__init__()
        self.authenticate_seconds = authenticate_seconds
        self.headers: dict[str, str] = {}
        self.timer: asyncio.Task[None] | None = None
        self.ended = False

    # --- what each kind of socket does ---

    async def enter(self) -> None:
        """Let the holder in. Raises AuthenticationError. Called anew for each key that is sent."""
        raise NotImplementedError

    async def obey(self, message: dict[str, Any]) -> None:
        """Do what a message asks for. Raises StackErrors, which the client is told."""
        raise NotImplementedError

    async def leave(self) -> None:
        """Stop what runs. Called where the socket ends, once or more."""
        raise NotImplementedError

    async def is_known(self) -> bool:
        """Whether the holder has shown something, so that no key has to be waited for."""
        return secret_in(self.headers) is not None

    # --- the socket ---

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the socket until it is gone; a server that stops may cancel this without a disconnect."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.ended = True
            if self.timer:
                self.timer.cancel()
            await self.leave()

    async def connect(self) -> None:
        await self.accept()
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.scope["headers"]
        }
        if secret_in_url(self.scope["query_string"]):
            advice = "Send the API key in the Authorization header or in a first message, never in the URL."
            await self.refuse(BadRequest(advice, code="key_in_url"), close=POLICY_VIOLATION)
        elif settings.AUTH_REQUIRED and not await self.is_known():
            self.end_after(self.authenticate_seconds, UNAUTHENTICATED, "No API key was sent in time.")
        else:
            await self.obeying(self.enter())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if not self.ended:
            await self.obeying(self.heed(text_data))

    async def heed(self, text: str | None) -> None:
        message = read(text)
        if message.get("type") != "auth":
            await self.obey(message)
            return
        self.headers["authorization"] = f"Bearer {key_in(message)}"
        await self.enter()
        await self.say({"type": "authenticated"})

    async def obeying(self, wish: Coroutine[Any, Any, None]) -> None:
        """Tell the client why its wish is not granted, if it is not."""
        try:
            await wish
        except AuthenticationError as error:
            await self.refuse(error, close=UNAUTHENTICATED)
        except StackError as error:
            await self.refuse(error)

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
            await self.leave()
            await self.close(code, reason.encode()[:LONGEST_REASON].decode(errors="ignore"))

    # --- time ---

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
