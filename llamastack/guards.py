"""What every request passes before either lane: its host, its origin, its content type, and the size of its body.

Pages of LLAMA_STACK_ALLOWED_ORIGINS may call the API from a browser: their preflight requests are answered here, and
answers of the API carry what lets such a page read them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import orjson
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable
from django.http.request import split_domain_port, validate_host

from llamastack import settings
from llamastack.apis import ALIASES
from llamastack.call import AT_ONCE, LANE, SERVED_BY
from llamastack.errors import BadRequest, PermissionDenied, StackError, TooLarge, headers, render
from llamastack.middleware import is_api

JSON = "application/json"
LONGEST_HOST = 260  # a name of 253 characters and a port
BODY_METHODS = ("POST", "PUT", "PATCH")
UPLOADS = frozenset({"/v1/files", f"{ALIASES}/files", "/v1alpha/file-processors/process"})
PAGE_UPLOADS = "/admin/", "/upload/"  # how the paths begin and end to which the admin's pages send files
FORM_BYTES = 256 * 1024  # of an upload, beside the file
PREFLIGHT_HEADERS = (
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
    (b"access-control-max-age", b"600"),
)


def check_head(scope: Any) -> dict[str, str]:
    """Refuse a request whose host, origin, content type or stated length is not in order; else its headers by name."""
    headers = by_name(scope["headers"])
    check_host(headers)
    check_origin(headers)
    if b"%00" in scope["query_string"]:  # no database holds it, and Django's admin answers 500
        raise BadRequest("The query holds a NUL character (%00). Leave it out.")
    spoken = is_api(scope["path"]) or scope["path"].startswith("/manage/")
    if scope["type"] == "http" and scope["method"] in BODY_METHODS:
        if is_upload(scope):
            check_form(headers)
        elif spoken:
            check_content(headers)
    return headers


def by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers as ASGI has them, by their names in lower case; one that stands there twice is one of both values."""
    told = [(_name(name), value.decode("latin-1")) for name, value in headers]
    found = dict(told)
    if len(found) == len(told):
        return found
    found.clear()
    for key, text in told:
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


@lru_cache(256)
def _name(name: bytes) -> str:
    """Hardly any two requests have other names of headers."""
    return name.decode("latin-1").lower()


def check_host(headers: dict[str, str]) -> None:
    """Refuse names that are not ours: a page elsewhere could have its own name point at this address."""
    host = headers.get("host", "")
    if len(host) > LONGEST_HOST or not is_ours(host, *settings.ALLOWED_HOSTS):
        domain, _ = split_domain_port(host)
        raise BadRequest(
            f"This server does not answer to the host '{domain[:200]}'. Set LLAMA_STACK_ALLOWED_HOSTS to allow it."
        )


@lru_cache(256)
def is_ours(host: str, *allowed: str) -> bool:
    """Hardly any two requests name different hosts."""
    return validate_host(split_domain_port(host)[0], allowed)


READABLE = f"Retry-After, {SERVED_BY}, {LANE}".encode()  # of an answer's headers, beside those that any page may read


def check_origin(headers: dict[str, str]) -> None:
    """Refuse pages of other sites: where no key is needed, they could use this server in a visitor's name."""
    origin = headers.get("origin")
    if origin and _place(origin) != headers.get("host") and origin not in settings.ALLOWED_ORIGINS:
        raise PermissionDenied(
            f"Pages of {origin[:200]} may not call this server. Set LLAMA_STACK_ALLOWED_ORIGINS to allow them."
        )


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # brackets that hold no address
        return ""


