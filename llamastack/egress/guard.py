"""Connections to addresses that a caller names: a name is looked up once, and only what was checked is connected to."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from llamastack.egress.addresses import Allowed, IPAddress, Target, parse
from llamastack.egress.bodies import MAX_CALLERS_REPLY_BYTES, MAX_CALLERS_STREAM_BYTES
from llamastack.egress.client import Egress
from llamastack.egress.recorder import with_recording
from llamastack.egress.routes import Network
from llamastack.egress.signing import Signer, Signing
from llamastack.egress.transport import LiveTransport, Outgoing, Reply, Timeouts
from llamastack.errors import BadRequest, Unavailable

# One sentence for every address that is refused and every name that has none: who asks learns nothing of what is there.
REFUSED = (
    "The URL leads to no public address, and this server connects to no other that a caller names. "
    "LLAMA_STACK_ALLOWED_FETCHES lets its operator allow some."
)
CONFINED = (
    "This provider is a tenant's and leads to no public address, where tenants' may lead. LLAMA_STACK_ALLOWED_FETCHES "
    "lets the server's operator allow some."
)
NOTHING = "This server fetches nothing (LLAMA_STACK_ALLOWED_FETCHES=none)."

Lookup = Callable[[str], Awaitable[Sequence[str]]]
OpenSocket = Callable[[Any], socket.socket]  # of what getaddrinfo says of an address

# Apart from the loop's own threads, which names that take long to be found would fill.
_lookups = ThreadPoolExecutor(8, thread_name_prefix="names")


async def system_lookup(host: str) -> Sequence[str]:
    """The addresses of a name, as this system knows them; none where it has none."""
    ask = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.get_running_loop().run_in_executor(_lookups, ask)
    except (OSError, UnicodeError):
        return []
    return [str(place[0]) for *_, place in found]


def system_socket(info: Any) -> socket.socket:
    family, kind, protocol, _, _ = info
    return socket.socket(family, kind, protocol)


class Guard(AbstractResolver):
    """Resolver and maker of sockets of one aiohttp connector. `param` is the field that refusals name.

    The name in the URL stays what TLS and the Host header speak of. What aiohttp connects to is what `resolve` handed
    it, or an address that stood in the URL; each socket is held to that once more when it is opened.
    """

    def __init__(
        self,
        allowed: Allowed,
        param: str | None = None,
        lookup: Lookup = system_lookup,
        open_socket: OpenSocket = system_socket,
    ) -> None:
        self._allowed = allowed
        self._param = param
        self._lookup = lookup
        self._open_socket = open_socket
        self._checked: set[IPAddress] = set()

    def connector(self, **options: Any) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(resolver=self, socket_factory=self._socket, use_dns_cache=False, **options)

    def admit(self, target: Target) -> None:
        """Check an address that stands in a URL itself; names are checked when they are resolved. Raises BadRequest."""
        if self._allowed.nothing:
            raise BadRequest(NOTHING, param=self._param)
        if target.address is not None:
            self._check(target.host, [target.address])

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = [ip_address(text) for text in dict.fromkeys(await self._lookup(host))]
        self._check(host, found)
        return [self._result(host, address, port) for address in found]

    def _check(self, host: str, found: list[IPAddress]) -> None:
        """All of a name's addresses, or none: one that has a private one among public ones is up to something."""
        if not found or not all(self._allowed.permits(host, address) for address in found):
            raise BadRequest(REFUSED, param=self._param)
        self._checked.update(found)

    def _result(self, host: str, address: IPAddress, port: int) -> ResolveResult:
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return ResolveResult(hostname=host, host=str(address), port=port, family=family, proto=0, flags=flags)

    def _socket(self, info: Any) -> socket.socket:
        if ip_address(info[4][0]) not in self._checked:
            raise PermissionError(f"{info[4][0]} was not checked")
        return self._open_socket(info)

    async def close(self) -> None:
        """There is nothing to close."""


class GuardedTransport(LiveTransport):
    """The transport for a base address that a caller gives with its request; `param` is the field that it came in.

    It sends what it is given: whoever makes an Egress for such an address gives it none of the operator's headers.
    """

    def __init__(
        self, timeouts: Timeouts, guard: Guard, param: str | None = None, network: Network | None = None
    ) -> None:
        super().__init__(timeouts, network)
        self._guard = guard
        self._param = param

    @asynccontextmanager
    async def send(self, outgoing: Outgoing) -> AsyncIterator[Reply]:
        target = parse(outgoing.url, self._param)
        self._guard.admit(target)
        exact = Outgoing(outgoing.method, target.url, outgoing.headers, outgoing.body, outgoing.streamed)
        async with super().send(exact) as reply:
            yield reply

    def connector(self) -> aiohttp.TCPConnector:
        kept = self.network.keepalive
        return self._guard.connector(limit=0, **({"keepalive_timeout": kept} if kept else {"force_close": True}))


class ConfinedTransport(GuardedTransport):
    """That of a provider of a tenant's: what it may not reach is no fault of who calls it."""

    @asynccontextmanager
    async def send(self, outgoing: Outgoing) -> AsyncIterator[Reply]:
        async with AsyncExitStack() as exchange:
            try:
                reply = await exchange.enter_async_context(super().send(outgoing))
            except BadRequest as error:
                raise Unavailable(CONFINED) from error
            yield reply


def egress_of_caller(
    base_url: str, upstream: str, headers: Mapping[str, str], param: str, timeouts: Timeouts | None = None
) -> Egress:
    """An Egress to an address that a caller gave in the field `param`, with the headers that are for there.

    `headers` are the caller's own: whatever else a provider is configured with, above all its key, stays here. Only
    what is below the address's own origin should be asked of it; redirects are not followed. Raises BadRequest.
    """
    from llamastack import settings  # a provider's module is imported before Django's settings can be

    target = parse(base_url, param)
    guard = Guard(Allowed.of(settings.ALLOWED_FETCHES), param)
    guard.admit(target)
    egress = Egress(target.url, upstream, headers, timeouts)
    egress.max_reply_bytes, egress.max_stream_bytes = MAX_CALLERS_REPLY_BYTES, MAX_CALLERS_STREAM_BYTES
    egress.transport = with_recording(GuardedTransport(timeouts or Timeouts(), guard, param))
    return egress


def confine(egress: Egress, network: Network | None, signer: Signer | None) -> None:
    """Hold an Egress of a tenant's provider to public addresses and to those that the operator allows.

    Its address is a tenant's to write, who could otherwise reach what stands beside this server. A proxy is to have a
    public address too, and to be named by its name.
    """
    from llamastack import settings

    allowed = Allowed.of(settings.ALLOWED_FETCHES)
    guard = Guard(Allowed() if allowed.nothing else allowed)  # a provider is no fetch
    live = ConfinedTransport(egress.timeouts, guard, network=network)
    egress.transport = with_recording(live if signer is None else Signing(live, signer))
