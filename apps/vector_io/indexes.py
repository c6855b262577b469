"""Where a store's chunks are: its provider, found by the snapshot, and asked by way of the pool."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from apps.registry.live import Live
from apps.registry.models import VectorStore
from apps.vector_io.models import Status, VectorStoreFile
from apps.vector_io.protocol import Store, VectorIO
from apps.vector_io.stores import index
from llamastack.apis import Api
from llamastack.call import Call
from llamastack.db import db
from llamastack.errors import BadRequest, NotFound, ProviderOff, Unavailable
from llamastack.snapshot import ProviderRecord

T = TypeVar("T")


class Indexes:
    def __init__(self, live: Live, default: str | None = None) -> None:
        """`default`: the shared provider that a store is kept by whose creator names none."""
        self.live = live
        self.default = default

    def chosen(self, tenant: str, provider_id: str | None) -> ProviderRecord:
        """The provider of a new store: the one that is named, else the tenant's own, the default, the first.

        Raises BadRequest for a name that is none, Unavailable where it, or each, is.
        """
        records = [record for record in self.live.snapshot.providers_of(tenant) if record.api == Api.vector_io]
        if provider_id is not None and provider_id not in [record.provider_id for record in records]:
            names = ", ".join(sorted(record.provider_id for record in records)) or "none"
            raise BadRequest(
                f"No provider of vector stores is named '{provider_id}'. There are: {names}.", param="provider_id"
            )
        own = [record for record in records if record.tenant == tenant and record.unavailable is None]
        if provider_id is None and not own and self.default in [record.provider_id for record in records]:
            provider_id = self.default
        named = [record for record in records if provider_id in (None, record.provider_id)]
        usable = [record for record in named if record.unavailable is None]
        if not usable:
            why = f" '{named[0].provider_id}' is unavailable: {named[0].unavailable}" if named else ""
            raise Unavailable(
                why.strip() or "No provider keeps vector stores here. Add one to 'providers.vector_io' of the run.yaml."
            )
        return min(usable, key=lambda record: (record.tenant != tenant, record.key))

    def record(self, tenant: str, provider_id: str) -> ProviderRecord:
        """The provider of a store that there is. Raises Unavailable."""
        record = self.live.snapshot.provider(tenant, provider_id, Api.vector_io)
        if record is None:
            raise ProviderOff(
                f"The vector store's provider '{provider_id}' is switched off, or not registered any more."
            )
        if record.unavailable is not None:
            raise Unavailable(f"The vector store's provider '{provider_id}' is unavailable: {record.unavailable}")
        return record

    @asynccontextmanager
    async def at(self, tenant: str, provider_id: str) -> AsyncIterator[VectorIO]:
        async with self.live.pool.use(self.record(tenant, provider_id)) as provider:
            yield provider

    async def asked(
        self, call: Call, row: VectorStore, work: Callable[[VectorIO, Store], Awaitable[T]], *, inserts: bool = False
    ) -> T:
        """What a store's provider answers. A store that it does not know, as one of the run.yaml, is created first.

        Raises Unavailable where it had files there: nothing is found in an index that is gone, and that is no answer.
        """
        store = index(row)
        async with self.at(row.tenant, row.provider_id) as provider:
            try:
                return await work(provider, store)
            except NotFound as error:
                if not inserts and await db(_has_files, row.pk):
                    raise Unavailable(
                        f"The provider '{row.provider_id}' has no index of this vector store any more. "
                        "Delete the store, and attach its files to a new one."
                    ) from error
                await provider.create_store(call, store)
                return await work(provider, store)


def _has_files(store: int) -> bool:
    return bool(VectorStoreFile.objects.filter(store=store, status=Status.completed).exists())
