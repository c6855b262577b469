"""What an upstream's status, and what the transport raises, mean to our callers."""

import email.utils
import math
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from llamastack.egress.sentences import details, is_page, said, secrets_of, sentence, shown
from llamastack.egress.transport import Outgoing, Reply
from llamastack.egress.waiting import TooSlow
from llamastack.errors import NotSupported, RateLimited, StackError, UpstreamError, UpstreamRejected, UpstreamTimeout
from llamastack.recording.secrets import of_form
from llamastack.sse import MalformedStream

# Statuses of an upstream that speak of the caller's request, or of a key that may be the caller's own, and are handed
# on as they are.
CALLERS_FAULT = frozenset({400, 401, 403, 404, 409, 413, 415, 422})
CREDENTIALS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key"})
PROXY_CREDENTIALS = "Set its user and password in network.proxy.url."


@dataclass(frozen=True)
class Asked:
    """Who was asked what, for the sentence about it. `callers` are the headers of this one call alone."""

    upstream: str
    address: str
    outgoing: Outgoing
    callers: frozenset[str] = frozenset()

    def shown(self, text: str) -> str:
        sent = self.outgoing
        return shown(text, secrets_of(sent.headers, sent.url) | set(of_form(sent.headers, sent.body)))

    def signed(self, signature: Mapping[str, str]) -> "Asked":
        """With headers that were sent as well, which no sentence may repeat either: AWS does, of some signatures."""
        if not signature:
            return self
        return replace(self, outgoing=replace(self.outgoing, headers={**self.outgoing.headers, **signature}))


class Refusal(Exception):
    """An upstream's status of 300 and more, and the beginning of what it said with it."""

    def __init__(self, reply: Reply, body: bytes) -> None:
        super().__init__(reply.status)
        self.reply = reply
        self.status = reply.status
        self.body = body

    @property
    def retry_after(self) -> float | None:
        return seconds(self.reply.headers.get("retry-after"), time.time())


class Nonsense(Exception):
    """A reply that is not what was asked for. Its text goes on from the upstream's name."""


class BrokenOff(Exception):
    """An upstream's own word that its stream has failed: the event is in `args`."""


def meaning(asked: Asked, error: Exception) -> StackError:
    """Any of FAILURES as the StackError that it is to our callers."""
    return next(made for kind, made in MEANINGS if isinstance(error, kind))(asked, error)


