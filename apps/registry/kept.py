"""Provider data that outlives its request, since long work needs it: encrypted, and only where an operator keeps it."""

from dataclasses import replace
from typing import Protocol

import orjson

from apps.registry.live import Live
from llamastack.apis import Api
from llamastack.call import Call
from llamastack.encryption import decrypt, encrypt
from llamastack.errors import BadRequest
from llamastack.provider_data import HEADER, ProviderData
from llamastack.snapshot import ProviderRecord


class Keeper(Protocol):
    """The provider of batches says it, for all long work."""

    @property
    def keeps_provider_data(self) -> bool: ...


def keeper(live: Live, tenant: str) -> ProviderRecord | None:
    """The provider of a tenant's batches: its own before a shared one, the one that was first."""
    records = [record for record in live.snapshot.providers_of(tenant) if record.api == Api.batches]
    usable = [record for record in records if record.unavailable is None]
    return min(usable, key=lambda record: (record.tenant != tenant, record.key), default=None)


async def refuse_unkept(live: Live, call: Call, work: str) -> None:
    """Raises BadRequest where a request brings what may not be kept. `work` is what is long, as in 'Batches keep'."""
    if not await _keeps(live, call):
        raise BadRequest(
            f"{work} no provider data here: leave out {HEADER}, or have an operator configure the keys.",
            code="invalid_provider_data",
        )


async def without_unkept(live: Live, call: Call) -> Call:
    """The same, without what it brings where that may not be kept: for work that the configured keys mostly can do."""
    return call if await _keeps(live, call) else replace(call, provider_data=ProviderData())


async def _keeps(live: Live, call: Call) -> bool:
    record = keeper(live, call.principal.tenant) if call.provider_data else None
    if record is None:
        return True
    async with live.pool.use(record) as provider:
        said: Keeper = provider
        return said.keeps_provider_data


def sealed(data: ProviderData) -> str:
    return encrypt(orjson.dumps(dict(data)).decode()) if data else ""


def opened(text: str) -> ProviderData:
    """Raises UndecryptableSecret where no key of the server's opens it any more."""
    return ProviderData(orjson.loads(decrypt(text)) if text else {})
