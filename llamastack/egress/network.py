"""The `network` section that every remote provider's config has, and what the transport needs of it.

The names are OGX's (`providers/utils/inference/model_registry.py` there, at 0.6). The environment's HTTP_PROXY and its
like are not read: a proxy is one that somebody named, and sees, in the provider's config.
"""

import asyncio
import base64
import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from yarl import URL

from llamastack.egress.routes import Network, Route
from llamastack.egress.transport import Timeouts
from llamastack.providers import ConfigSection, ProviderConfig, ProviderUnavailable

T = TypeVar("T")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Each is of the connection or of the body that is being sent, and for nobody else to say (RFC 9110, 7.6.1 and 8).
OWN_HEADERS = frozenset(
    {
        *("accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host"),
        *("keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    }
)
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class TLSConfig(ConfigSection):
    verify: bool | Path = Field(
        True, description="Check the server's certificate: true, false, or the file of the CAs to trust instead"
    )
    min_version: Literal["TLSv1.2", "TLSv1.3"] | None = Field(None, description="The oldest version to speak")
    ciphers: list[str] | None = Field(None, description="OpenSSL's names of the suites to allow up to TLS 1.2")
    client_cert: Path | None = Field(None, description="The file of the certificate to show (mutual TLS)")
    client_key: Path | None = Field(None, description="The file of its private key, which is not encrypted")

    @model_validator(mode="after")
    def paired(self) -> Self:
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key belong together: give both (one file may hold the two)")
        return self


def _listed(value: Any) -> Any:
    """NO_PROXY's form, names with commas between, as a list."""
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


class ProxyConfig(ConfigSection):
    # Kept from representations, since they may hold a password.
    url: str | None = Field(None, repr=False, description="The proxy of every request: http://user:password@host:3128")
    http: str | None = Field(None, repr=False, description="The proxy of http:// addresses, in place of url")
    https: str | None = Field(None, repr=False, description="The proxy of https:// addresses, in place of url")
    cacert: Path | None = Field(None, description="The file of a CA to trust too behind the proxy, which signs its own")
    no_proxy: Annotated[list[str] | None, BeforeValidator(_listed)] = Field(
        None, description="Hosts to reach without it: a name with those below it, an address, a network (10.0.0.0/8), *"
    )

    @field_validator("url", "http", "https")
    @classmethod
    def proxy_url(cls, value: str | None) -> str | None:
        """Empty, as a variable that is not set leaves it, is none."""
        if value:
            proxy_at(value)
        return value or None

    @model_validator(mode="after")
    def either(self) -> Self:
        if self.url and (self.http or self.https):
            raise ValueError("give url, or http and https, and not both")
        return self


def proxy_at(text: str) -> tuple[URL, dict[str, str]]:
    """A proxy's address and the header of its credentials. Errors do not repeat the text: it may hold a password."""
    try:
        url = URL(text.strip())
        port = url.port
    except ValueError:
        raise ValueError("this is no URL: write http://host:port") from None
    if url.scheme not in ("http", "https") or not url.host or not port:
        raise ValueError("a proxy is named by http://host:port or https://host:port (SOCKS is not spoken)")
    if url.path not in ("", "/") or url.query_string or url.fragment:
        raise ValueError("a proxy's URL ends with its port: leave out what follows")
    if CONTROL.search(f"{url.user}{url.password}") or ":" in (url.user or ""):
        raise ValueError("the user or the password of this proxy holds a character that none may hold")
    if not url.user and not url.password:
        return url.origin(), {}
    credentials = base64.b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode()
    return url.origin(), {"Proxy-Authorization": f"Basic {credentials}"}


class TimeoutConfig(ConfigSection):
    """A number stands for both."""

    connect: Seconds | None = Field(None, description="Seconds until the connection must stand; 5 where empty")
    read: Seconds | None = Field(
        None, description="Seconds to wait for an answer, and between two parts of a stream; 600 and 60 where empty"
    )

    @model_validator(mode="before")
    @classmethod
    def of_both(cls, value: Any) -> Any:
        return {"connect": value, "read": value} if isinstance(value, int | float | str) else value


class LimitsConfig(ConfigSection):
    max_connections: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Requests under way at once, in each process; more wait for room. Any number where empty"
    )
    max_keepalive_connections: Annotated[int, Field(ge=0)] | None = Field(
        None, description="0 closes each connection after its request; other numbers have no effect here"
    )
    keepalive_expiry: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Seconds to keep an idle connection; 15 where empty"
    )


class NetworkConfig(ConfigSection):
    """How a provider's server is reached."""

    tls: TLSConfig | None = None
    proxy: ProxyConfig | None = None
    timeout: TimeoutConfig | None = None
    headers: dict[str, SecretStr] | None = Field(
        None,
        description="Sent with every request, as X-Team: blue. Values are secrets; empty ones are not sent",
    )
    limits: LimitsConfig | None = None

    @field_validator("headers")
    @classmethod
    def sendable(cls, headers: dict[str, SecretStr] | None) -> dict[str, SecretStr] | None:
        seen: set[str] = set()
        for name, value in (headers or {}).items():
            if not HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name[:100]!r} is not the name of a header")
            if name.lower() in OWN_HEADERS:
                raise ValueError(f"{name} {_instead(name)}")
            if name.lower() in seen:
                raise ValueError(f"{name} stands here twice")
            if CONTROL.search(value.get_secret_value().strip()):
                raise ValueError(f"the value of {name} holds a line break or another control character")
            seen.add(name.lower())
        return {name: value for name, value in (headers or {}).items() if value.get_secret_value().strip()} or None

    def timeouts(self) -> Timeouts:
        given = self.timeout or TimeoutConfig()
        waits = dict.fromkeys(("first_byte", "idle", "total"), given.read)
        return Timeouts(**{name: wait for name, wait in {"connect": given.connect, **waits}.items() if wait})


