"""What vector stores behind a server of HTTP share: how it is reached, and what its failures are to callers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llamastack.egress import Egress, Timeouts
from llamastack.egress.guard import confine
from llamastack.egress.network import NetworkConfig, opened, sent
from llamastack.errors import StackError, Unavailable, UpstreamError, UpstreamRejected
from llamastack.providers import Health, Provider, ProviderUnavailable

RETRY_SECONDS = 5.0
OUR_FAULT = (401, 403)  # the credentials are the operator's, and none of who calls


class OverHTTP(Provider):
    """A vendor says its address and its credentials, and asks in `greet` whether the server is one to work with."""

    config: Any
    opened: Egress | None = None

    @property
    def egress(self) -> Egress:
        assert self.opened is not None
        return self.opened

    @property
    def refuses(self) -> bool:
        return self.opened is not None and self.opened.breaker.refuses

    def address(self) -> str:
        raise NotImplementedError

    def credentials(self) -> dict[str, str]:
        return {}

    def section(self) -> NetworkConfig | None:
        """How the server is reached."""
        network: NetworkConfig | None = self.config.network
        return network

    def timeouts(self) -> Timeouts | None:
        section = self.section()
        return section.timeouts() if section else None

    async def greet(self) -> None:
        """Raises StackError where the server is away, refuses this one, or is not of a kind that it can be."""
        raise NotImplementedError

    async def start(self) -> None:
        network = await opened(self.section())
        headers = sent(network, self.credentials())
        self.opened = Egress(self.address(), f"Provider '{self.provider_id}'", headers, self.timeouts(), network)
        if self.confined:
            confine(self.opened, network, None)
        try:
            await self.greet()
        except ProviderUnavailable:
            await self.stop()
            raise
        except StackError as error:
            await self.stop()
            raise ProviderUnavailable(error.message) from error

    async def stop(self) -> None:
        if self.opened is not None:
            await self.opened.close()

    async def health(self) -> Health:
        try:
            await self.greet()
        except StackError as error:
            return Health(False, error.message)
        return Health(True)


@contextmanager
def told() -> Iterator[None]:
    """A server that is away, or that refuses the operator's key, as Unavailable: no call can be answered for now."""
    try:
        yield
    except UpstreamRejected as error:
        if error.status in OUR_FAULT:
            raise Unavailable(error.message) from error
        raise
    except UpstreamError as error:
        raise Unavailable(error.message, retry_after=error.retry_after or RETRY_SECONDS) from error
