"""Files that a caller names by their URL."""

import asyncio
import ssl
from collections.abc import Collection, Mapping
from typing import NamedTuple

import aiohttp
from yarl import URL

from llamastack.egress.addresses import Allowed, Target, join, parse
from llamastack.egress.guard import Guard, Lookup, OpenSocket, system_lookup, system_socket
from llamastack.egress.interim import bounded
from llamastack.errors import BadRequest

MAX_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SENT = {"User-Agent": "llama-stack", "Accept-Encoding": "identity"}


class Fetched(NamedTuple):
    """`media` is the type that the server said, in lower case and without parameters; empty where it said none."""

    content: bytes
    media: str


class Fetcher:
    """GETs what a caller names, of addresses that the operator has allowed or that are public.

    No proxy is used, also where the environment names one: it would look names up anew, and connect to what was not
    checked. Neither are cookies, .netrc or any credentials of this server. `lookup` and `open_socket` are the network.
    """

    def __init__(
        self,
        allowed: Allowed,
        lookup: Lookup = system_lookup,
        open_socket: OpenSocket = system_socket,
        tls: ssl.SSLContext | bool = True,
    ) -> None:
        self._allowed = allowed
        self._lookup = lookup
        self._open_socket = open_socket
        self._tls = tls

    async def fetch(
        self,
        url: str,
        *,
        accept: Collection[str],
        max_bytes: int,
        seconds: float,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Fetched:
        """The bytes at `url`, of one of the media types `accept`. At most three redirects are followed.

        `headers` are the caller's own, for the origin it named and for no other. `seconds` are for everything, names
        and redirects included. Raises BadRequest for the field `param`: the URL, or what stands there, is the caller's.
        """
        exchange = _Exchange(accept, max_bytes, param)
        guard = Guard(self._allowed, param, self._lookup, self._open_socket)
        try:
            async with asyncio.timeout(seconds), self._session(guard) as session:
                return await exchange.follow(session, guard, parse(url, param), headers or {})
        except TimeoutError as error:
            raise exchange.refused("was not answered in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise exchange.refused("could not be fetched: its server cannot be reached, or broke off") from error

    def _session(self, guard: Guard) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=bounded(guard.connector(force_close=True, ssl=self._tls)),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),  # one deadline is above all of them
        )


class _Exchange:
    """One fetch: its limits, and from hop to hop where it stands."""

    def __init__(self, accept: Collection[str], max_bytes: int, param: str | None) -> None:
        self.accept = accept
        self.max_bytes = max_bytes
        self.param = param

    def refused(self, what: str) -> BadRequest:
        return BadRequest(f"The URL {what}.", param=self.param)

    async def follow(
        self, session: aiohttp.ClientSession, guard: Guard, target: Target, headers: Mapping[str, str]
    ) -> Fetched:
        sent = dict(headers)
        for _ in range(MAX_REDIRECTS + 1):
            guard.admit(target)
            request = sent | SENT | {"Accept": ", ".join(self.accept)}
            url = URL(target.url, encoded=True)  # as it is: what was checked is what is asked
            async with session.get(url, headers=request, allow_redirects=False) as response:
                if response.status not in REDIRECTS:
                    return await self._read(response)
                following = self._next(target, response)
            if following.origin != target.origin:
                sent = {}
            target = following
        raise self.refused(f"is redirected more than {MAX_REDIRECTS} times")

    def _next(self, target: Target, response: aiohttp.ClientResponse) -> Target:
        location = response.headers.get("Location")
        if location is None:
            raise self.refused(f"was answered {response.status} and leads nowhere")
        following = join(target, location, self.param)
        if target.scheme == "https" and following.scheme == "http":
            raise self.refused("is redirected from https to http, which this server does not follow")
        return following

    async def _read(self, response: aiohttp.ClientResponse) -> Fetched:
        if response.status != 200:
            raise self.refused(f"was answered {response.status}")
        media = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media and media not in self.accept:
            raise self.refused(f"leads to '{media[:100]}', which is none of {', '.join(self.accept)}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise self.refused("was answered with a compressed body, which was not asked for")
        return Fetched(await self._content(response), media)

    async def _content(self, response: aiohttp.ClientResponse) -> bytes:
        data = bytearray()
        async for piece in response.content.iter_any():
            data += piece
            if len(data) > self.max_bytes:
                raise self.refused(f"leads to more than {self.max_bytes} bytes")
        return bytes(data)


def fetcher() -> Fetcher:
    """One that follows what this server's operator allows. Raises StackError where the setting cannot be read."""
    from llamastack import settings  # a provider's module is imported before Django's settings can be

    return Fetcher(Allowed.of(settings.ALLOWED_FETCHES))
