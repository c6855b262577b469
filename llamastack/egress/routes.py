"""How an address is reached: directly or through a proxy, and by which TLS settings. Nothing here reads a file."""

import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from yarl import URL

# A cloud's metadata server and what else is of this machine's own link: a proxy reaches another one, if any, and would
# read the tokens that it hands out.
OWN_LINK = ("169.254.0.0/16", "fe80::/10", "metadata.google.internal")


@dataclass(frozen=True)
class Route:
    """`tls`: true for the usual checks. `credentials` is the proxy's header that holds them."""

    proxy: URL | None = None
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | bool = True


@dataclass(frozen=True)
class Network:
    """What a transport goes by: a provider's `network` section with its files read.

    `by_proxy` has the route through a proxy by the scheme of the address; what `no_proxy` covers goes without. At most
    `requests` are under way at once; an idle connection is kept for `keepalive` seconds.
    """

    direct: Route = field(default_factory=Route)
    by_proxy: Mapping[str, Route] = field(default_factory=dict)
    no_proxy: tuple[str, ...] = ()
    requests: int | None = None
    keepalive: float = 15.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def route(self, address: str) -> Route:
        url = URL(address)
        route = self.by_proxy.get(url.scheme)
        if route is None or any(covers(entry, url) for entry in (*OWN_LINK, *self.no_proxy)):
            return self.direct
        return route


def covers(entry: str, url: URL) -> bool:
    """Whether an entry of no_proxy means this address: a name with those below it, an address, a network, or `*`.

    A name or an address may end in `:port`.
    """
    entry, host = entry.strip().lower(), (url.host or "").lower().rstrip(".")
    if entry == "*":
        return True
    if (network := _network(entry)) is not None:
        address = _network(host)
        return address is not None and address.version == network.version and address.subnet_of(network)  # type: ignore[arg-type]
    name, _, port = entry.rpartition(":")
    if port.isdecimal() and name:
        return int(port) == url.port and covers(name, url)
    name = entry.removeprefix("*").lstrip(".").rstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


@lru_cache(1024)  # reading one takes 10 µs
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text.removeprefix("[").removesuffix("]"), strict=False)
    except ValueError:
        return None
