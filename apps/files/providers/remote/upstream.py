"""What the remote providers have in common: one upstream, reached as their config says."""

from collections.abc import Mapping

from llamastack.egress import Egress, Signer
from llamastack.egress.guard import confine
from llamastack.egress.network import RemoteConfig, opened, sent
from llamastack.providers import Provider


class RemoteFiles(Provider):
    """Files never expire by themselves there: when one does, it is deleted."""

    config: RemoteConfig
    lifetime_seconds: int | None = None
    opened: Egress | None = None

    @property
    def refuses(self) -> bool:
        return self.opened is not None and self.opened.breaker.refuses

    @property
    def upstream(self) -> str:
        """Its name in errors."""
        return f"Provider '{self.provider_id}'"

    async def open(self, url: str, headers: Mapping[str, str], signer: Signer | None = None) -> Egress:
        network = await opened(self.config.network)
        timeouts = self.config.network.timeouts() if self.config.network else None
        self.opened = Egress(url, self.upstream, sent(network, headers), timeouts, network, signer)
        if self.confined:
            confine(self.opened, network, signer)
        return self.opened

    async def stop(self) -> None:
        if self.opened is not None:
            await self.opened.close()
