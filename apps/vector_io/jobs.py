"""The jobs of vector stores: files are read, and what is gone is removed from its index."""

from typing import Literal

from pydantic import BaseModel, Field

from apps.jobs.models import Job
from apps.jobs.work import Cancelled, Running, read
from apps.registry.kept import opened
from apps.registry.models import VectorStore
from apps.vector_io import attached, stores
from apps.vector_io.ingesting import Ingesting
from apps.vector_io.protocol import Store
from llamastack.call import Call, Principal
from llamastack.db import db
from llamastack.errors import NotFound
from llamastack.stack import LlamaStack


class Ingestion(BaseModel):
    """Of a job: the key of the store's row, and what its creator was besides its owner."""

    form: Literal[1] = Field(alias="schema")
    store: int
    scopes: list[str]
    key: str
    provider_data: str = ""


class Place(BaseModel):
    key: str
    tenant: str
    dimension: int


class Removal(BaseModel):
    """Of a job: the store as its provider knows it, and the keys of files; None where all of it is to go."""

    form: Literal[1] = Field(alias="schema")
    provider_id: str
    store: Place
    keys: list[str] | None
    provider_data: str = ""


async def ingest(stack: LlamaStack, running: Running) -> None:
    payload = read(Ingestion, running.job)
    row: VectorStore | None = await db(VectorStore.objects.filter(pk=payload.store).first)
    if row is None:
        return  # and its files with it
    principal = Principal(running.job.owner, running.job.tenant, frozenset(payload.scopes), payload.key)
    call = Call(principal, provider_data=opened(payload.provider_data))
    try:
        await Ingesting(stack, running, call, row).run()
    except Cancelled:
        await db(attached.unkept, Job.objects.held(running.job))
        raise
    await db(attached.unkept, Job.objects.held(running.job))


async def remove(stack: LlamaStack, running: Running) -> None:
    payload = read(Removal, running.job)
    store = Store(payload.store.key, payload.store.tenant, payload.store.dimension)
    call = Call(Principal(running.job.owner, running.job.tenant), provider_data=opened(payload.provider_data))
    await _remove(stack, call, store, payload)
    await db(attached.unkept, Job.objects.held(running.job))


async def _remove(stack: LlamaStack, call: Call, store: Store, payload: Removal) -> None:
    async with stack.vector_io.indexes.at(store.tenant, payload.provider_id) as provider:
        if payload.keys is None:
            await provider.drop_store(call, store)
            return
        for key in payload.keys:
            try:
                await provider.delete(call, store, file_id=key)
            except NotFound:  # the store itself is gone
                return


async def sweep(stack: LlamaStack, running: Running) -> None:
    """What stores hold that have expired: they stay, and say that they have. And what jobs keep that have ended."""
    await db(attached.unkept, attached.ended_keeping())
    for number, key in enumerate(await db(stores.overdue), 1):
        await db(stores.empty, key)
        await running.progress(done=number)
