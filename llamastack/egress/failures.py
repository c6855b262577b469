"""What an upstream's status, and what the transport raises, mean to our callers."""

import math
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import orjson

from llamastack.egress.transport import Reply
from llamastack.errors import NotSupported, RateLimited, StackError, UpstreamError, UpstreamRejected, UpstreamTimeout
from llamastack.sse import MalformedStream

# Statuses of an upstream that speak of the caller's request, or of a key that may be the caller's own, and are handed
# on as they are.
CALLERS_FAULT = frozenset({400, 401, 403, 404, 409, 413, 415, 422})
CREDENTIALS = "Check the credentials set for this provider."
HTML = ("text/html", "application/xhtml+xml")
MARKUP = re.compile(rb"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)
SHOWN = 200  # characters of what is no JSON
PROXY_CREDENTIALS = "Set its user and password in network.proxy.url."


@contextmanager
def told(upstream: str, address: str) -> Iterator[None]:
    """Every failure of the transport, until the caller is done with the reply, as a StackError."""
    try:
        yield
    except (TimeoutError, aiohttp.ServerTimeoutError) as error:
        raise UpstreamTimeout(f"{upstream} at {address} did not answer in time.") from error
    except MalformedStream as error:
        raise UpstreamError(f"The stream from {upstream} was broken: {error}.") from error
    except (aiohttp.ClientSSLError, aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError) as error:
        raise UpstreamError(_on_the_way(upstream, address, error)) from error  # some of them are ValueErrors, too
    except aiohttp.InvalidURL as error:
        raise UpstreamError(f"The address of {upstream} is not a valid URL: {address}") from error
    except UnicodeError as error:
        raise UpstreamError(f"The address of {upstream} has no valid host name: {address}") from error
    except ValueError as error:  # such as a key beside credentials in the address
        raise UpstreamError(f"{upstream} cannot be asked: {error}") from error
    except aiohttp.ClientConnectorError as error:
        raise UpstreamError(f"{upstream} cannot be reached at {address} ({error.os_error}).") from error
    except (aiohttp.ClientError, ConnectionError) as error:
        if isinstance(error.__cause__, ssl.SSLError):  # such as TLS 1.3's word on a certificate, after the handshake
            raise UpstreamError(_tls_failed(upstream, address, error.__cause__)) from error
        raise UpstreamError(f"The connection to {upstream} broke: {type(error).__name__}.") from error


def _on_the_way(
    upstream: str,
    address: str,
    error: aiohttp.ClientSSLError | aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError,
) -> str:
    """What TLS or a proxy made impossible, and the setting that mends it."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
            return (
                f"Certificate verification of {upstream} at {address} failed ({reason}). Where a CA of your own has "
                "signed it, set network.tls.verify to that CA's file."
            )
        case aiohttp.ClientSSLError():
            return _tls_failed(upstream, address, error.os_error)
        case aiohttp.ClientHttpProxyError():
            remedy = PROXY_CREDENTIALS if error.status == 407 else ""
            return f"The proxy of {upstream} answered {error.status}: {error.message}. {remedy}".rstrip()
    return f"The proxy of {upstream}, {error.host}:{error.port}, cannot be reached ({error.os_error})."


def _tls_failed(upstream: str, address: str, error: OSError) -> str:
    return (
        f"TLS with {upstream} at {address} failed ({error.strerror or error}). A server that asks for a client "
        "certificate is shown that of network.tls.client_cert."
    )


def refusal(upstream: str, reply: Reply, body: bytes) -> StackError:
    """The upstream's status as ours: the caller's faults and 429 keep theirs, the rest is a bad gateway.

    What it says it does not offer (405, 501) is NotSupported here too. A page is a bad gateway: no vendor speaks HTML,
    but what stands before one does, and a wrong address leads to one.
    """
    status, said = reply.status, _loads(body)
    message = f"{upstream} answered {status}: {sentence(said) or reply.reason}"
    if status == 407:
        return UpstreamError(f"The proxy of {upstream} answered 407: {reply.reason}. {PROXY_CREDENTIALS}")
    if reply.media_type in HTML:
        message = f"{upstream} answered {status} with an HTML page, as a proxy or a wrong address does: {said}"
        if status not in (408, 429, 504):
            return UpstreamError(message)
    if status == 429:
        return RateLimited(message, retry_after=_seconds(reply.headers.get("retry-after")))
    if status in (401, 403):
        return UpstreamRejected(f"{message.rstrip('.')}. {CREDENTIALS}", status, **_details(said))
    if status in CALLERS_FAULT:
        return UpstreamRejected(message, 400 if status == 422 else status, **_details(said))
    if status in (405, 501):
        return NotSupported(message)
    if status in (408, 504):
        return UpstreamTimeout(message)
    return UpstreamError(message)


def sentence(body: Any) -> str:
    """The sentence in an error body, in the shapes vendors use: {error: {message}}, {error}, {detail}, {message}."""
    if not isinstance(body, dict):
        return str(body)
    inner = body.get("error") or body.get("detail") or body.get("message") or ""
    return str(inner.get("message", inner)) if isinstance(inner, dict) else str(inner)


def beginning(body: bytes) -> str:
    """The first words of what is no JSON, without markup."""
    return " ".join(MARKUP.sub(b" ", body).decode(errors="replace").split())[:SHOWN]


def _loads(body: bytes) -> Any:
    """An error body. Gemini's door puts its one error into a list."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return beginning(body)
    return said[0] if isinstance(said, list) and len(said) == 1 else said


def _details(body: Any) -> dict[str, str]:
    """What an error body says of the field and of the reason; Cerebras and older vLLM have no `error` around it."""
    if not isinstance(body, dict):
        return {}
    error = body["error"] if isinstance(body.get("error"), dict) else body
    return {key: error[key] for key in ("param", "code") if isinstance(error.get(key), str)}


def _seconds(header: str | None) -> float | None:
    try:
        seconds = float(header) if header else math.nan
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
