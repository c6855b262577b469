"""URLs that a caller names: read once by one strict parser, and which addresses they may lead to.

A check is got round where two parsers read one text in two ways. So whatever is odd is refused here instead of guessed
at, and nothing but what was read here goes on: the request is made to `Target.url`, never to the caller's own text.
"""

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import quote

from llamastack.errors import BadRequest, StackError

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

MAX_CHARACTERS = 8192
PORTS = {"http": 80, "https": 443}
# Of the ports above 1023 those that browsers block, since other protocols speak there:
# https://fetch.spec.whatwg.org/#port-blocking
BLOCKED_PORTS = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}
)
ODD = re.compile(r"[\s\x00-\x20\x7f-\x9f\\\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
SCHEME = re.compile(r"(https?)://", re.IGNORECASE | re.ASCII)
AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([1-9][0-9]{0,4}))?", re.IGNORECASE | re.ASCII)
LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
IN_PATHS = "/%:@!$&'()*+,;=~?[]"  # beside letters, digits and -._

# https://www.iana.org/assignments/iana-ipv4-special-registry, …/iana-ipv6-special-registry: what they say is not
# globally reachable, and what carries an IPv4 address to wherever that one is. Of IPv6 only 2000::/3 is given out.
GIVEN_OUT = IPv6Network("2000::/3")
SPECIAL: tuple[IPNetwork, ...] = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)
INSIDE: tuple[IPNetwork, ...] = tuple(
    ip_network(text)
    for text in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1", "fc00::/7")
)
# Where clouds tell a machine its own credentials. Azure's stands among public addresses.
METADATA: frozenset[IPAddress] = frozenset(
    ip_address(text) for text in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192")
) | {IPv6Address("fd00:ec2::254"), IPv6Address("fd20:ce::254")}
ISATAP = frozenset({0x00005EFE, 0x02005EFE})  # RFC 5214, 6.1: the upper half of an interface's identifier


