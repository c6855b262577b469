"""What every request passes before either lane: its host, its origin, its content type, and the size of its body."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import orjson
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable
from django.http.request import split_domain_port, validate_host

from llamastack import settings
from llamastack.errors import BadRequest, PermissionDenied, StackError, TooLarge, render
from llamastack.middleware import is_api

BODY_METHODS = ("POST", "PUT", "PATCH")


def check_head(scope: Any) -> dict[str, str]:
    """The request's headers by lower-case name, once its host, origin, content type and stated length are in order."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    check_host(headers)
    check_origin(headers)
    if scope["type"] == "http" and is_api(scope["path"]) and scope["method"] in BODY_METHODS:
        check_content(headers)
    return headers


def check_host(headers: dict[str, str]) -> None:
    """Refuse names that are not ours: a page elsewhere could have its own name point at this address."""
    domain, _ = split_domain_port(headers.get("host", ""))
    if not validate_host(domain, settings.ALLOWED_HOSTS):
        raise BadRequest(
            f"This server does not answer to the host '{domain[:200]}'. Set LLAMA_STACK_ALLOWED_HOSTS to allow it."
        )


def check_origin(headers: dict[str, str]) -> None:
    """Refuse pages of other sites: where no key is needed, they could use this server in a visitor's name."""
    origin = headers.get("origin")
    if origin and urlsplit(origin).netloc != headers.get("host") and origin not in settings.ALLOWED_ORIGINS:
        raise PermissionDenied(
            f"Pages of {origin[:200]} may not call this server. Set LLAMA_STACK_ALLOWED_ORIGINS to allow them."
        )


def check_content(headers: dict[str, str]) -> None:
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > settings.MAX_BODY_BYTES:
        raise too_large()
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if length != "0" and kind != "application/json":
        raise BadRequest(f"Send JSON with 'Content-Type: application/json', not '{kind[:100]}'.")


def too_large() -> TooLarge:
    return TooLarge(f"The request body is larger than {settings.MAX_BODY_BYTES} bytes.")


def counted(receive: ASGIReceiveCallable) -> Any:
    """`receive`, which raises TooLarge once the body has passed the limit, whatever its stated length."""
    total = 0

    async def receive_counted() -> Any:
        nonlocal total
        message: Any = await receive()
        total += len(message.get("body", b""))
        if total > settings.MAX_BODY_BYTES:
            raise too_large()
        return message

    return receive_counted


async def refuse(error: StackError, send: ASGISendCallable) -> None:
    """Answer an HTTP request with an error."""
    status, body = render(error)
    headers: Iterable[tuple[bytes, bytes]] = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": orjson.dumps(body), "more_body": False})