def readable(scope: Any, send: Any) -> Any:
    """`send`, which lets a page of an allowed origin read what the API answers."""
    origin = _header(scope, b"origin").decode("latin-1") if settings.ALLOWED_ORIGINS and is_api(scope["path"]) else ""
    if origin not in settings.ALLOWED_ORIGINS:
        return send
    names = (b"access-control-allow-origin", b"vary", b"access-control-expose-headers")
    scope.pop(AT_ONCE, None)  # which knows no headers but its own
    added = list(zip(names, (origin.encode("latin-1"), b"Origin", READABLE), strict=True))

    async def send_readable(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return send_readable


def is_preflight(scope: Any) -> bool:
    """Whether a browser asks what a page elsewhere may send. Its origin is one that check_head let pass."""
    return (
        scope["method"] == "OPTIONS"
        and is_api(scope["path"])
        and bool(_header(scope, b"access-control-request-method"))
    )


async def permit(scope: Any, send: ASGISendCallable) -> None:
    """Answer a preflight request: every method of the API, and the headers that were asked for."""
    asked = (b"access-control-allow-headers", _header(scope, b"access-control-request-headers"))
    await send(
        {"type": "http.response.start", "status": 204, "headers": [*PREFLIGHT_HEADERS, asked], "trailers": False}
    )
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _header(scope: Any, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name.lower() == wanted), b"")


def is_upload(scope: Any) -> bool:
    """Whether a request brings a file, which the view reads itself (llamastack/uploads.py)."""
    if scope["method"] != "POST":
        return False
    path, (begins, ends) = scope["path"], PAGE_UPLOADS
    return path in UPLOADS or (path.startswith(begins) and path.endswith(ends))


def check_form(headers: dict[str, str]) -> None:
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > settings.MAX_FILE_BYTES + FORM_BYTES:
        raise file_too_large()
    if (kind := content_type(headers)) != "multipart/form-data":
        raise BadRequest(f"Send the file in a form, with 'Content-Type: multipart/form-data', not '{kind[:100]}'.")


def file_too_large() -> TooLarge:
    remedy = "LLAMA_STACK_MAX_FILE_BYTES sets how large one may be."
    return TooLarge(f"The file is larger than {settings.MAX_FILE_BYTES} bytes. {remedy}", param="file")


def content_type(headers: dict[str, str]) -> str:
    told = headers.get("content-type", "")
    return told if told == JSON else told.partition(";")[0].strip().lower()


def check_content(headers: dict[str, str]) -> None:
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > settings.MAX_BODY_BYTES:
        raise too_large()
    kind = content_type(headers)
    empty = length in ("", "0") and "transfer-encoding" not in headers
    if not empty and kind != JSON:
        raise BadRequest(f"Send JSON with 'Content-Type: application/json', not '{kind[:100]}'.")


def too_large() -> TooLarge:
    return TooLarge(f"The request body is larger than {settings.MAX_BODY_BYTES} bytes.")


DISCONNECT = {"type": "http.disconnect"}


async def gone() -> Any:
    """The `receive` of a client that has gone."""
    return DISCONNECT


class Counted:
    """`receive`, which counts the body's bytes, whatever its stated length, and cuts it off once it is too large.

    Cut off as if the client had gone, so that Django lets go of what it has read.
    """

    def __init__(self, receive: ASGIReceiveCallable) -> None:
        self.receive: Callable[[], Awaitable[Any]] = receive
        self.total = 0
        self.waiting: asyncio.Task[Any] | None = None

    async def __call__(self) -> Any:
        self.waiting = waiting = asyncio.current_task()
        try:
            message = await self.receive()
        except asyncio.CancelledError:
            if self.receive is not gone or waiting is None:
                raise
            waiting.uncancel()
            return DISCONNECT
        finally:
            self.waiting = None
        self.total += len(message.get("body", b""))
        return DISCONNECT if self.exceeded else message

    def leave(self) -> None:
        """Say from now on that the client has gone, also to whoever waits for it."""
        self.receive = gone
        if self.waiting is not None:
            self.waiting.cancel()

    @property
    def exceeded(self) -> bool:
        return self.total > settings.MAX_BODY_BYTES


async def refuse(error: StackError, send: ASGISendCallable) -> None:
    """Answer an HTTP request with an error."""
    status, body = render(error)
    content = orjson.dumps(body)
    asked = [(name.lower().encode(), value.encode()) for name, value in headers(error).items()]
    length = (b"content-length", str(len(content)).encode())
    kind = (b"content-type", b"application/json")
    told: Iterable[tuple[bytes, bytes]] = [kind, length, (b"connection", b"close"), *asked]
    await send({"type": "http.response.start", "status": status, "headers": told, "trailers": False})
    await send({"type": "http.response.body", "body": content, "more_body": False})