@dataclass(frozen=True)
class Target:
    """Where a URL leads. `host` is a name in lower case or an address without brackets; `path` has the query too."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port != PORTS[self.scheme] else "")

    @property
    def url(self) -> str:
        return self.origin + self.path

    @property
    def address(self) -> IPAddress | None:
        """The address, where the host is one and no name."""
        if ":" in self.host:
            return IPv6Address(self.host)
        return IPv4Address(self.host) if NUMBER.fullmatch(self.host.rpartition(".")[2]) else None


def parse(url: str, param: str | None = None) -> Target:
    """Raises BadRequest, for the field `param`, for whatever is no plain http(s) URL."""
    try:
        return _parsed(url)
    except ValueError as error:
        raise BadRequest(f"The URL {error}.", param=param) from error


def _parsed(url: str) -> Target:
    if len(url) > MAX_CHARACTERS:
        raise ValueError(f"has more than {MAX_CHARACTERS} characters")
    if ODD.search(url):
        raise ValueError("holds a blank, a control character or a backslash: write it as %XX")
    begun = SCHEME.match(url)
    if begun is None:
        raise ValueError("does not begin with http:// or https://")
    scheme, rest = begun[1].lower(), url[begun.end() :]
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    host, port = _place(authority)
    return Target(scheme, host, _usable(port or PORTS[scheme]), _path(rest[len(authority) :]))


def _place(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise ValueError("holds a user name or a password, which this server does not send")
    if not authority.isascii():
        raise ValueError("has a host that is not ASCII: write it in its xn-- form")
    read = AUTHORITY.fullmatch(authority)
    if read is None:
        raise ValueError("has no host that can be read, or no port: it is https://host/path or https://host:port/path")
    return _host(read[1].lower()), int(read[2]) if read[2] else None


def _host(text: str) -> str:
    if text.startswith("["):
        return str(IPv6Address(_as_address(text[1:-1], 6)))
    labels = text.split(".")
    if NUMBER.fullmatch(labels[-1]):  # such a host is an address for one parser or another: https://url.spec.whatwg.org
        return _as_address(text, 4)
    if len(text) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        raise ValueError("has a host that is no name of the DNS")
    return text


def _as_address(text: str, version: int) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        address = None
    if address is None or address.version != version or (version == 4 and str(address) != text):
        raise ValueError("has an address that is not written in full: four decimal numbers, or IPv6 in brackets")
    return text


def _usable(port: int) -> int:
    if port > 65535 or port in BLOCKED_PORTS or (port < 1024 and port not in PORTS.values()):
        raise ValueError(f"names port {port}, where no web server is looked for: use 80, 443, or one above 1023")
    return port


def _path(text: str) -> str:
    path = quote(text.partition("#")[0], safe=IN_PATHS)
    return path if path.startswith("/") else f"/{path}"


def join(target: Target, location: str, param: str | None = None) -> Target:
    """Where a redirect leads. Raises BadRequest as `parse` does."""
    if re.match("[a-z][a-z0-9+.-]*:", location, re.IGNORECASE):
        return parse(location, param)
    if location.startswith("//"):
        return parse(f"{target.scheme}:{location}", param)
    path, _, _ = target.path.partition("?")
    if location.startswith("#") or not location:
        return target
    if location.startswith("?"):
        return parse(f"{target.origin}{path}{location}", param)
    if location.startswith("/"):
        return parse(target.origin + location, param)
    return parse(f"{target.origin}{path.rpartition('/')[0]}/{location}", param)


def is_public(address: IPAddress) -> bool:
    """Whether anybody on the internet would reach the same machine under it."""
    if isinstance(address, IPv6Address) and not _is_plain(address):
        return False
    # Python's own tables can only refuse more.
    return address.is_global and address not in METADATA and not any(address in network for network in SPECIAL)


def _is_plain(address: IPv6Address) -> bool:
    """Given out, of no scope, and with no IPv4 address in it."""
    return not address.scope_id and address in GIVEN_OUT and int(address) >> 32 & 0xFFFFFFFF not in ISATAP


def is_own(address: IPAddress) -> bool:
    """Whether this machine has it: what listens there may be shielded from outside alone.

    To reach an address of its own, the kernel sends from that address. Nothing is sent here.
    """
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return bool(probe.getsockname()[0] == str(address))
    except OSError:  # there is no way there
        return False


@dataclass(frozen=True)
class Allowed:
    """Where addresses that callers name may lead: to the public internet, and to what the operator lists.

    A name that is listed may have private addresses, and a network that is listed is open whole. Where a cloud tells
    credentials, nobody gets by either, unless the very address is listed.
    """

    names: frozenset[str] = frozenset()
    networks: tuple[IPNetwork, ...] = ()
    nothing: bool = False

    @classmethod
    def of(cls, entries: Iterable[str]) -> "Allowed":
        """As LLAMA_STACK_ALLOWED_FETCHES lists them: names, addresses and networks, or the one word `none`."""
        listed = [entry.lower() for entry in entries]
        if listed == ["none"]:
            return cls(nothing=True)
        networks = {entry: _network(entry) for entry in listed}
        names = frozenset(entry for entry, network in networks.items() if network is None)
        return cls(names, tuple(network for network in networks.values() if network))

    def permits(self, host: str, address: IPAddress) -> bool:
        """Whether a connection for `host` may go to `address`, which is one of those that the host has."""
        containing = [network for network in self.networks if address in network]
        if self.nothing or address in METADATA:
            return not self.nothing and any(network.num_addresses == 1 for network in containing)
        if containing:
            return True
        if host in self.names and any(address in network for network in INSIDE):
            return True
        return is_public(address) and not is_own(address)


def _network(entry: str) -> IPNetwork | None:
    """None for a name."""
    try:
        return ip_network(entry)
    except ValueError as error:
        labels = entry.split(".")
        if entry != "none" and all(LABEL.fullmatch(label) for label in labels) and not NUMBER.fullmatch(labels[-1]):
            return None
        raise StackError(
            f"LLAMA_STACK_ALLOWED_FETCHES has '{entry}', which is no host name, address or network ({error}). "
            "Write for instance: images.internal,10.1.0.0/16"
        ) from error
