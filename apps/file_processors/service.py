"""Documents become text: which provider reads them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from apps.file_processors.protocol import Document, FileProcessors, Parsed
from apps.file_processors.providers import PROVIDERS
from apps.registry.live import Live
from llamastack.apis import Api
from llamastack.call import Call
from llamastack.errors import Unavailable
from llamastack.providers import load
from llamastack.snapshot import ProviderRecord

OWN = "inline::auto"


class FileProcessorsService:
    """Satisfies `FileProcessors`."""

    def __init__(self, live: Live) -> None:
        self.live = live
        kind = load(PROVIDERS[OWN])
        self._own: Any = kind(OWN, kind.config_class())

    async def stop(self) -> None:
        await self._own.stop()

    async def parse(self, call: Call, document: Document, options: Mapping[str, Any] | None = None) -> Parsed:
        async with self._processor(call) as processor:
            return await processor.parse(call, document, options)

    @asynccontextmanager
    async def _processor(self, call: Call) -> AsyncIterator[FileProcessors]:
        """The tenant's own before a shared one, the one that was first. A run.yaml of 0.3.5 lists none, and its vector
        stores read documents all the same: so do ours then."""
        tenant = call.principal.tenant
        records = [record for record in self.live.snapshot.providers_of(tenant) if record.api == Api.file_processors]
        if not records:
            yield self._own
            return
        usable = [record for record in records if record.unavailable is None]
        if not usable:
            raise Unavailable(_none_usable(records))
        async with self.live.pool.use(min(usable, key=lambda record: (record.tenant != tenant, record.key))) as found:
            yield found


def _none_usable(records: list[ProviderRecord]) -> str:
    first = records[0]
    return f"No provider reads documents here now. '{first.provider_id}' is unavailable: {first.unavailable}"
