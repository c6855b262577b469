"""The only HTTP client to the outside. What goes wrong there becomes a StackError here, and nowhere else.

An `Egress` belongs to one provider: it holds the aiohttp session, the vendor's headers and the time-outs (connect 5 s;
first byte and idle 60 s for streams; 600 s in all otherwise).
"""

import math
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from llamastack.encryption import without_password
from llamastack.errors import RateLimited, StackError, UpstreamError, UpstreamRejected, UpstreamTimeout
from llamastack.sse import MalformedStream, payloads

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 60.0
TOTAL_SECONDS = 600.0
MAX_REPLY_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
# Statuses of an upstream that speak of the caller's request and are handed on as they are. 401 and 403 are not
# among them: they speak of our credentials at the upstream, which the caller cannot mend.
CALLERS_FAULT = frozenset({400, 404, 409, 413, 415, 422})


@dataclass(frozen=True)
class Timeouts:
    """In seconds. `idle` bounds the wait for the first byte and between two reads of a stream."""

    connect: float = CONNECT_SECONDS
    idle: float = IDLE_SECONDS
    total: float = TOTAL_SECONDS


class Egress:
    """HTTP to one upstream, named `upstream` in errors. `verify` is a bool, or the path of a CA bundle."""

    def __init__(
        self,
        base_url: str,
        upstream: str,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        verify: bool | str = True,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.address = without_password(self.base_url)
        self.upstream = upstream
        # A key that was read from a file ends in a line break, which no header may hold.
        self.headers = {name: value.strip() for name, value in (headers or {}).items()}
        self.timeouts = timeouts or Timeouts()
        self.verify = verify
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str) -> Any:
        """The JSON answer to a GET."""
        return await self._json("GET", path, None)

    async def post(self, path: str, body: Any) -> Any:
        """The JSON answer to a POST of JSON."""
        return await self._json("POST", path, body)

    async def stream(self, path: str, body: Any) -> AsyncGenerator[dict[str, Any], None]:
        """The JSON objects of an event stream, up to `[DONE]`.

        Raises where the stream ends without it or carries an error: a cut stream is never a short answer. Closing the
        iterator closes the connection.
        """
        timeout = aiohttp.ClientTimeout(connect=self.timeouts.connect, sock_read=self.timeouts.idle)
        async with self._exchange("POST", path, body, timeout) as response:
            async for data in payloads(response.content.iter_any()):
                if data == b"[DONE]":
                    return
                yield self._event(data)
            raise MalformedStream("it ended without [DONE]")

    async def _json(self, method: str, path: str, body: Any) -> Any:
        timeout = aiohttp.ClientTimeout(total=self.timeouts.total, connect=self.timeouts.connect)
        async with self._exchange(method, path, body, timeout) as response:
            return self._parse(await self._read(response))

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        data = bytearray()
        async for piece in response.content.iter_any():
            data += piece
            if len(data) > MAX_REPLY_BYTES:
                raise UpstreamError(f"{self.upstream} answered with more than {MAX_REPLY_BYTES} bytes.")
        return bytes(data)

    def _parse(self, data: bytes) -> Any:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise UpstreamError(f"{self.upstream} answered with something that is not JSON ({error}).") from error

    def _event(self, data: bytes) -> dict[str, Any]:
        event = self._parse(data)
        if not isinstance(event, dict):
            raise UpstreamError(f"{self.upstream} sent a stream event that is not an object.")
        if "error" in event and "choices" not in event:
            raise UpstreamError(f"{self.upstream} broke off the stream: {_message(event)}")
        return event

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, body: Any, timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request; every failure of the transport, until the caller is done with the reply, as a StackError."""
        data = None if body is None else orjson.dumps(body)
        sent = self.headers if data is None else self.headers | {"Content-Type": "application/json"}
        url = f"{self.base_url}/{path.lstrip('/')}"
        try:
            async with self._open().request(
                method, url, data=data, headers=sent, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status >= 300:
                    raise self._refusal(response, await response.content.read(MAX_ERROR_BYTES))
                yield response
        except (TimeoutError, aiohttp.ServerTimeoutError) as error:
            raise UpstreamTimeout(f"{self.upstream} at {self.address} did not answer in time.") from error
        except MalformedStream as error:
            raise UpstreamError(f"The stream from {self.upstream} was broken: {error}.") from error
        except aiohttp.InvalidURL as error:
            raise UpstreamError(f"The address of {self.upstream} is not a valid URL: {self.address}") from error
        except UnicodeError as error:
            raise UpstreamError(f"The address of {self.upstream} has no valid host name: {self.address}") from error
        except ValueError as error:  # such as a key beside credentials in the address
            raise UpstreamError(f"{self.upstream} cannot be asked: {error}") from error
        except aiohttp.ClientConnectorError as error:
            raise UpstreamError(f"{self.upstream} cannot be reached at {self.address} ({error.os_error}).") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise UpstreamError(f"The connection to {self.upstream} broke: {type(error).__name__}.") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, ssl=self._tls())
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=2**18
            )
        return self._session

    def _tls(self) -> ssl.SSLContext | bool:
        if not isinstance(self.verify, str):
            return self.verify
        try:
            return ssl.create_default_context(cafile=self.verify)
        except OSError as error:
            raise UpstreamError(f"The CA bundle of {self.upstream} cannot be read: {self.verify} ({error}).") from error

    def _refusal(self, response: aiohttp.ClientResponse, body: bytes) -> StackError:
        """The upstream's status as ours: the caller's faults and 429 keep theirs, the rest is a bad gateway."""
        status, told = response.status, _loads(body)
        message = f"{self.upstream} answered {status}: {_message(told) or response.reason}"
        if status == 429:
            return RateLimited(message, retry_after=_seconds(response.headers.get("Retry-After")))
        if status in CALLERS_FAULT:
            return UpstreamRejected(message, 400 if status == 422 else status, **_details(told))
        if status in (408, 504):
            return UpstreamTimeout(message)
        if status in (401, 403):
            return UpstreamError(f"{message}. Check the credentials set for this provider.")
        return UpstreamError(message)


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode(errors="replace")[:500]


def _message(body: Any) -> str:
    """The sentence in an error body, in the shapes vendors use: {error: {message}}, {error}, {detail}, {message}."""
    if not isinstance(body, dict):
        return str(body)
    inner = body.get("error") or body.get("detail") or body.get("message") or ""
    return str(inner.get("message", inner)) if isinstance(inner, dict) else str(inner)


def _details(body: Any) -> dict[str, str]:
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return {}
    return {key: error[key] for key in ("param", "code") if isinstance(error.get(key), str)}


def _seconds(header: str | None) -> float | None:
    try:
        seconds = float(header) if header else math.nan
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
