"""Where the server listens. The port is taken before anything is done to the database."""

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass, field

from llamastack.errors import StackError

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - named here to tell them apart


class AddressError(StackError):
    """The server cannot or must not listen there; the message says what to do."""


@dataclass
class Address:
    """A host, a port, and the bound sockets that hold them."""

    host: str
    port: int
    sockets: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        """How to reach it from this machine."""
        host = "127.0.0.1" if self.host in WILDCARDS else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def close(self) -> None:
        for bound in self.sockets:
            bound.close()


def take(host: str, port: int) -> Address:
    """Bind every address of `host`; port 0 takes a free one. Raises AddressError."""
    families = _resolve(host, port)
    if not all(ipaddress.ip_address(place[0].partition("%")[0]).is_loopback for _, place in families):
        _admit_strangers(host)
    address = Address(host, port)
    try:
        for family, place in families:
            _bind(address, family, place)
    except OSError as error:
        address.close()
        raise refusal(error, host, port) from None
    return address


def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise AddressError(f"The host '{host}' has no address here: {error.strerror}.") from None
    return [(family, (str(place[0]), port)) for family, _, _, _, place in found]


def _admit_strangers(host: str) -> None:
    """Other machines are let in by key alone, and by the names they are told to use."""
    if os.environ.get("LLAMA_STACK_AUTH") != "required":
        raise AddressError(
            f"--host {host} would let other machines in without a key. Set LLAMA_STACK_AUTH=required, "
            "or listen on 127.0.0.1 and put a proxy that asks for credentials in front."
        )


def _bind(address: Address, family: socket.AddressFamily, place: tuple[str, int]) -> None:
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        bound.bind((place[0], address.port))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRNOTAVAIL and address.sockets:
            return  # `localhost` names an IPv6 address that this machine lacks
        raise
    address.port = bound.getsockname()[1]
    address.sockets.append(bound)


def refusal(error: OSError, host: str, port: int) -> AddressError:
    """Why a port could not be had, and how to have another."""
    if error.errno == errno.EADDRINUSE:
        return AddressError(
            f"Port {port} on {host} is in use by another program. "
            "Choose another with --port or LLAMA_STACK_PORT, or stop that program."
        )
    if error.errno == errno.EACCES:
        return AddressError(f"Port {port} may not be used by this user. Choose one above 1023 with --port.")
    return AddressError(f"Cannot listen on {host}, port {port}: {error.strerror}.")