def cause_of(error: StackError) -> Exception | None:
    """The one of FAILURES that an error is the meaning of, also where it was the last of several homes'."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, FAILURES):
            return cause
        cause = cause.__cause__
    return None


def status_of(error: StackError) -> int | None:
    """What an upstream that is down has answered; None where it has answered nothing, or something else is wrong."""
    cause = cause_of(error)
    return cause.status if isinstance(cause, Refusal) and is_outage(cause) else None


def is_outage(error: Exception) -> bool:
    """Whether it speaks of an upstream that is down, rather than of one request. 501 is what it never offers."""
    if isinstance(error, Refusal):
        return error.status >= 500 and error.status != 501 and not error.reply.replayed
    down = isinstance(error, TimeoutError | aiohttp.ClientError | ConnectionError)
    return down and not isinstance(error, aiohttp.InvalidURL)


def in_short(asked: Asked, error: Exception) -> str:
    """An outage in words that go on from "because" and hold nothing that a caller or the upstream has said."""
    if isinstance(error, Refusal):
        return f"it answered {error.status}"
    message = meaning(asked, error).message
    return (
        f"it{message.removeprefix(asked.upstream)}" if message.startswith(asked.upstream) else f"it failed: {message}"
    )


def _refused(asked: Asked, error: Refusal) -> StackError:
    """The upstream's status as ours: the caller's faults and 429 keep theirs, the rest is a bad gateway.

    What it says it does not offer (405, 501) is NotSupported here too. A page is a bad gateway: no vendor speaks HTML,
    but what stands before one does, and a wrong address leads to one.
    """
    asked = asked.signed(error.reply.signature)
    status, body, retry_after = error.status, said(error.body), error.retry_after
    if status == 407:
        return UpstreamError(f"The proxy of {asked.upstream} answered 407: {error.reply.reason}. {PROXY_CREDENTIALS}")
    words = asked.shown(sentence(body) or error.reply.reason)
    # A 404 that is no error of the dialect speaks of the address rather than of a model.
    where = f" at {asked.address}" if status == 404 and not (isinstance(body, dict) and "error" in body) else ""
    message = f"{asked.upstream} answered {status}{where}: {words}"
    if is_page(error.reply.media_type, error.body):
        message = f"{asked.upstream} answered {status} with an HTML page, as a proxy or a wrong address does: {words}"
        if status not in (408, 429, 504):
            return UpstreamError(message, retry_after=retry_after)
    if status == 429:
        return RateLimited(message, retry_after=retry_after)
    if status in CALLERS_FAULT:
        found = {name: asked.shown(text) for name, text in details(body).items()}
        hint = _whose(asked, message) if status in (401, 403) else ""
        return UpstreamRejected(message + hint, 400 if status == 422 else status, **found)
    if status in (405, 501):
        return NotSupported(message)
    kind = UpstreamTimeout if status in (408, 504) else UpstreamError
    return kind(message, retry_after=retry_after)


def _whose(asked: Asked, message: str) -> str:
    others = ", or those sent with the request" if asked.callers & CREDENTIALS else ""
    return f"{'' if message.endswith('.') else '.'} Check the credentials set for this provider{others}."


def _slow(asked: Asked, error: TooSlow) -> StackError:
    return UpstreamTimeout(f"{asked.upstream} at {asked.address} {error}.")


def _unconnected(asked: Asked, error: Exception) -> StackError:
    return UpstreamTimeout(f"{asked.upstream} cannot be reached at {asked.address}: no connection came about in time.")


def _untrusted(asked: Asked, error: aiohttp.ClientConnectorCertificateError) -> StackError:
    reason = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
    return UpstreamError(
        f"Certificate verification of {asked.upstream} at {asked.address} failed ({reason}). Where a CA of your own "
        "has signed it, set network.tls.verify to that CA's file."
    )


def _no_tls(asked: Asked, error: aiohttp.ClientSSLError) -> StackError:
    return _tls_failed(asked, error.os_error)


def _no_proxy(asked: Asked, error: aiohttp.ClientProxyConnectionError) -> StackError:
    where = f"{asked.upstream}, {error.host}:{error.port},"
    return UpstreamError(f"The proxy of {where} cannot be reached ({error.os_error}).")


def _proxy_refused(asked: Asked, error: aiohttp.ClientHttpProxyError) -> StackError:
    remedy = PROXY_CREDENTIALS if error.status == 407 else ""
    return UpstreamError(
        f"The proxy of {asked.upstream} answered {error.status}: {asked.shown(error.message)}. {remedy}".rstrip()
    )


def _unreachable(asked: Asked, error: aiohttp.ClientConnectorError) -> StackError:
    return UpstreamError(f"{asked.upstream} cannot be reached at {asked.address} ({error.os_error}).")


def _no_http(asked: Asked, error: aiohttp.ClientResponseError) -> StackError:
    said = "what is no HTTP, has too long a head, or an encoding that was not asked for"
    return UpstreamError(f"{asked.upstream} at {asked.address} answered with {said}.")


def _cut(asked: Asked, error: Exception) -> StackError:
    if isinstance(error.__cause__, ssl.SSLError):  # such as TLS 1.3's word on a certificate, after the handshake
        return _tls_failed(asked, error.__cause__)
    return UpstreamError(f"{asked.upstream} broke off the connection ({type(error).__name__}).")


def _tls_failed(asked: Asked, error: OSError) -> StackError:
    return UpstreamError(
        f"TLS with {asked.upstream} at {asked.address} failed ({error.strerror or error}). A server that asks for a "
        "client certificate is shown that of network.tls.client_cert."
    )


def _malformed(asked: Asked, error: MalformedStream) -> StackError:
    return UpstreamError(f"The stream from {asked.upstream} was broken: {error}.")


def _broken_off(asked: Asked, error: BrokenOff) -> StackError:
    return UpstreamError(f"{asked.upstream} broke off the stream: {asked.shown(sentence(error.args[0]))}")


def _nonsense(asked: Asked, error: Nonsense) -> StackError:
    return UpstreamError(f"{asked.upstream} {asked.shown(str(error))}")


def _no_url(asked: Asked, error: Exception) -> StackError:
    return UpstreamError(f"The address of {asked.upstream} is not a valid URL: {asked.address}")


def _no_name(asked: Asked, error: Exception) -> StackError:
    return UpstreamError(f"The address of {asked.upstream} has no valid host name: {asked.address}")


def _unaskable(asked: Asked, error: Exception) -> StackError:
    """Such as a key beside credentials in the address."""
    return UpstreamError(f"{asked.upstream} cannot be asked: {asked.shown(str(error))}")


# The first that fits holds: aiohttp's errors have several bases, and some of them are ValueErrors too.
MEANINGS: tuple[tuple[type[Exception], Callable[[Asked, Any], StackError]], ...] = (
    (Refusal, _refused),
    (Nonsense, _nonsense),
    (BrokenOff, _broken_off),
    (MalformedStream, _malformed),
    (TooSlow, _slow),
    (TimeoutError, _unconnected),
    (aiohttp.ClientConnectorCertificateError, _untrusted),
    (aiohttp.ClientSSLError, _no_tls),
    (aiohttp.ClientProxyConnectionError, _no_proxy),
    (aiohttp.ClientHttpProxyError, _proxy_refused),
    (aiohttp.ClientConnectorError, _unreachable),
    (aiohttp.ClientResponseError, _no_http),
    (aiohttp.InvalidURL, _no_url),
    (aiohttp.ClientError, _cut),
    (ConnectionError, _cut),
    (UnicodeError, _no_name),
    (ValueError, _unaskable),
)
FAILURES = tuple(kind for kind, _ in MEANINGS)


def seconds(header: str | None, now: float) -> float | None:
    """What Retry-After asks for, as seconds or as a date (RFC 9110, 10.2.3); None where it is neither."""
    if header is None:
        return None
    try:
        asked = float(header)
    except ValueError:
        return _until(header, now)
    return asked if math.isfinite(asked) and asked >= 0 else None


def _until(date: str, now: float) -> float | None:
    try:
        return max(0.0, email.utils.parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, OverflowError):
        return None