def _instead(name: str) -> str:
    if name.lower().startswith("proxy-auth"):
        return "is made of the user and the password in network.proxy.url: write them there"
    return "is set by the server itself for each request: leave it out"


class RemoteConfig(ProviderConfig):
    """What every provider that asks another server can be told."""

    network: NetworkConfig | None = Field(
        None, description="How its server is reached: tls, proxy, timeout, headers, limits"
    )


async def opened(config: NetworkConfig | None) -> Network:
    """The section with its files read, as a provider does when it starts. Raises ProviderUnavailable."""
    return Network() if config is None else await asyncio.to_thread(_opened, config)


def _opened(config: NetworkConfig) -> Network:
    tls, proxy, limits = config.tls or TLSConfig(), config.proxy or ProxyConfig(), config.limits or LimitsConfig()
    direct = _context(tls)
    behind = _context(tls, proxy.cacert) if proxy.cacert else direct
    by_scheme = {"http": proxy.http or proxy.url, "https": proxy.https or proxy.url}
    return Network(
        direct=Route(tls=direct),
        by_proxy={scheme: Route(*proxy_at(url), behind) for scheme, url in by_scheme.items() if url},
        no_proxy=tuple(proxy.no_proxy or ()),
        requests=limits.max_connections,
        keepalive=_keepalive(limits),
        headers={name: value.get_secret_value().strip() for name, value in (config.headers or {}).items()},
    )


def sent(network: Network, own: Mapping[str, str]) -> dict[str, str]:
    """The section's headers and the provider's own. Raises ProviderUnavailable where both have one of a name."""
    taken = {name.lower() for name in own}
    for name in network.headers:
        if name.lower() in taken:
            raise ProviderUnavailable(
                f"network.headers: this provider sends a value of its own, such as its key, as {name}. Leave one out."
            )
    return {**network.headers, **own}


def _keepalive(limits: LimitsConfig) -> float:
    if limits.max_keepalive_connections == 0:
        return 0
    return Network.keepalive if limits.keepalive_expiry is None else limits.keepalive_expiry


def _context(tls: TLSConfig, more: Path | None = None) -> ssl.SSLContext | bool:
    """The TLS settings; true where nothing is other than usual."""
    if tls == TLSConfig() and more is None:
        return True
    context = _trusting(tls.verify)
    if more is not None and tls.verify is not False:
        _read("network.proxy.cacert", more, lambda path: context.load_verify_locations(cafile=path))
    if tls.min_version is not None:
        context.minimum_version = ssl.TLSVersion[tls.min_version.replace(".", "_")]
    if tls.ciphers:
        _allow(context, tls.ciphers)
    if tls.client_cert is not None and tls.client_key is not None:
        _show(context, tls.client_cert, tls.client_key)
    return context


def _trusting(verify: bool | Path) -> ssl.SSLContext:
    if isinstance(verify, Path):
        return _read("network.tls.verify", verify, lambda path: ssl.create_default_context(cafile=path))
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _allow(context: ssl.SSLContext, ciphers: list[str]) -> None:
    try:
        context.set_ciphers(":".join(ciphers))
    except ssl.SSLError as error:
        raise ProviderUnavailable("network.tls.ciphers: OpenSSL knows none of these suites.") from error
    for suite in context.get_ciphers():
        if re.search(r"\b(Au|Enc)=None\b", suite["description"]):
            raise ProviderUnavailable(f"network.tls.ciphers: {suite['name']} proves or hides nothing. Leave it out.")


def _show(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """OpenSSL would ask for the password of an encrypted key on the server's terminal."""
    for name, file in (("client_cert", certificate), ("client_key", key)):
        _read(f"network.tls.{name}", file, lambda path: open(path, "rb").close())

    def encrypted() -> str:
        raise ProviderUnavailable(f"network.tls.client_key: {key} is encrypted; give a key without a password.")

    try:
        context.load_cert_chain(certificate.expanduser(), key.expanduser(), password=encrypted)
    except ssl.SSLError as error:
        raise ProviderUnavailable(
            f"network.tls.client_cert: {certificate} and {key} are no certificate and its key as PEM ({error.reason})."
        ) from error


def _read(name: str, file: Path, how: Callable[[str], T]) -> T:
    try:
        return how(str(file.expanduser()))
    except ssl.SSLError as error:
        raise ProviderUnavailable(f"{name}: {file} holds no certificates as PEM ({error.reason}).") from error
    except OSError as error:
        raise ProviderUnavailable(f"{name}: {file} cannot be read ({error.strerror or error}).") from error
