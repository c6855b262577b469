"""A process is killed while it inserts: what it had answered is there, each insertion whole or not at all."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from apps.vector_io.filters import parse
from apps.vector_io.protocol import Query, Store
from tests.chaos.inserting import CHUNKS
from tests.conformance.vector_providers import CONFIGS
from tests.conformance.vector_stores import CALL, Kept, new_store, vector
from tests.servers import ROOT

ANSWERS = 4
KILLS = 2
DEEP = 100_000
BY_ONES = ("remote::infinispan",)  # which take each chunk by itself: what was not answered may be there in part


def configured(provider_type: str, folder: Path) -> dict[str, Any]:
    """A process apart knows no database of Django's."""
    if provider_type != "remote::pgvector":
        return CONFIGS[provider_type](folder)
    known = connections["default"].settings_dict
    names = {"HOST": "host", "PORT": "port", "NAME": "db", "USER": "user", "PASSWORD": "password"}
    return {own: known[name] for name, own in names.items()}


async def killed(kept: Kept, store: Store, first: int) -> int:
    """How many files had been told when the process was killed, in the midst of the next."""
    named = [store.key, store.tenant, store.dimension]
    told = {"provider_type": kept.provider_type, "config": kept.config, "store": named, "first": first}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chaos.inserting", json.dumps(told), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(ANSWERS):
        assert await process.stdout.readline(), "it has ended by itself"
    os.kill(process.pid, signal.SIGKILL)
    rest = await process.stdout.read()
    await process.wait()
    return first + ANSWERS + len(rest.split())


@pytest.mark.parametrize("provider_type", CONFIGS)
async def test_what_was_answered_is_kept_and_nothing_by_halves(provider_type: str, tmp_path: Path) -> None:
    kept, store = Kept(provider_type, configured(provider_type, tmp_path / "vectors")), new_store()
    async with kept.started() as provider:
        await provider.create_store(CALL, store)
    files = 0
    for _ in range(KILLS):
        files = await killed(kept, store, files)
        async with kept.started() as provider:
            listed = [len(await provider.chunks(CALL, store, f"file-{n}", limit=DEEP)) for n in range(files + 2)]
            assert listed[:files] == [CHUNKS] * files
            by_ones = provider_type in BY_ONES
            assert set(listed[files:]) <= (set(range(CHUNKS + 1)) if by_ones else {0, CHUNKS})
            again = await provider.chunks(CALL, store, "again", limit=DEEP)
            numbers = {chunk.attributes["number"] for chunk in again}
            assert len(again) == CHUNKS
            assert numbers in ({files - 1}, {files}) or (by_ones and numbers == {files - 1, files})
            count = sum(listed) + CHUNKS
            assert (await provider.size(CALL, store)).chunks == count
            for query in (Query(vector=vector(1.0), limit=DEEP), Query("text", mode="keyword", limit=DEEP)):
                hits = await provider.query(CALL, store, query)
                assert len({hit.chunk.id for hit in hits}) == len(hits) == min(count, 4096)
            for number in numbers:
                filter = parse({"type": "eq", "key": "number", "value": number})
                hits = await provider.query(CALL, store, Query(vector=vector(1.0), limit=DEEP, filter=filter))
                assert {hit.chunk.id for hit in hits} == {one.id for one in again if one.attributes["number"] == number}
    async with kept.started() as provider:
        await provider.drop_store(CALL, store)
