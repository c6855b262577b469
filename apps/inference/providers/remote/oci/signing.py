"""Requests signed as Oracle asks for it, by Oracle's own package, which sends none of them.

Scheme: https://docs.oracle.com/en-us/iaas/Content/API/Concepts/signingrequests.htm; the ways to sign:
https://docs.oracle.com/en-us/iaas/Content/API/Concepts/sdk_authentication_methods.htm. A principal's tokens are got by
the package with an HTTP client of its own, from the instance's metadata and from Oracle's identity service: what a
provider's `network` section says does not reach it. The package is large, and imported when a provider starts.
"""

import asyncio
import configparser
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from yarl import URL

from llamastack.egress.transport import Outgoing
from llamastack.providers import ProviderUnavailable

AuthType = Literal["instance_principal", "config_file", "resource_principal"]
READY_SECONDS = 15.0
SHOWN = 300  # characters of what the package says
REMEDIES: Mapping[str, str] = {
    "instance_principal": "Instances of OCI can sign so, in a dynamic group whose policy allows it; elsewhere set "
    "oci_auth_type to config_file.",
    "config_file": "Check oci_config_file_path and oci_config_profile; 'oci setup config' writes such a file.",
    "resource_principal": "Functions and other resources of OCI can sign so, by variables that OCI sets for them.",
}


@dataclass
class Unsigned:
    """A request as the package's signers know one; they add their headers."""

    method: str
    url: str
    path_url: str
    body: bytes | None
    headers: dict[str, str] = field(default_factory=dict)


class Signatures:
    """A signer that is made when it is first asked, once for all who ask: a principal's tokens take time to come."""

    def __init__(self, make: Callable[[], Any], remedy: str) -> None:
        self._make = make
        self._remedy = remedy
        self._making: asyncio.Task[Any] | None = None

    async def __call__(self, outgoing: Outgoing) -> Mapping[str, str]:
        """The headers to send beside its own. Raises ProviderUnavailable where there is nothing to sign with."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                signer = await self._ready()
                return await asyncio.to_thread(signed, signer, outgoing)
        except TimeoutError:
            said = f"no credentials came within {READY_SECONDS:g} s."
        except configparser.Error as error:  # whose sentence repeats lines of the file
            said = f"its config file cannot be read ({type(error).__name__})."
        except Exception as error:  # it lets through what its HTTP client, its parsers and the system raise
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:SHOWN]}"
        raise ProviderUnavailable(f"OCI's package cannot sign requests here: {said} {self._remedy}")

    def close(self) -> None:
        """Wait no longer for a signer that is being made."""
        if self._making is not None:
            self._making.cancel()

    async def _ready(self) -> Any:
        """Who leaves does not stop the making; one that failed is begun anew by the next who asks."""
        if self._making is None or self._making.cancelled() or (self._making.done() and self._making.exception()):
            self._making = asyncio.create_task(asyncio.to_thread(self._make))
        return await asyncio.shield(self._making)


def signed(signer: Any, outgoing: Outgoing) -> dict[str, str]:
    """The date, the digest and the signature. Host and length, which are signed too, are aiohttp's to send."""
    url = URL(outgoing.url)
    headers = {"content-type": "application/json"}
    if outgoing.body is not None:
        headers["content-length"] = str(len(outgoing.body))
    unsigned = Unsigned(outgoing.method, str(url), url.raw_path_qs, outgoing.body, headers)
    signer(unsigned)
    return {name: text for name, text in unsigned.headers.items() if name in ("date", "x-content-sha256")} | {
        "authorization": unsigned.headers["authorization"]
    }


def imported() -> Any:
    """Oracle's package. Raises ImportError, which says at the provider what to install."""
    importlib.import_module("oci.auth.signers")
    return importlib.import_module("oci")


def signatures(kind: AuthType, file: str, profile: str) -> Signatures:
    return Signatures(lambda: _signer(kind, file, profile), REMEDIES[kind])


def _signer(kind: AuthType, file: str, profile: str) -> Any:
    """A signer of the package's. Raises whatever the package does."""
    oci = imported()
    match kind:
        case "instance_principal":
            return oci.auth.signers.InstancePrincipalsSecurityTokenSigner()
        case "resource_principal":
            return oci.auth.signers.get_resource_principals_signer()
    config = oci.config.from_file(str(Path(file).expanduser()), profile)
    return Session(oci, config) if config.get("security_token_file") else oci.signer.Signer.from_config(config)


class Session:
    """The token of `oci session authenticate`, read anew when `oci session refresh` has written another one."""

    def __init__(self, oci: Any, config: Mapping[str, Any]) -> None:
        self._made = oci.auth.signers.SecurityTokenSigner
        self._file = Path(config["security_token_file"]).expanduser()
        self._key = oci.signer.load_private_key_from_file(config["key_file"], config.get("pass_phrase"))
        self._token = ""
        self._signer: Any = None

    def __call__(self, request: Unsigned) -> Any:
        token = self._file.read_text().strip()
        if token != self._token:
            self._signer, self._token = self._made(token, self._key), token
        return self._signer(request)
